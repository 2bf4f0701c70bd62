"""Random plain values, configs, sweeps and command lines: values of the right types, and values that nobody means."""

import dataclasses
import functools
import math
import types
import typing
from collections import abc
from typing import Annotated, Any, Literal, NamedTuple

import flax.linen as nn
import numpy as np
from hypothesis import strategies as st

import dynamics
from dynamics.config import Chosen, base, type_hints
from dynamics.objectives.parameters import Trained
from dynamics.runs.parts import CLASSES, UNSET

# What the config file of a case returns: the file asks for it here, since not every value has a text.
HELD: dict[str, Any] = {}
Strategy = st.SearchStrategy[Any]

NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 4, 6, 12, 0.0, -0.0, 0.5, -0.5, 1e-3, 1e-300, 5e-324, 1e300, math.nan, math.inf, -math.inf),
    *(2**31, 2**53, 2**63 - 1, -(2**63), 2**63, 10**12, 10**400, -(10**400), True, False, 1j),
    *(np.float64(0.5), np.float32(np.nan), np.int64(3), np.zeros(3), np.array("x"), np.datetime64("2020-01-01")),
)
HOSTILE_TEXTS = (
    *(
        "",
        ".",
        "..",
        "../up",
        "/etc/passwd",
        "a/b",
        "a\nb",
        "a\tb",
        "a\0b",
        "\r",
        "\x1b[31m",
        "\u202e",
        "\ud800",
        "é" * 300,
    ),
    *(
        "'; touch x; '",
        '"',
        "$(touch x)",
        "`touch x`",
        "<script>alert(1)</script>",
        "%s%n",
        "{0}",
        "[bold]",
        "-rf",
        " ",
    ),
    *("name", "parent", "data", "auto", "nan", "None", "os.system", "__class__", "x" * 300),
)
OBJECTS = st.sampled_from((object(), {1, 2}, frozenset("a"), len, dict, range(3), Ellipsis, b"x", bytearray(b"x")))
REGISTRIES = (*CLASSES.values(), dynamics.PROBES, dynamics.LOSSES, dynamics.SCHEDULES, dynamics.SCORES)
NAMES = tuple(dict.fromkeys(name for registry in REGISTRIES for name in registry))
KNOWN_KEYS = tuple(
    dict.fromkeys((*base(), *(key for group in base().values() if isinstance(group, abc.Mapping) for key in group)))
)

texts = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.sampled_from(NAMES), st.text(max_size=6))
thousands_of_digits = st.builds(pow, st.just(10), st.just(5000))  # more than Python prints
numbers = st.one_of(*[st.sampled_from(NUMBERS)] * 9, thousands_of_digits)
leaves = st.one_of(numbers, st.floats(), st.integers(), texts, st.none(), st.binary(max_size=3), OBJECTS)
keys = st.one_of(
    texts, st.sampled_from(KNOWN_KEYS), st.sampled_from((3, None, True, 0.5, math.nan, b"x", (), ("a", 1)))
)
odd: Strategy = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=2).map(tuple), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=5,
)


def deep(levels: int) -> Any:
    """A list in a list in a list ..."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@functools.cache
def of_type(hint: Any) -> Strategy:
    """Values that a field of this type may hold; most of them are small."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType) or origin is Annotated:
        return of_type(inner[0] if inner else hint.__supertype__)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(of_type, inner))
    if origin in (tuple, list, abc.Sequence) and inner:
        return st.lists(of_type(inner[0]), max_size=3).map(tuple)
    if origin in (dict, abc.Mapping):
        return st.dictionaries(st.sampled_from(("W", "W_V", "*", "x")), of_type(inner[1]), max_size=2)
    known: dict[Any, Strategy] = {
        bool: st.booleans(),
        int: st.sampled_from((0, 1, 2, 3, 4, 6, 8, 12)),
        float: st.sampled_from((1e-3, 0.01, 0.05, 0.5, 0.9, 1.0, 2.0)),
        str: st.sampled_from(NAMES),
        type(None): st.none(),
    }
    by_name = isinstance(hint, type) and issubclass(hint, Chosen)
    return _chosen(hint.choices) if by_name else known.get(hint, leaves)


def part(registry: Any, name: str) -> Strategy:
    """A group of keys that chooses a class of a registry by its name, with some of its fields."""
    return fields(registry[name]).map(lambda values: {"name": name, **values})


@functools.cache
def fields(cls: Any) -> Strategy:
    """Values of some fields of a dataclass, by their types; of all fields without a default."""
    is_model = issubclass(cls, nn.Module)
    own = [field for field in dataclasses.fields(cls) if field.init and not (is_model and field.name in UNSET)]
    missing = dataclasses.MISSING
    needed = [field.name for field in own if field.default is missing and field.default_factory is missing]
    values = {field.name: of_type(type_hints(cls)[field.name]) for field in own}
    optional = {key: value for key, value in values.items() if key not in needed}
    return st.fixed_dictionaries({key: values[key] for key in needed}, optional=optional)


