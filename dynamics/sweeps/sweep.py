"""Sweeps: a base config and its members, each a config with overrides.

A member's id is the hash of its resolved config and of the user's code that this names. A folder holds one sweep, or
for claims one for each case.
"""

import copy
import json
import math
import pathlib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_collections

from dynamics.config import ConfigError, check_plain, plain, require
from dynamics.files import module_of, read_json
from dynamics.runs.manifest import check_format
from dynamics.sweeps.members import Family, Member, flat, free_keys, with_value

MOST_FAMILIES = 256  # of members that are kept while members are resolved
EMPTIEST = 2  # the largest size of a grid, in units of its members; a sparser one is stored as a list of members


class Axes(NamedTuple):
    """The place of every member of a sweep in an array.

    Attributes:
        dims: {dimension: its length}.
        labels: {key: (its dimension, or None if all members have the same value; its values along the dimension)}.
        places: the index of every member.
    """

    dims: dict[str, int]
    labels: dict[str, tuple[str | None, list[Any]]]
    places: Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Sweep:
    """A base config and its members.

    Attributes:
        name: the name of the config file and its variant.
        config: the resolved base config.
        members: the members, in the order of the overrides.
    """

    name: str
    config: dict[str, Any]
    members: list[Member]

    @classmethod
    def of(cls, name: str, config: ml_collections.ConfigDict, overrides: Sequence[Mapping[Any, Any]]) -> "Sweep":
        """Resolve every member; the overrides are those of a user, as they are.

        Raises:
            ConfigError: for an empty list, an unknown key, a value of another type, and two members that are equal.
        """
        from dynamics.runs.parts import completed  # here, so that reading a sweep needs no jax

        require(len(overrides) > 0, "sweep", list(overrides), "must have at least one member")
        config = copy.deepcopy(config)
        completed(config, {})
        base, unlinked = plain(config), free_keys(config)
        families: dict[str, Family] = {}
        members: dict[str, Member] = {}
        for override in overrides:
            check_plain(override)
            linked = {path: value for path, value in override.items() if path not in unlinked}
            family = families.get(of := json.dumps(linked))
            if family is None:
                if len(families) == MOST_FAMILIES:
                    families.clear()
                family = families[of] = Family(config, base, linked)
            member = family.member(dict(override), {key: override[key] for key in override if key in unlinked})
            same = members.get(member.id)
            require(same is None, "sweep", override, f"is the same member as {same.overrides if same else None}")
            members[member.id] = member
        return cls(name, base, list(members.values()))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Sweep":
        """The inverse of as_dict."""
        return cls(content["name"], content["config"], [Member(**member) for member in content["members"]])

    def as_dict(self) -> dict[str, Any]:
        """The sweep as plain values."""
        return {"name": self.name, "config": self.config, "members": [vars(member) for member in self.members]}

    def config_of(self, member: Member) -> dict[str, Any]:
        """The resolved config of a member, to be read only: what does not change is shared with the base config."""
        config = self.config
        for path, value in member.changes.items():
            config = with_value(config, path, value)
        return config

    @property
    def axes(self) -> Axes:
        """The grid that the members lie on.

        Keys whose values determine one another share a dimension, named by the first. If all seeds differ (see
        own_seeds), members with equal other values are numbered along `seed`. If members would fill less than half of
        the grid, the only dimension is `member`.
        """
        base = dict(flat(self.config))
        keys = list(dict.fromkeys(key for member in self.members for key in member.overrides))
        values = {key: [_label(m.changes.get(key, base[key])) for m in self.members] for key in keys}
        if "seed" in values and len(keys) > 1 and len(set(values["seed"])) == len(self.members):
            cells: dict[Any, int] = {}
            numbers = []
            for cell in zip(*(values[key] for key in keys if key != "seed"), strict=True):
                cells[cell] = cells.get(cell, -1) + 1
                numbers.append(cells[cell])
            values["seed"] = numbers if any(numbers) else values["seed"]
        leaders: dict[str, list[Any]] = {}
        labels: dict[str, tuple[str | None, list[Any]]] = {}
        for key, column in values.items():
            if len(set(column)) == 1:
                labels[key] = (None, column[:1])
                continue
            pairs = {leader: len(set(zip(column, other, strict=True))) for leader, other in leaders.items()}
            same = [leader for leader, count in pairs.items() if count == len(set(column)) == len(set(leaders[leader]))]
            leader = same[0] if same else key
            leaders.setdefault(leader, column)
            of_label = dict(zip(leaders[leader], column, strict=True))
            labels[key] = (leader, [of_label[label] for label in _ordered(leaders[leader])])
        dims = {leader: len(set(column)) for leader, column in leaders.items()}
        if math.prod(dims.values()) > EMPTIEST * len(self.members) or not dims:
            varying = {key: ("member", column) for key, column in values.items() if labels[key][0]}
            return Axes({"member": len(self.members)}, {**labels, **varying}, [(i,) for i in range(len(self.members))])
        ordered = {leader: {label: i for i, label in enumerate(_ordered(leaders[leader]))} for leader in leaders}
        columns = [[ordered[leader][label] for label in leaders[leader]] for leader in leaders]
        return Axes(dims, labels, list(zip(*columns, strict=True)))


def read_sweeps(folder: pathlib.Path) -> dict[str, Sweep]:
    """{case: sweep} of a folder; the case is "" if there are no cases.

    Raises:
        ConfigError: if this is not a sweep folder, or one of another format.
    """
    return {case: Sweep.from_dict(content) for case, content in _read(folder)["sweeps"].items()}


def read_kind(folder: pathlib.Path) -> str:
    """Which command made a sweep folder: "sweep", "compare" or "claims"."""
    return _read(folder)["kind"]


def execute_config(folder: pathlib.Path) -> types.ModuleType:
    """Execute the sweep folder's copy of its config file, which may register laws, tasks, ...; returns the module."""
    return module_of(folder / "config.py", copy_of=pathlib.Path(_read(folder)["file"]))


def _read(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "sweep.json"
    if not path.is_file():
        raise ConfigError("sweep", str(folder), "must be a sweep folder (one with a sweep.json)")
    check_format(folder)
    return read_json(path)


def _ordered(column: Sequence[Any]) -> list[Any]:
    """The different labels: numbers in increasing order, others in the order of the members."""
    labels = list(dict.fromkeys(column))
    numbers = all(isinstance(label, (int, float)) and not isinstance(label, bool) for label in labels)
    return sorted(labels) if numbers else labels


def _label(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool)) else str(value)
