"""What the claims measure: the theory as evidence, and trained heads beside it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from dynamics.analysis.fits import Interval, mean_interval
from dynamics.studies.claims import Data, Finding, Measure, above, all_of, inside
from dynamics.studies.evidence import Evidence
from experiments.positional_semantic import theory

OMEGA, ALPHA = 0.3, 1.5  # where most is measured
STARTS: tuple[theory.Branch, theory.Branch] = ("positional", "semantic")
# Of each kind: the start, the quantity with its name in theory, and the deviation that is allowed at d = 300 and in the
# limit of large d: absolute for overlaps, a share of theory for others.
PARTS = {
    "overlaps": (("positional", "m", "m", 0.03, 0.0125), ("semantic", "theta", "theta", 0.08, 0.025)),
    "errors": (
        ("positional", "generalisation_error", "error", 0.10, 0.05),
        ("semantic", "generalisation_error", "error", 0.25, 0.10),
    ),
    "training losses": (("positional", "loss", "loss", 0.08, 0.03), ("semantic", "loss", "loss", 0.08, 0.03)),
}
VANISHING = (("semantic", "m", "m", 0.06), ("positional", "theta", "theta", 0.12))  # the other overlaps, at d = 300
KINDS = tuple(PARTS)
OTHERS = {"twice the ridge": {"ridge": 0.02}, "ω = 0.1": {"omega": 0.1}}  # theory that must not fit


def theory_evidence(alphas: list[float], omegas: list[float], log2_points: list[int]) -> Evidence:
    """All that is compared with theory or drawn beside it.

    Args:
        alphas: of the curves at ω = 0.3, increasing.
        omegas: of the transitions.
        log2_points: of the quadratures: the first for curves and transitions, the others to be compared.
    """
    quick, here = theory.sobol(log2_points[0]), theory.Setting(OMEGA, ALPHA)
    rules = {"coarse": theory.coarse(), **{f"2^{k}": theory.sobol(k, seed=k) for k in log2_points[1:]}}
    first = {branch: theory.fixed_point(branch, here, quick) for branch in STARTS}

    def at(setting: theory.Setting, rule: theory.Rule = quick) -> list[theory.Fixed]:
        return [theory.fixed_point(branch, setting, rule, first[branch]) for branch in STARTS]

    curves = []
    for branch in STARTS:
        points = [first[branch]]
        for alpha in reversed(alphas):
            points.append(theory.fixed_point(branch, here._replace(alpha=alpha), quick, points[-1]))
        curves.append(points[:0:-1])
    slowest = [float(theory.eigenvalues(branch, here, quick, first[branch]).real.min()) for branch in STARTS]
    finer = theory.sobol(log2_points[0] + 2)
    arrays = {
        "fixed": (("rule", "branch", "quantity"), np.array([at(here, rule) for rule in rules.values()])),
        "elsewhere": (("other", "branch", "quantity"), np.array([at(here._replace(**o)) for o in OTHERS.values()])),
        "curve": (("branch", "alpha", "quantity"), np.array(curves)),
        "linear": ((), np.array(theory.linear_error(here))),
        "transition": (("omega", "which"), np.array([theory.transitions(omega, quick) for omega in omegas])),
        "at_03": (("points", "which"), np.array([theory.transitions(OMEGA, r) for r in (rules["coarse"], finer)])),
        "smallest_eigenvalue": (("branch",), np.array(slowest)),
    }
    labels = {"rule": list(rules), "branch": list(STARTS), "quantity": list(theory.Fixed._fields), "alpha": alphas}
    return (
        arrays,
        {**labels, "omega": omegas, "which": ["α_c", "α_l"], "points": ["coarse", "fine"], "other": list(OTHERS)},
        {},
    )


def reads(number: Callable[[Any], Any], low: float, high: float) -> Measure:
    """Whether numbers that are read of a Dataset lie between two bounds."""

    def measure(data: Data, case: str) -> Finding:
        values = np.atleast_1d(number(data[case]))
        return Finding(bool((values >= low).all() and (values <= high).all()), ", ".join(f"{v:.5g}" for v in values))

    return measure


def _near(data: Data, other: str, value: Interval, part: Any, allowed: float) -> Finding:
    """Whether an interval lies near theory."""
    start, _, quantity = part[:3]
    of = data["theory"]
    fixed = of.elsewhere.sel(other=other) if other else of.fixed.isel(rule=-1)
    theory = float(fixed.sel(branch=start, quantity=quantity))
    allowed *= theory if quantity in ("loss", "error") else 1
    text = f"{start} {quantity} {value}, theory {theory:.4g} ± {allowed:.2g}"
    return Finding(inside(value, theory - allowed, theory + allowed), text)


def at_theory(dimension: int, kind: str, other: str = "") -> Measure:
    """Whether the means over seeds at α = 1.5 lie near theory; allowances fall as √(300/d)."""

    def measure(data: Data, case: str) -> Finding:
        at = data[case].isel(t=-1)
        at = at.sel(dimension=dimension) if case == "sizes" else at.sel(samples=round(ALPHA * dimension))
        parts, shrunk = {}, (300 / dimension) ** 0.5
        for part in PARTS[kind] + (VANISHING if kind == "overlaps" else ()):
            value = mean_interval(at[part[1]].sel(start=part[0]).dropna("seed"))
            parts[" ".join(part[:2])] = _near(data, other, value, part, part[3] * shrunk)
        return all_of(parts)

    return measure


def elsewhere(measure: Measure, case: str) -> Measure:
    """The same of another case."""
    return lambda data, _: measure(data, case)


def exchanged(measure: Measure) -> Measure:
    """The same with the two starts exchanged."""

    def measured(data: Data, case: str) -> Finding:
        starts = data[case].start.values[::-1]
        return measure({**data, case: data[case].assign_coords(start=starts)}, case)

    return measured


def line_in(x: Any, values: Any) -> tuple[Interval, float]:
    """The numbers a, with Student's interval, and b of the line a + b x through all values."""
    line = stats.linregress(x, values)
    half = float(stats.t.ppf(0.975, len(values) - 2) * line.intercept_stderr)
    return Interval(float(line.intercept), line.intercept - half, line.intercept + half), float(line.slope)


