"""The groups of a config that belong to a run itself: their types, the laws with their steps, the saved times."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dynamics.config import base, choose, require, under
from dynamics.laws import LAWS, Law
from dynamics.laws.schedules import LAST_STEP
from dynamics.mistakes import check_name
from dynamics.runs.starts import Regime
from dynamics.trajectory import Times

GROUPS = ("task", "data", "model", "init", "train", "regulariser", "laws", "times", "compare", "launch", "wandb")


@functools.cache
def top_level() -> frozenset[str]:
    """The keys of every config."""
    return frozenset(base())


@dataclass(frozen=True)
class Settings:
    """The keys of a config that are in no group; see dynamics.config.base."""

    seed: int
    draw: int | None
    step: float | None
    loss: str | None
    dtype: Literal["float64", "float32"]
    words: int
    checkpoints: int
    certify: bool
    figures: str
    probes: tuple[str, ...]

    def __post_init__(self):
        require(self.words >= 1, "words", self.words, "must be at least 1")
        check_seed(self.seed)
        require(self.draw is None or 0 <= self.draw < 2**32, "draw", self.draw, "must be 0 to 2**32 - 1")
        require(self.step is None or self.step > 0, "step", self.step, "must be positive")


def check_seed(seed: int) -> None:
    """Refuse a negative seed."""
    require(seed >= 0, "seed", seed, "must not be negative")


@dataclass(frozen=True)
class Data:
    """The group `data` of a config."""

    regime: Regime
    evaluation: int | None

    def __post_init__(self):
        allowed = "must be at least 2"
        require(self.evaluation is None or self.evaluation >= 2, "evaluation", self.evaluation, allowed)


@dataclass(frozen=True)
class Mirror:
    """The group `wandb` of a config."""

    mode: Literal["offline", "online", "disabled"]
    project: str
    group: str
    each_member: bool | None


def laws_of(configs: Mapping[str, Any], step: float | None) -> tuple[dict[str, Law], list[tuple[str, Any, float]]]:
    """The laws, and for each that makes steps: the key that sets its step, the value of that key, and the step."""
    require(len(configs) > 0, "laws", {}, f"needs at least one of {', '.join(LAWS)}")
    require("data" not in configs, "laws.data", "data", "is the name of the training set in the record")
    laws, steps = {}, []
    for name, values in configs.items():
        check_name("laws", name)
        laws[name], key = law_of(name, values, step)
        if laws[name].step is not None:
            steps.append((key, step if key == "step" else values.get("learning_rate"), laws[name].step))
    return laws, steps


def law_of(name: str, values: Any, step: float | None) -> tuple[Law, str]:
    """The law of a config, and the key that sets its step if it makes steps.

    Raises:
        ConfigError: for a mistake in its values.
    """
    own = choose(LAWS, _without_train(values), f"laws.{name}.")
    law = own if step is None else own.at_step(step)
    return law, f"laws.{name}.learning_rate" if law is own else "step"


def _without_train(values: Any) -> Any:
    """The values of a law without its group `train`, which belongs to the experiment."""
    grouped = isinstance(values, Mapping) and "train" in values
    return {key: value for key, value in values.items() if key != "train"} if grouped else values


def common_times(times: Times, steps: Sequence[tuple[str, Any, float]]) -> np.ndarray:
    """The saved times: multiples of times.multiple_of, or if that is not given, of the largest step if there is one.

    Args:
        times: as they were asked for.
        steps: (key of the config that sets a step, its value, the step).

    Raises:
        ConfigError: for a step that does not divide the largest, and a grid that the multiples cannot hold.
    """
    largest = times.multiple_of or max((step for _, _, step in steps), default=None)
    with under("times."):
        grid = times.grid(largest)
    for key, value, step in steps:
        assert largest is not None  # there is a step
        ratio = largest / step
        allowed = f"must divide the largest step, {largest:g}, so that all laws are recorded at the same times"
        require(ratio > 0.5 and abs(ratio - round(ratio)) < 1e-9 * ratio, key, value, allowed)
        allowed = f"must reach the last saved time, t = {grid[-1]:g}, in at most {LAST_STEP} steps"
        require(float(grid[-1]) / step <= LAST_STEP, key, value, allowed)
    return grid
