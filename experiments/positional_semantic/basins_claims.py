"""Which minimum a random start finds under flow, GD and SGD; and two ways to count. Beyond the paper, but for counting.

At (ω, α) = (0.3, 1.5) and d = 200; q(0) has entries N(0, 1/d). The noise of SGD is η/B, the step over the size of a
minibatch. An end is positional for m ≥ 0.19 and θ/σ² ≤ 0.15, semantic for m ≤ 0.10 and θ/σ² ≥ 0.40, and else neither.
All bounds were set after 16 other seeds. With 40 seeds from 9000 on most intervals were too wide to decide; so there
are 100, from 10000 on, with the same bounds.
"""

import functools
from typing import Any

import numpy as np
from scipy import stats

from dynamics import Case, Claim, Finding, Measured, above, all_of, grid, inside, seeds
from dynamics.analysis.fits import Interval, mean_interval
from dynamics.studies.claims import Data, Measure
from experiments.positional_semantic import counting
from experiments.positional_semantic.claims import config_of

D, RUNS = 200, seeds(100, 10_000)
SGD = {"laws.sgd.learning_rate": (1.0, 4.0)}
ENDS = ("positional", "semantic", "neither")


def _config(law: str, start: str = "random", regime: str = "fixed") -> Any:
    config = config_of(task__dimension=D, task__samples=round(1.5 * D), model__start=start, data__regime=regime)
    if law != "flow":
        config.laws = {law: {"name": law, "learning_rate": 1.0, **({"batch_size": 32} if law == "sgd" else {})}}
    config.times.update(spacing="logarithmic", start=8.0, stop=800.0, count=20, multiple_of=8.0)
    config.probes = ("loss", "m", "theta")
    return config


def _case(members: Any, *of: str) -> Case:
    return Case(functools.partial(_config, *of), grid(members, RUNS))


CASES: dict[str, Case | Measured] = {
    "arc": _case([{}], "flow", "between"),
    "flow": _case([{}], "flow"),
    "GD": _case({"laws.gd.learning_rate": (1.0, 8.0)}, "gd"),
    "SGD, fixed": _case(SGD, "sgd", "random", "fixed"),
    "SGD, fresh": _case(SGD, "sgd", "random", "fresh"),
    "counting": Measured({"seeds": 3, "first": 9000, "steps": 2500, "freed": 1000}, counting.two_ways),
}


def ends(data: Any) -> dict[str, Any]:
    """{end: 1 where a path ends there, else 0}."""
    last = data.isel(t=-1)
    positional = (last.m >= 0.19) & (last.theta <= 0.15)
    semantic = (last.m <= 0.10) & (last.theta >= 0.40)
    return dict(zip(ENDS, (1 * positional, 1 * semantic, 1 - positional - semantic), strict=True))


def share(hits: Any) -> Interval:
    """The share of ones, with the interval of Clopper and Pearson."""
    found = stats.binomtest(int(np.sum(hits)), int(np.size(hits)))
    return Interval(found.statistic, *found.proportion_ci())


def _of_noise(data: Any, noise: float, end: str) -> Any:
    """1 for the seeds that end there, of the SGD with minibatches of 32 at this η/B [seed]."""
    return ends(data)[end].sel(learning_rate=32 * noise)


def grows(end: str, sign: int = 1) -> Measure:
    """Whether the share of an end grows with the noise, from η/B = 1/32 to 1/8; sign = −1: whether it falls."""

    def measure(data: Data, case: str) -> Finding:
        less, more = (_of_noise(data[case], noise, end).values for noise in (1 / 32, 1 / 8))
        return Finding(above(mean_interval(sign * (more - less))), f"{end}: {share(less)} to {share(more)}")

    return measure


def same_ends(shift: int = 0) -> Measure:
    """Whether GD with η = 8 and flow end in the same class from the same start, or from that of another seed."""

    def measure(data: Data, case: str) -> Finding:
        gd, flow = ends(data["GD"].sel(learning_rate=8.0)), ends(data["flow"])
        found = share(sum(abs(gd[end].values - np.roll(flow[end].values, shift)) for end in ENDS) > 0)
        return Finding(inside(found, 0, 0.25), f"share that ends elsewhere {found}")

    return measure


def counts(symbols: str, places: str) -> Measure:
    """Whether two arms count rightly at the end."""

    def measure(data: Data, case: str) -> Finding:
        parts = {}
        for name, arm in (("by symbols", symbols), ("by places", places)):
            found = mean_interval(data[case].accuracy.isel(steps=-1).sel(arm=arm))
            parts[name] = Finding(above(found, 0.9), f"{arm} {found}")
        return all_of(parts)

    return measure


def stays(symbols: str, places: str) -> Measure:
    """Whether two arms attend by symbols and by places, after both halves were free."""

    def measure(data: Data, case: str) -> Finding:
        parts = {}
        for name, arm, share_of_meaning in (("by symbols", symbols, 1), ("by places", places, 0)):
            found = mean_interval(data[case].by_meaning.isel(steps=-1).sel(arm=arm))
            parts[name] = Finding(inside(found, share_of_meaning - 0.2, share_of_meaning + 0.2), f"{name} {found}")
        return all_of(parts)

    return measure


def _claim(
    case: str, statement: str, bound: str, measure: Measure, controls: dict[str, Measure], post_hoc: str = ""
) -> tuple[str, Claim]:
    source = "arXiv:2402.03902" if case == "counting" else "ours"
    return case, Claim(source, statement, bound, measure, elsewhere=controls, post_hoc=post_hoc)


CLAIMS = [
    _claim(
        "GD",
        "A large step of GD does not choose: η = 8 ends where gradient flow ends",
        "at most 25 % of the starts end in another class, whole interval",
        same_ends(),
        {"the flow of another seed": same_ends(1)},
    ),
    _claim(
        "SGD, fresh",
        "On fresh samples noise chooses the semantic minimum",
        "more ends there at η/B = 1/8 than at 1/32, interval of the paired difference",
        grows("semantic"),
        {"the positional minimum": grows("positional")},
    ),
    _claim(
        "SGD, fixed",
        "On a fixed training set noise leaves the minima that are neither",
        "fewer ends in neither class at η/B = 1/8 than at 1/32, interval of the paired difference",
        grows("neither", -1),
        {"more ends": grows("neither")},
    ),
]
COUNTING = [
    _claim(
        "counting",
        "The same layer counts by places and by symbols",
        "accuracy above 0.9 of both, 3 seeds, whole intervals",
        counts("symbols", "places"),
        {"attention sees neither": counts("neither", "neither")},
    ),
    _claim(
        "counting",
        "Both ways stay minima when attention is given both halves",
        "after 1000 steps of SGD the share of meaning in attention is within 0.2 of 1 and of 0, 3 seeds",
        stays("symbols", "places"),
        {"exchanged": stays("places", "symbols")},
        "the share of meaning was compared across rows at first, where it is below 1 for attention by symbols alone",
    ),
]
FIGURES = "experiments.positional_semantic.basins_figures"
TABLES = {"basins": ("Which minimum is found", CLAIMS), "counting": ("Two ways to count", COUNTING)}
