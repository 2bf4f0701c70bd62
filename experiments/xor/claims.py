"""Claims about co-occurrence as XOR: that attention is needed, when it leaves the plateau, how many samples it takes.

The task is exactly-one of arXiv:2410.09605's words (experiments/cooccurrence/xor.py): y = +1 when exactly one of μ1 and
μ2 occurs. No statement here is the paper's; theory.py derives those about the plateau and the escape from it.
"""

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
SEEDS, FEWER = 8, 4
SAMPLES = (60, 120, 480, 960)
SCALES = (1e-4, 1e-3, 1e-2)  # σ0
WIDEST = {"model": {"width": 2**50}, "times": {"stop": 1e7, "count": 280}}

GRAM = {"solver": "auto", "rtol": 1e-5, "atol": 1e-9, "max_steps": 100_000}
LAWS: dict[str, dict[str, Any]] = {
    "trained": {"name": "gram_flow", **GRAM},
    "frozen": {"name": "frozen_attention", **GRAM},
    "flow": {"name": "flow", **GRAM},
    "GD": {"name": "gd", "learning_rate": 0.05},
    "SGD": {"name": "sgd", "learning_rate": 0.05, "batch_size": 60},
    "Adam": {"name": "adam", "learning_rate": 0.001},
}


def _case(variant: str, members: Sequence[Mapping[str, Any]], law: str = "trained", **changes: Any) -> Case:
    """A variant of the config under one law; `changes` are {group: {key: value}}."""

    def config() -> Any:
        config = load_config(CONFIG, variant)
        config.laws = {"law": LAWS[law]}
        if variant != "escape":
            config.times.update(start=0.1, count=120)
            config.probes = ("loss", "population_loss", "fresh_error", "drift")
        for group, values in changes.items():
            config[group].update(values)
        return config

    return Case(config, members)


def _both(name: str, variant: str, count: int, **changes: Any) -> dict[str, Case]:
    """A case, and the same starts with fixed W_K and W_Q."""
    of_seeds, changes = seeds(count, FIRST), {"init": {"draw": "gram"}, **changes}
    return {
        name: _case(variant, of_seeds, **changes),
        name + FROZEN: _case(variant, of_seeds, "frozen", **changes),
    }


def _escape(axis: Mapping[str, Sequence[Any]], law: str = "trained", **changes: Any) -> Case:
    """The variant `escape` over an axis and seeds."""
    return _case("escape", grid(axis, seeds(FEWER, FIRST)), law, **changes)


def _by_law(law: str) -> Case:
    small = {"task": {"vocabulary": 16}, "times": {"start": 1.0, "stop": 1000.0, "count": 120, "multiple_of": 0.05}}
    return _case("narrow", seeds(FEWER, FIRST), law, **small)


CASES: dict[str, Case | Measured] = {
    **_both("m = 16", "narrow", SEEDS),
    **_both("m = 64", "small", SEEDS),
    **_both("AND", "narrow", FEWER, task={"name": "cooccurrence"}),
    **_both("shuffled labels", "narrow", FEWER, task={"name": "shuffled_exactly_one"}),
    **{key: case for n in SAMPLES for key, case in _both(f"n = {n}", "narrow", FEWER, task={"samples": n}).items()},
    "σ0": _escape({"init.std": SCALES}, **WIDEST),
    "σ0" + FROZEN: _escape({"init.std": SCALES[:1]}, "frozen", **WIDEST),
    "width": _escape({"model.width": (2**14, 2**17, 2**20)}),
    "scale of W": _escape({"init.std_of.W": (0.003, 0.006, 0.012)}),
    "neurons": _escape({"model.neurons": (2, 8, 32)}),
    "samples": _escape({"task.samples": (480, 960, 1920)}),
    **{law: _by_law(law) for law in ("flow", "GD", "SGD", "Adam")},
    "plateau": Measured(
        {"samples": [240, 1920, 3840], "vocabulary": 64, "seeds": list(range(FIRST, FIRST + SEEDS))}, measures.plateaus
    ),
    "plateau, d = 16": Measured(
        {"samples": [240], "vocabulary": 16, "seeds": list(range(FIRST, FIRST + FEWER))}, measures.plateaus
    ),
}
TABLES: dict[str, Any] = {"x": ("x", [])}
_ = Claim
