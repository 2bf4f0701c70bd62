"""The max-margin law of arXiv:2410.09605 as claims; max_margin.py derives it.

What is extrapolated, and why. Late in training the samples of I4 have margins c > 1 times those of the others. Their
share s(t) of Σ g falls as loss^(c − 1), a slow power (loss^0.34 for n = 60, L = 5), and every quotient of sums of g and
of velocities differs from its limit in proportion to s. All other differences fall faster: that of the logistic from
the exponential loss as the loss itself, those between types as 1/t or faster, and the spread within a type enters in
second order. So the limit of a quotient Q is read off the line through (s, Q) at the last time T and at T/10, at s = 0:

    Q∞ = Q(T) − s(T) (Q(T) − Q(T/10)) / (s(T) − s(T/10))

This was written before any limit was measured. The solver has to be precise: the sums of g relax fast to their late
ratios, and explicit steps at the edge of stability keep them moving, by up to 4e-3 of R at rtol 1e-7 and 4e-4 at 1e-8.
At finite m the velocity of G has a part along W_Vᵀ W_V besides S z. It turns the quotients by about m1 ‖G‖² / 2S² times
1/log(1/loss), at most 2e-3 at m = 2^14, and falls as 1/m².
"""

import functools
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dynamics import grid, own_seeds
from dynamics.analysis.fits import Interval
from dynamics.files import load_config
from dynamics.studies.claims import Claim, Data, Finding, inside
from dynamics.studies.evidence import Case
from experiments.cooccurrence import population  # noqa: F401  (registers the probe)
from experiments.cooccurrence.controls import ALL_BUT_ATTENTION
from experiments.cooccurrence.max_margin import MaxMargin
from experiments.cooccurrence.theory import SIGNALS, TYPES

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "claims.py"
PRECISION = 0.005  # relative, of the limits
FEW, MANY = 60.0, 78.0  # between which n_c(5) lies
LATE = 1e6  # T
SETTLED = 1e4  # from there on the population error does not change
RTOL = 1e-9  # of the runs whose limits are read off
WIDE = (2**14, 2**20)
FROZEN = ", attention frozen"
LIMITS = {"n = 36, L = 3": (36, 3), "n = 48, L = 4": (48, 4), "n = 72, L = 5": (72, 5), "n = 18, L = 5": (18, 5)}
SETS = {"all n, L = 5": (5, (60, 66, 72, 78)), "all n, L = 4": (4, (48, 54))}  # L and all n


def _case(task: dict[str, Any], members: Sequence[Any], stop: float, probes: tuple[str, ...]) -> Case:
    """The theory's start with another training set, later times and few probes."""

    def config() -> Any:
        config = load_config(CONFIG)
        config.task.update(task)
        config.times.update(start=1.0, stop=stop, count=19)
        config.update(words=len(SIGNALS), probes=("loss", "drift", *probes))
        return config

    return Case(config, own_seeds(members))


def _frozen(case: Case) -> Case:
    """The same members with fixed W_K and W_Q."""

    def config() -> Any:
        config = case.config()
        config.train.only = ALL_BUT_ATTENTION
        return config

    return Case(config, case.members)


def _precise(case: Case) -> Case:
    """The same members at a smaller tolerance."""

    def config() -> Any:
        config = case.config()
        config.laws.flow.update(rtol=RTOL, atol=RTOL / 100)
        return config

    return Case(config, case.members)


def _cases() -> dict[str, Case]:
    cases = {}
    for name, (n, length) in LIMITS.items():
        task, probes = {"samples": n, "length": length}, ("gradient_by_type", "mlp_velocity")
        cases[name] = _precise(_case(task, grid({"model.width": WIDE}), LATE, probes))
    for name, (length, sizes) in SETS.items():
        members = grid({"task.samples": sizes, "model.width": (2**20,)})
        cases[name] = _case({"length": length}, members, SETTLED, ("population_error_exact",))
    return cases


COMPANIONS = {case: case + FROZEN for case in ("n = 36, L = 3", "n = 48, L = 4", "n = 72, L = 5")}
CASES = _cases()
CASES |= {companion: _frozen(CASES[case]) for case, companion in COMPANIONS.items()}


def _sums(runs: Any) -> list[Any]:
    """Σ g over I1, ..., I4, divided by n."""
    return [runs.gradient_by_type.sel(type=kind, drop=True) for kind in TYPES]


def ratio(runs: Any) -> Any:
    """R(t) = (−Σ_{I1} g + Σ_{I2∪I3∪I4} g) / (Σ_{I1} g − Σ_{I2} g)."""
    one, two, three, four = _sums(runs)
    return (two + three + four - one) / (one - two)


def _gradient_ratio(runs: Any) -> Any:
    """The larger of Σ g / (Σ_{I2∪I3∪I4} g − Σ_{I1} g) and Σ g / (Σ_{I1} g − Σ_{I2} g)."""
    one, two, three, four = _sums(runs)
    return (one + two + three + four) / np.minimum(two + three + four - one, one - two)