def _chosen(registry: Any) -> Strategy:
    return st.sampled_from(tuple(registry)).flatmap(lambda name: part(registry, name))


# Whole groups of a config, made of the schema alone.
GROUPS: dict[str, Strategy] = {
    "task": _chosen(dynamics.TASKS),
    "model": _chosen(dynamics.MODELS),
    "init": st.one_of(st.just({"name": "kaiming_normal"}), fields(dynamics.Initialisation)),
    "train": fields(Trained),
    "regulariser": st.one_of(st.just({}), _chosen(dynamics.REGULARISERS)),
    "laws": st.dictionaries(st.sampled_from(("flow", "gd", "data", "a b")), _chosen(dynamics.LAWS), max_size=2),
    "times": fields(dynamics.Times),
    "probes": st.lists(st.sampled_from(tuple(dynamics.PROBES)), max_size=4).map(tuple),
    "loss": st.sampled_from((None, *dynamics.LOSSES)),
}


class Edit(NamedTuple):
    """One change of a nested value.

    Attributes:
        path: the keys of what is changed.
        value: what is put there; Removed takes the key away.
    """

    path: tuple[Any, ...]
    value: Any

    def made(self, values: Any) -> Any:
        """A copy of nested values with this change; unchanged if the path leads nowhere."""
        if not self.path:
            return self.value
        if not isinstance(values, dict):
            return values
        first, rest = self.path[0], self._replace(path=self.path[1:])
        if not rest.path and self.value is Removed:
            return {key: value for key, value in values.items() if key != first}
        return {**values, first: rest.made(values.get(first, {}))}


class Removed:
    """In the place of a value: the key is taken away."""


def paths(values: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all groups and values of a nested dict."""
    found = [before] if before else []
    for key, value in values.items() if isinstance(values, dict) else ():
        found += paths(value, (*before, key))
    return found


def edits(config: dict[str, Any]) -> Strategy:
    """Up to four changes of a config."""
    places = paths(config)
    groups = [(), *(path for path in places if isinstance(_at(config, path), dict))]
    changed = st.builds(Edit, st.sampled_from(places), odd)
    added = st.builds(lambda path, key, value: Edit((*path, key), value), st.sampled_from(groups), keys, odd)
    removed = st.builds(Edit, st.sampled_from(places), st.just(Removed))
    regrouped = st.sampled_from(tuple(GROUPS)).flatmap(lambda key: st.builds(Edit, st.just((key,)), GROUPS[key]))
    nested = st.builds(Edit, st.sampled_from(places), st.sampled_from((100, 5000)).map(deep))
    some = st.lists(st.one_of(changed, changed, added, removed, regrouped, regrouped), min_size=1, max_size=4)
    return st.one_of(some, some, some, some, some, some, some, nested.map(lambda edit: [edit]))


def _at(values: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


def overrides(config: dict[str, Any]) -> Strategy:
    """What get_sweep of a config file may return: a list of overrides, or something else."""
    dotted = st.sampled_from([".".join(path) for path in paths(config)])
    path = st.one_of(dotted, dotted, dotted, keys, st.builds("{}.{}".format, dotted, texts))
    good = st.sampled_from(("seed", "model.width", "init.std", "times.stop", "laws.gd.learning_rate", "loss", "words"))
    some = st.one_of(
        st.dictionaries(path, odd, max_size=2), st.dictionaries(good, st.sampled_from((1, 2, 0.5, 4)), max_size=2)
    )
    return st.one_of(st.lists(some, max_size=3), st.lists(some, max_size=3), st.lists(odd, max_size=2), odd)


def _written(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # thousands of digits
        return "1" * 5000


def words(config: dict[str, Any]) -> Strategy:
    """The words of a command line after the name of the config file."""
    dotted = st.one_of(st.sampled_from([".".join(path) for path in paths(config)]), texts)
    value = st.one_of(texts, leaves.map(_written), odd.map(_written))
    typed = st.builds("--config.{}={}".format, dotted, value)
    bare = st.one_of(st.builds("--config.{}".format, dotted), st.builds("--{}".format, texts), texts)
    flag = st.sampled_from(("name", "launcher", "max-failures", "processes", "dry-run", "wrkdir", "coordinator"))
    flags = st.builds("--{}={}".format, flag, value)
    return st.lists(st.one_of(typed, typed, typed, bare, flags), min_size=1, max_size=3)
