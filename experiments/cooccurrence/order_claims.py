"""Claims on a record of configs/cooccurrence/compare_laws.py: orders in the step η. A case is a pair of laws."""

from collections.abc import Callable

import numpy as np

from dynamics.analysis.fits import Fit, order, weighted_order
from dynamics.studies.claims import Claim, Data, Finding, inside

NARROW = 0.1  # largest half-width of an exponent's interval that is evidence


def _order(low: float, high: float) -> Callable[[Data, str], Finding]:
    """Whether the interval of the order of the distance between two laws at t = 0.48 lies in [low, high]."""

    def measure(data: Data, case: str) -> Finding:
        # At half time, about T1: in Gram variables the distance is mostly that of S, which crosses 0 later.
        distance = data[case].parameters.isel(checkpoint=data[case].checkpoint.size // 2)
        fit = order(distance.step.values, distance.values)
        sizes = f"{distance.step.size} steps and {distance.seed.size} seeds"
        return Finding(inside(fit, low, high), f"order {fit} over {sizes}")

    return measure


def exponent_one(fit: Fit, of: str, narrow: float = NARROW) -> Finding:
    """Whether the interval of a fitted exponent contains 1; None if it does but is too wide to decide."""
    inside = fit.low <= 1 <= fit.high
    # A wide interval that contains 1 is no evidence; an interval that does not contain 1 refutes.
    holds = None if inside and fit.high - fit.low > 2 * narrow else bool(inside)
    return Finding(holds, f"exponent of {of} {fit}")


def _variance(data: Data, case: str) -> Finding:
    variance = data[case].output_variance.isel(t=-1)
    return exponent_one(order(variance.step.values, variance.values), "the variance")


def _deviation(data: Data, case: str) -> Finding:
    deviation = np.sqrt(data[case].output_variance.isel(t=-1))
    return exponent_one(order(deviation.step.values, deviation.values), "the standard deviation")


def _mean(data: Data, case: str) -> Finding:
    """The order of the mean loss of SGD minus that of the flow at the last time, over all starts."""
    loss, exact = data[case].loss.isel(t=-1), data["flow"].loss.isel(t=-1)
    gap = (loss.mean("draw") - exact).mean("seed")
    error = np.sqrt((loss.var("draw", ddof=1) / loss.draw.size).sum("seed")) / loss.seed.size
    return exponent_one(weighted_order(loss.step.values, gap.values, error.values), "the gap", 3 * NARROW)


def _spread(data: Data, case: str) -> Finding:
    deviation = data[case].loss.isel(t=-1).std("draw", ddof=1)
    return exponent_one(order(deviation.step.values, deviation.values), "the standard deviation", 3 * NARROW)


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
                "gd to wrong_sign",
                Claim(
                    "none",
                    SECOND.replace("+", "−"),
                    "order within 2.00 ± 0.06",
                    _order(1.94, 2.06),
                    fails={"gd to wrong_sign": "the control: with a correction of the wrong sign the order stays 1"},
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
                "sgd to flow",
                Claim(
                    "arXiv:1511.06251",
                    "The variance of SGD's outputs at fixed t is proportional to η",
                    f"1 within the exponent's interval, the interval narrower than ± {NARROW}",
                    _variance,
                    elsewhere={"standard deviation": _deviation},
                ),
            ),
            (
                "sgd",
                Claim(
                    "arXiv:1511.06251",
                    "The mean loss of SGD is away from that of the flow by an amount proportional to η",
                    f"1 within the exponent's interval, the interval narrower than ± {3 * NARROW:.1f}",
                    _mean,
                    elsewhere={"standard deviation": _spread},
                ),
            ),
        ],
    )
}