def over_sizes(at: Any, start: str, quantity: str) -> Any:
    """A quantity of all sizes and seeds in a row."""
    return at[quantity].sel(start=start).stack(all=("dimension", "seed")).dropna("all")


def extrapolates(kind: str, other: str = "") -> Measure:
    """Whether lines in 1/d through the seeds at all d end at theory."""

    def measure(data: Data, case: str) -> Finding:
        parts = {}
        for part in PARTS[kind]:
            values = over_sizes(data[case].isel(t=-1), *part[:2])
            limit, _ = line_in(1 / values.dimension.values, values.values)
            parts[" ".join(part[:2])] = _near(data, other, limit, part, part[4])
        return all_of(parts)

    return measure


def changes_sign(difference: Callable[[Any], Any], low: float, high: float) -> Measure:
    """Whether a difference over paired seeds at d = 300 is negative at one α and positive at a higher one."""

    def measure(data: Data, case: str) -> Finding:
        parts = {}
        for sign, alpha in ((-1, low), (1, high)):
            found = mean_interval(difference(data[case].isel(t=-1).sel(samples=round(300 * alpha))))
            signed = found if sign > 0 else Interval(-found.value, -found.high, -found.low)
            parts[f"α = {alpha}"] = Finding(above(signed), f"at α = {alpha} {found}")
        return all_of(parts)

    return measure


def phases_agree(mirrored: bool = False) -> Measure:
    """Whether theory names the minimum with the lower mean loss in 95 % of the cells that are not close to α_c."""

    def measure(data: Data, case: str) -> Finding:
        at, line = data[case].isel(t=-1).mean("seed"), data["theory"].transition.sel(which="α_c")
        critical = line.interp(omega=at.omega).values[:: -1 if mirrored else 1]
        alpha = at.samples.values[:, None] / 200
        semantic = (at.loss.sel(start="semantic") < at.loss.sel(start="positional")).transpose("samples", "omega")
        clear = np.abs(alpha / critical - 1) > 0.15
        right = int(np.sum((semantic.values == (alpha > critical)) & clear))
        return Finding(bool(right >= 0.95 * clear.sum()), f"{right} of {clear.sum()} cells")

    return measure
