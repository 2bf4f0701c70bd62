"""Which minimum a random start finds under flow, GD and SGD; and two ways to count. Beyond the paper, but for counting.

At (ω, α) = (0.3, 1.5) and d = 200; q(0) has entries N(0, 1/d). The noise of SGD is η/B, the step over the size of a
minibatch. An end is positional for m ≥ 0.19 and θ/σ² ≤ 0.15, semantic for m ≤ 0.10 and θ/σ² ≥ 0.40, and else neither.
All bounds were set after 16 other seeds. With 40 seeds from 9000 on most intervals were too wide to decide; so there
are 100, from 10000 on, with the same bounds.
"""

from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from dynamics import Case, Claim, Finding, Measured, above, grid, inside, seeds
from dynamics.analysis.fits import Interval, mean_interval
from dynamics.studies.claims import Data, all_inside
from dynamics.studies.evidence import case_config
from experiments.positional_semantic import counting
from experiments.positional_semantic.claims import CONFIG, PAPER

RUNS = seeds(100, 10_000)
SGD = grid({"laws.sgd.learning_rate": (1.0, 4.0)}, RUNS)
ENDS = ("positional", "semantic", "neither")
CASES: dict[str, Case | Measured] = {
    "arc": Case(case_config(CONFIG, "random", "flow", model={"start": "between"}), RUNS),
    "flow": Case(case_config(CONFIG, "random", "flow"), RUNS),
    "GD": Case(case_config(CONFIG, "random", "gd"), grid({"laws.gd.learning_rate": (1.0, 8.0)}, RUNS)),
    "SGD, fixed": Case(case_config(CONFIG, "random", "sgd"), SGD),
    "SGD, fresh": Case(case_config(CONFIG, "random", "sgd", data={"regime": "fresh"}), SGD),
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


def grows(data: Data, case: str, end: str, sign: int = 1) -> Finding:
    """Whether the share of an end grows with the noise, η/B = 1/32 to 1/8 with B = 32; or, with sign −1, falls."""
    less, more = (ends(data[case])[end].sel(learning_rate=rate).values for rate in (1.0, 4.0))
    return Finding(above(mean_interval(sign * (more - less))), f"{end}: {share(less)} to {share(more)}")


def same_ends(data: Data, case: str, shift: int = 0) -> Finding:
    """Whether GD with η = 8 and flow end in the same class from the same start, or from that of another seed."""
    gd, flow = ends(data["GD"].sel(learning_rate=8.0)), ends(data["flow"])
    found = share(sum(abs(gd[end].values - np.roll(flow[end].values, shift)) for end in ENDS) > 0)
    return Finding(inside(found, 0, 0.25), f"share that ends elsewhere {found}")


def arms(data: Data, case: str, quantity: str, bounds: tuple[Any, Any], of: Any = ("symbols", "places")) -> Finding:
    """Whether a quantity of two arms ends within the bounds of attention by symbols and of attention by places."""
    last = data[case][quantity].isel(steps=-1)
    names = zip(("by symbols", "by places"), of, bounds, strict=True)
    return all_inside({name: (mean_interval(last.sel(arm=arm)), *between) for name, arm, between in names})


BASINS = {
    "GD": Claim(
        "ours",
        "A large step of GD does not choose: η = 8 ends where gradient flow ends",
        "at most 25 % of the starts end in another class, whole interval",
        same_ends,
        elsewhere={"the flow of another seed": partial(same_ends, shift=1)},
    ),
    "SGD, fresh": Claim(
        "ours",
        "On fresh samples noise chooses the semantic minimum",
        "more ends there at η/B = 1/8 than at 1/32, interval of the paired difference",
        partial(grows, end="semantic"),
        elsewhere={"the positional minimum": partial(grows, end="positional")},
    ),
    "SGD, fixed": Claim(
        "ours",
        "On a fixed training set noise leaves the minima that are neither",
        "fewer ends in neither class at η/B = 1/8 than at 1/32, interval of the paired difference",
        partial(grows, end="neither", sign=-1),
        elsewhere={"more ends": partial(grows, end="neither")},
    ),
}
COUNTS = partial(arms, quantity="accuracy", bounds=((0.9, np.inf), (0.9, np.inf)))
STAYS = partial(arms, quantity="by_meaning", bounds=((0.8, 1.2), (-0.2, 0.2)))
COUNTING = (
    Claim(
        PAPER,
        "The same layer counts by places and by symbols",
        "accuracy above 0.9 of both, 3 seeds, whole intervals",
        COUNTS,
        elsewhere={"attention sees neither": partial(COUNTS, of=("neither", "neither"))},
    ),
    Claim(
        PAPER,
        "Both ways stay minima when attention is given both halves",
        "after 1000 steps of SGD the share of meaning in attention is within 0.2 of 1 and of 0, 3 seeds",
        STAYS,
        elsewhere={"exchanged": partial(STAYS, of=("places", "symbols"))},
        post_hoc="the share of meaning was compared across rows at first, where it is below 1 for attention by symbols "
        "alone",
    ),
)
FIGURES = "experiments.positional_semantic.figures"
TABLES = {
    "basins": ("Which minimum is found", list(BASINS.items())),
    "counting": ("Two ways to count", [("counting", claim) for claim in COUNTING]),
}