def _constant(runs: Any) -> Any:
    """The largest C with (1 + C) max(Ġ(μ1), Ġ(μ2)) ≤ −Ġ(μ3) ≤ (1 − C)(Ġ(μ1) + Ġ(μ2))."""
    one, two, three = (runs.mlp_velocity.sel(word=word, drop=True) for word in SIGNALS)
    return np.minimum(-three / np.maximum(one, two) - 1, 1 + three / (one + two))


def _limit(runs: Any, values: Any) -> Any:
    """The values at s = 0, on the line through those at T and T/10; see the top of this module."""
    share = _sums(runs)[3] / sum(_sums(runs))
    (s, late), (s_before, before) = (
        [quantity.sel(t=t, method="nearest", drop=True) for quantity in (share, values)] for t in (LATE, LATE / 10)
    )
    return late - s * (late - before) / (s - s_before)


def _within(deviation: Any, bound: float) -> bool | None:
    """Whether the relative deviation of every run is at most a bound; None if one is nan."""
    return bool((np.abs(deviation) <= bound).all()) if np.isfinite(deviation).all() else None


def _tends(
    data: Data,
    case: str,
    quantity: Callable[[Any], Any],
    limit: Callable[[MaxMargin], float],
    many: bool = False,
) -> Finding:
    """Whether the limits of a quantity in all runs are those of the closed form; with `many`, of that for n → ∞."""
    n, length = LIMITS[case.removesuffix(FROZEN)]
    runs, stated = data[case], limit(MaxMargin(1e12 if many else n, length))
    values = quantity(runs)
    deviation = np.ravel(_limit(runs, values)) / stated - 1
    percent = ", ".join(f"{100 * each:.2g}" for each in deviation)
    seen = f"{float(values.isel(t=-1).min()):.4f} to {float(values.isel(t=-1).max()):.4f} at t = {LATE:.0e}"
    measured = f"{seen}; the limits differ from {stated:.4f} by {percent} %"
    return Finding(_within(deviation, PRECISION), measured)


def _generalises(data: Data, case: str, checkpoint: int = -1) -> Finding:
    """The n from which on no fresh sample is wrong, between the sizes of the training sets that were run."""
    error = data[case].population_error_exact.isel(checkpoint=checkpoint).sel(estimate="mean", drop=True)
    sizes, largest = np.atleast_1d(error.samples.values), np.atleast_1d(error.values)
    wrong = np.flatnonzero(~(largest <= 0))
    after = wrong[-1] + 1 if wrong.size else 0
    low = sizes[after - 1] + 1 if after else -math.inf
    high = sizes[after] if after < len(sizes) else math.inf
    shown = ", ".join(f"{share:.3g} at n = {n}" for n, share in zip(sizes, largest, strict=True))
    return Finding(inside(Interval(math.nan, low, high), FEW, MANY), f"wrong: {shown}; n_c in [{low:g}, {high:g}]")


def _limits(symbol: str, formula: str, quantity: Callable[[Any], Any], limit: Callable[[MaxMargin], float]) -> Claim:
    measure = functools.partial(_tends, quantity=quantity, limit=limit)
    return Claim(
        "Lemmas 4.3, 4.5",
        f"{symbol} tends to {formula} of the max-margin law",
        f"the limits at m = 2^14 and 2^20 within {100 * PRECISION} % of it",
        measure,
        ("n = 18, L = 5",),
        elsewhere={"n → ∞": functools.partial(measure, many=True)},
        post_hoc=f"the solver's tolerance, rtol = {RTOL:g}; the config has 1e-8",
    )


MARGINS = (
    _limits("R(t)", "R∞ = (3n − 2L) / (2n + 4L − 6)", ratio, lambda law: law.ratio),
    _limits(
        "The larger of the two ratios with Σ g",
        "(n λ1/2 + n λ2/3) / min(a, c)",
        _gradient_ratio,
        lambda law: law.gradient_ratio,
    ),
    _limits("The largest C", "C∞ = min(c/a − 1, 1 − c/2a)", _constant, lambda law: law.constant),
)
ENOUGH = Claim(
    "derived here",
    "From n_c(5) = 68 samples on, every fresh sample is classified in the end",
    f"the population error at t = {SETTLED:.0e} vanishes from a size on that lies between {FEW:g} and {MANY:g}",
    _generalises,
    ("all n, L = 4",),
    elsewhere={"at t = 0": functools.partial(_generalises, checkpoint=0)},
)
MAX_MARGIN = [(case, claim) for case in LIMITS if case in COMPANIONS for claim in MARGINS]
MAX_MARGIN.append(("all n, L = 5", ENOUGH))
TABLES = {
    "max_margin": ("The max-margin law of word counts: late times at large m", MAX_MARGIN),
}
FIGURES = "experiments.cooccurrence.max_margin_figures"
COMPANION = ("attention frozen", COMPANIONS)
