"""Claims about co-occurrence as XOR: that attention is needed, when it leaves the plateau, how many samples it takes.

The task is exactly-one of arXiv:2410.09605's words (experiments/cooccurrence/xor.py): y = +1 when exactly one of μ1 and
μ2 occurs. No statement here is the paper's; theory.py derives those about the plateau and the escape from it.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dynamics import grid, seeds
from dynamics.config import load_config
from dynamics.studies.claims import Claim
from dynamics.studies.evidence import Case, Measured
from experiments.cooccurrence import controls  # noqa: F401  (registers the law frozen_attention)
from experiments.xor import measures
from experiments.xor.measures import FROZEN

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "xor.py"
FIRST = 0  # of the seeds, none of which was seen when the bounds were set
SEEDS = 8
FEWER = 4
SAMPLES = (60, 120, 480, 960)
EXPONENTS = 6  # seeds of a fitted exponent


def _case(variant: str, members: Sequence[Mapping[str, Any]], frozen: bool = False, **changes: Any) -> Case:
    """A variant of the config under gradient flow in Gram variables; changes are (group, {key: value})."""

    def config() -> Any:
        config = load_config(CONFIG, variant)
        law = "frozen_attention" if frozen else "gram_flow"
        config.laws = {"flow": {"name": law, "solver": "auto", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000}}
        if variant != "escape":
            config.init.draw = "gram"
            config.times.update(start=0.1, count=120)
            config.probes = ("loss", "population_loss", "fresh_error", "drift")
        for group, values in changes.items():
            config[group].update(values)
        return config

    return Case(config, members)


def _both(name: str, variant: str, count: int, **changes: Any) -> dict[str, Case]:
    """A case, and the same starts with fixed W_K and W_Q."""
    of_seeds = seeds(count, FIRST)
    return {
        name: _case(variant, of_seeds, **changes),
        name + FROZEN: _case(variant, of_seeds, frozen=True, **changes),
    }


def _escape(axis: Mapping[str, Sequence[Any]], **changes: Any) -> Case:
    return _case("escape", grid(axis, seeds(EXPONENTS, FIRST)), **changes)


CASES: dict[str, Case | Measured] = {
    **_both("m = 16", "narrow", SEEDS),
    **_both("m = 64", "small", SEEDS),
    **_both("AND", "narrow", SEEDS, task={"name": "cooccurrence"}),
    **_both("shuffled labels", "narrow", SEEDS, task={"name": "shuffled_exactly_one"}),
}
for n in SAMPLES:
    CASES |= _both(f"n = {n}", "narrow", FEWER, task={"samples": n})
TABLES: dict[str, Any] = {"x": ("x", [])}
