"""Claims on a record of configs/cooccurrence/compare_laws.py: orders in the step η. A case is a pair of laws."""

from collections.abc import Callable

import numpy as np

from dynamics.analysis.fits import Fit, order, weighted_order
from dynamics.studies.claims import Claim, Data, Finding, inside

EXACT = 1e-12  # the largest relative distance of two laws that are equal but for rounding
# Allowed errors of exponents that are 1: of a variance, for which 2 would be another law, and of a small mean.
VARIANCE, MEAN = 0.25, 0.4


def _order(low: float, high: float) -> Callable[[Data, str], Finding]:
    """Whether the interval of the order of the distance between two laws at t = 0.48 lies in [low, high]."""

    def measure(data: Data, case: str) -> Finding:
        # At half time, about T1: in Gram variables S makes most of the distance, and its difference changes sign later.
        distance = data[case].parameters.isel(checkpoint=data[case].checkpoint.size // 2)
        fit = order(distance.step.values, distance.values)
        sizes = f"{distance.step.size} steps and {distance.seed.size} seeds"
        return Finding(inside(fit, low, high), f"order {fit} over {sizes}")

    return measure


def _equal(data: Data, case: str) -> Finding:
    """Whether outputs and losses of two laws are equal but for rounding, at all times, steps and starts."""
    gap = max(float(data[case][name].max(skipna=False)) for name in ("output", "loss"))
    return Finding(gap <= EXACT, f"largest relative distance of outputs and losses {gap:.1g}")


def exponent_one(fit: Fit, of: str, allowed: float) -> Finding:
    """Whether the interval of a fitted exponent lies in 1 ± `allowed`."""
    return Finding(inside(fit, 1 - allowed, 1 + allowed), f"exponent of {of} {fit}")


def _variance(data: Data, case: str) -> Finding:
    variance = data[case].output_variance.isel(t=-1)
    return exponent_one(order(variance.step.values, variance.values), "the variance", VARIANCE)


def _variance_after_equal_steps(data: Data, case: str) -> Finding:
    """The same at the same number of steps: t ∝ η."""
    variance = data[case].output_variance
    last = variance.t.values[-1] * variance.step / variance.step.max()
    then = variance.interp(t=last)
    return exponent_one(order(variance.step.values, then.transpose("seed", "step").values), "the variance", VARIANCE)


def _mean(data: Data, case: str) -> Finding:
    """The order of the mean loss of SGD minus that of the flow at the last time, over all starts."""
    loss, exact = data[case].loss.isel(t=-1), data["flow"].loss.isel(t=-1)
    gap = (loss.mean("draw") - exact).mean("seed")
    error = np.sqrt((loss.var("draw", ddof=1) / loss.draw.size).sum("seed")) / loss.seed.size
    return exponent_one(weighted_order(loss.step.values, gap.values, error.values), "the gap", MEAN)


def _of_the_modified_flow(data: Data, case: str) -> Finding:
    """The order of the loss of gradient descent minus that of its modified flow, which is 2."""
    del case
    distance = data["gd to modified_flow"].loss.isel(t=-1)
    return exponent_one(order(distance.step.values, distance.values), "the gap", MEAN)


FIRST = "|θ_GD(t) − θ_flow(t)| = Θ(η)"
SECOND = "|θ_GD(t) − θ(t)| = Θ(η²) for dθ/dt = −∇(L + (η/4)|∇L|²)"
TABLES = {
    "orders": (
        "Orders in the step η: distances at t = 0.48, SGD at t = 0.96",
        [
            (
                "gd to flow",
                Claim(
                    "Euler's method", FIRST, "order within 1.00 ± 0.03", _order(0.97, 1.03), ("gd to modified_flow",)
                ),
            ),
            (
                "gram_gd to gram_flow",
                Claim(
                    "Euler's method", FIRST, "order within 1.00 ± 0.03", _order(0.97, 1.03), ("gd to modified_flow",)
                ),
            ),
            (
                "gd to modified_flow",
                Claim(
                    "arXiv:2009.11162", SECOND, "order within 2.00 ± 0.06", _order(1.94, 2.06), ("gd to wrong_sign",)
                ),
            ),
            (
                "heavy_ball to flow",
                Claim(
                    "folklore",
                    "Heavy ball follows the flow in t = ηk/(1 − β), at order 1",
                    "order within 1.0 ± 0.1",
                    _order(0.9, 1.1),
                    ("gd to modified_flow",),
                ),
            ),
            (
                "heavy_ball to modified_heavy_ball",
                Claim(
                    "derived here; factor: arXiv:2302.00849",
                    "|θ_HB(t) − θ(t)| = Θ(η²) for dθ/dt = −∇(L + (h/4) (1 + β)/(1 − β) |∇L|²), h = η/(1 − β), "
                    "later by h β/(1 − β)",
                    "order within 2.0 ± 0.1",
                    _order(1.9, 2.1),
                    ("heavy_ball to modified_flow", "heavy_ball to flow"),
                ),
            ),
            (
                "heavy_ball to gram_heavy_ball",
                Claim(
                    "derived here",
                    "Heavy ball is closed in the Gram matrices of weights and momenta",
                    f"outputs and losses within {EXACT:g} at all times, steps and starts",
                    _equal,
                    ("heavy_ball to modified_heavy_ball",),
                ),
            ),
            (
                "sgd to flow",
                Claim(
                    "arXiv:1511.06251",
                    "The variance of SGD's outputs at fixed t is proportional to η",
                    f"exponent within 1 ± {VARIANCE}",
                    _variance,
                    elsewhere={"after equally many steps": _variance_after_equal_steps},
                    post_hoc="the bound",
                ),
            ),
            (
                "sgd",
                Claim(
                    "arXiv:1511.06251",
                    "The mean loss of SGD is away from that of the flow by an amount proportional to η",
                    f"exponent within 1 ± {MEAN}",
                    _mean,
                    elsewhere={"GD from its modified flow": _of_the_modified_flow},
                    post_hoc="the bound",
                ),
            ),
        ],
    )
}
