"""The members of a sweep: a config with overrides, resolved."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_collections
from ml_collections.config_dict import FieldReference

from dynamics.config import UNHASHED, ConfigError, check_path, hash_of, plain, require, texts
from dynamics.sweeps.overrides import Override

LABELS = ("figures", "compare")  # keys that change no trajectory, in addition to UNHASHED


@dataclass(frozen=True)
class Member:
    """One config of a sweep.

    Attributes:
        id: the hash of its resolved config, without the keys in LABELS, and of the user's code that it names.
        overrides: the keys that the sweep sets, with their values.
        changes: all keys whose values differ from the resolved base config, derived ones included, and before them the
            groups that have lost keys, as a whole.
    """

    id: str
    overrides: Override
    changes: Override


class Family:
    """Members that set the same linked keys to the same values.

    A key is linked if it is a group or the name of a class, or if another key refers to it: other keys may follow from
    it. Setting any other key changes nothing else, so that the members of a family need one copy of the config.
    """

    def __init__(self, config: ml_collections.ConfigDict, base: Mapping[str, Any], linked: Override):
        """Copy a config with its references and set the linked keys, so that derived values follow."""
        from dynamics.runs.parts import completed

        self._config = copy.deepcopy(config)
        completed(self._config, linked)
        for path, value in linked.items():
            _set(self._config, path, value)
        self._resolved = plain(self._config)
        before, after = dict(flat(base)), dict(flat(self._resolved))
        # What the id of a member is the hash of.
        self._texts = texts({key: value for key, value in self._resolved.items() if key not in (*LABELS, *UNHASHED)})
        self._texts |= texts({"code": _code_of(self._resolved)})
        self._numbers = {path for path, value in after.items() if isinstance(value, (int, float))}
        # A group that has lost keys, since it has another class, is replaced as a whole.
        self._changes = dict(_left_of(self._resolved, path) for path in before if path not in after)
        self._changes |= {path: after[path] for path in after if path not in before or before[path] != after[path]}
        self._changes |= {path: after[path] for path in after if path in linked}

    def member(self, override: Override, free: Override) -> Member:
        """The member with these overrides, of which `free` are those that are not linked."""
        resolved, changes, names = self._resolved, dict(self._changes), False
        for path, value in free.items():
            node, key = _set(self._config, path, value)
            changed = node[key]
            if not isinstance(changed, (int, float)):
                changed = plain(ml_collections.ConfigDict({key: changed}))[key]
            names |= path not in self._numbers or not isinstance(changed, (int, float))
            changes[path], resolved = changed, with_value(resolved, path, changed)
        groups = {path.partition(".")[0] for path in free} & self._texts.keys()
        of_id = self._texts | texts({group: resolved[group] for group in groups})
        if names:
            of_id |= texts({"code": _code_of(resolved)})
        return Member(hash_of(of_id), override, changes)


def _code_of(resolved: Mapping[str, Any]) -> str:
    """The hash of the user's code that a config names, apart from the keys in LABELS."""
    from dynamics.runs import identity
    from dynamics.runs.parts import named

    content = [value for key, value in resolved.items() if key not in LABELS]
    return identity.digest(identity.code(named(content)))


def _set(config: ml_collections.ConfigDict, path: str, value: Any) -> tuple[ml_collections.ConfigDict, str]:
    """Set a dotted key of a config; returns the group that has it, and its name there."""
    check_path(config, path, value)
    *groups, key = path.split(".")
    node: Any = config
    for group in groups:
        node = node[group]
    is_group = isinstance(node[key], ml_collections.ConfigDict)
    require(not is_group, path, value, "is a group of keys; only values can be swept")
    try:
        node[key] = value
    except (TypeError, ValueError):
        kind = type(node[key]).__name__
        raise ConfigError(path, value, f"must be of type {kind}, as in the config") from None
    return node, key


def free_keys(config: ml_collections.ConfigDict) -> set[str]:
    """The dotted keys from which nothing else follows."""
    held = list(_held(config))
    references = [value for _, value in held if isinstance(value, FieldReference)]

    def is_free(key: str, value: Any) -> bool:
        if key.rpartition(".")[2] == "name":
            return False
        if not isinstance(value, FieldReference):
            return True
        others = [other for other in references if other is not value]
        # A reference that leads to this one "has a cycle" once this one counts as visited.
        followed = any(other.has_cycle({id(value)}) for other in others)
        return len(others) == len(references) - 1 and not followed

    return {key for key, value in held if is_free(key, value)}


def _held(config: ml_collections.ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All dotted keys that are no groups, and what they hold, a reference as it is."""
    for key, value in config.items(preserve_field_references=True):
        if isinstance(value, ml_collections.ConfigDict):
            yield from _held(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def with_value(config: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A config with another value at a dotted key; what does not change is shared."""
    key, _, rest = path.partition(".")
    return {**config, key: with_value(config[key], rest, value) if rest else value}


def _left_of(config: Mapping[str, Any], path: str) -> tuple[str, Any]:
    """The innermost group that a config still has of those around a key, and what it holds."""
    group, node = "", config
    for part in path.split("."):
        if part not in node:
            break
        group, node = f"{group}.{part}".lstrip("."), node[part]
    return group, node


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The dotted keys of a config that are no groups, with their values."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
