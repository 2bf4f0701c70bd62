"""Lists of overrides, the members of sweeps.

    grid({"model.width": (256, 1024)}, seeds(5))          every combination
    zipped({"task.length": (4, 8), "task.samples": ...})  side by side
    random({"init.std": log_uniform(1e-4, 1e-1)}, count=100)
    chain(one, another)                                   one after another

Each gives such a list, and grid takes such lists as factors.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dynamics.config import require

Override = dict[str, Any]  # {dotted key: value}


def grid(*factors: Mapping[str, Sequence[Any]] | Sequence[Override]) -> list[Override]:
    """Every combination; the last factor varies fastest.

    Args:
        factors: {key: values}, in which every key is a factor, or lists of overrides.

    Raises:
        ConfigError: for a key in two factors.
    """
    lists: list[Sequence[Override]] = []
    for factor in factors:
        if isinstance(factor, Mapping):
            lists += [[{key: value} for value in values] for key, values in factor.items()]
        else:
            lists.append(factor)
    keys = [key for members in lists for key in sorted({key for member in members for key in member})]
    repeated = [key for key in keys if keys.count(key) > 1]
    require(not repeated, "sweep", repeated[:1], "a key must be in one factor of a grid only")
    return [_merged(combination) for combination in itertools.product(*lists)]


def _merged(overrides: Iterable[Override]) -> Override:
    return {key: value for override in overrides for key, value in override.items()}


def zipped(axes: Mapping[str, Sequence[Any]]) -> list[Override]:
    """The first values of all keys, the second values of all keys, ...

    Raises:
        ConfigError: for lists of different lengths.
    """
    lengths = {key: len(values) for key, values in axes.items()}
    require(len(set(lengths.values())) <= 1, "sweep", lengths, "zipped keys must have equally many values")
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def chain(*parts: Sequence[Override]) -> list[Override]:
    """One list after another; a key that a member does not set has its value in the base config."""
    return [override for part in parts for override in part]


def seeds(count: int, first: int = 0) -> list[Override]:
    """`count` seeds (of data, start and minibatches), starting with `first`."""
    return [{"seed": seed} for seed in range(first, first + count)]


def own_seeds(members: Sequence[Mapping[str, Any]], first: int = 0) -> list[Override]:
    """The same members with the seeds `first`, `first` + 1, ..., so that their starts are independent."""
    return [{**override, "seed": first + number} for number, override in enumerate(members)]


Draw = Callable[[np.random.Generator], Any]


def random(axes: Mapping[str, Draw], count: int, seed: int = 0) -> list[Override]:
    """`count` members with independent random values; a larger count begins with the same members.

    Args:
        axes: {key: uniform(...), log_uniform(...) or choice(...)}.
        count: the number of members.
        seed: the seed of the random values.
    """
    generators = [np.random.default_rng([seed, i]) for i in range(count)]
    return [{key: draw(generator) for key, draw in axes.items()} for generator in generators]


def uniform(low: float | int, high: float | int) -> Draw:
    """Uniform on [low, high)."""
    return lambda generator: float(generator.uniform(low, high))


def log_uniform(low: float | int, high: float | int) -> Draw:
    """On [low, high), with a uniform logarithm."""
    require(0 < low < high, "sweep", (low, high), "log_uniform needs 0 < low < high")
    return lambda generator: math.exp(generator.uniform(math.log(low), math.log(high)))


def choice(values: Sequence[Any]) -> Draw:
    """One of the values."""
    return lambda generator: values[int(generator.integers(len(values)))]
