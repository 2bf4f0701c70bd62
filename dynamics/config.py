"""From a config to typed objects; every mistake in it is one line that names the key."""

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import json
import math
import pathlib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import ml_collections
from ml_collections.config_dict import placeholder

__all__ = [
    "ConfigError",
    "base",
    "build",
    "check_keys",
    "check_path",
    "choose",
    "config_hash",
    "module_of",
    "require",
    "under",
]


class ConfigError(ValueError):
    """A bad value in a config: the key, the value found and what is allowed."""

    def __init__(self, key: str, found: Any = None, allowed: str | None = None):
        # absl passes on an error of a config file as type(error)(message): a lone argument is the whole message.
        super().__init__(key if allowed is None else f"{key} = {found!r}: {allowed}")
        self.key, self.found, self.allowed = key, found, allowed


def require(condition: bool, key: str, found: Any, allowed: str) -> None:
    """Raise ConfigError unless `condition` holds."""
    if not condition:
        raise ConfigError(key, found, allowed)


@contextlib.contextmanager
def under(path: str) -> Iterator[None]:
    """Put `path` before the key of a ConfigError raised inside."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(path + error.key, error.found, error.allowed) from None


def base() -> ml_collections.ConfigDict:
    """The config that every experiment starts from: all keys of a run, with their defaults.

    Task, model and laws are the experiment's own and have no default here.
    """
    return ml_collections.ConfigDict(
        {
            "seed": 0,
            "dtype": "float64",
            "task": {},
            "model": {},
            "init": {
                "name": "kaiming_normal",
                # With name="normal": the standard deviation of all entries, and of single matrices by their names.
                "std": placeholder(float),
                "std_of": {},
                "draw": "weights",
            },
            # Added to the loss, by name; see dynamics.objectives.regularisers.
            "regulariser": {},
            "laws": {},
            # The time between updates of every law that makes steps; if not given, each law's own.
            "step": placeholder(float),
            # The number of the draw of the noise of random laws.
            "draw": placeholder(int),
            # Saved times, multiples of `multiple_of`; if not given, of the largest step.
            "times": {
                "spacing": "logarithmic",
                "start": 0.01,
                "stop": 100.0,
                "count": 100,
                "given": (),
                "multiple_of": placeholder(float),
            },
            "probes": ("loss",),
            # Probes of words and of pairs of words keep the first `words` words of the vocabulary.
            "words": 16,
            # Parameters are stored at t = 0 and at this many later times, the last one the end.
            "checkpoints": 4,
            # Solve every flow again at a hundred times tighter tolerances, and record the error of every probe.
            "certify": False,
            "figures": "",
            # Read by `dynamics compare` alone; see dynamics.studies.comparison.Settings.
            "compare": {"pairs": (), "steps": (), "seeds": 1, "draws": 1, "tolerance": 0.01, "claims": ""},
            # Read by `dynamics sweep` alone; see dynamics.sweeps.launchers.Resources.
            "launch": {
                "jobs": 3,
                "cpus": 2,
                "gpus": 0,
                "memory_gb": 4.0,
                "minutes": 60,
                "partition": "",
                "checkpoint_s": 60.0,
            },
            "wandb": {"mode": "offline", "project": "dynamics", "group": "", "each_member": placeholder(bool)},
        }
    )


_type_hints = functools.cache(typing.get_type_hints)


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(v) for v in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_type_name(h) for h in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"a list of {_type_name(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is dict:
        return f"a group of keys, each {_type_name(typing.get_args(hint)[1])}"
    return {int: "an integer", float: "a finite number", str: "a text", bool: "True or False", type(None): "nothing"}[
        hint
    ]


def _fits(hint: Any, value: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(value == v and type(value) is type(v) for v in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(h, value) for h in arguments)
    if origin in (tuple, dict):
        kinds, hint_of_entry = ((tuple, list), arguments[0]) if origin is tuple else (Mapping, arguments[1])
        entries = value.values() if isinstance(value, Mapping) else value
        return isinstance(value, kinds) and all(_fits(hint_of_entry, entry) for entry in entries)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _converted(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        return tuple(_converted(typing.get_args(hint)[0], v) for v in value)
    if typing.get_origin(hint) is dict:
        return {k: _converted(typing.get_args(hint)[1], v) for k, v in value.items()}
    floating = hint is float or float in typing.get_args(hint)
    return float(value) if floating and value is not None else value


def check_keys(found: Mapping[str, Any], allowed: Iterable[str], path: str) -> None:
    """Refuse a key that is not allowed, with the nearest allowed one as a hint.

    Raises:
        ConfigError: naming the first unknown key.
    """
    allowed = sorted(allowed)
    for key in found:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(path + key, found[key], f"unknown key; {hint}allowed: {', '.join(allowed)}")


def check_path(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    """Refuse a dotted key that the config does not have.

    Raises:
        ConfigError: naming it, with its neighbours.
    """
    node: Any = config
    path, _, _ = key.rpartition(".")
    for part in key.split("."):
        require(isinstance(node, ml_collections.ConfigDict), key, value, f"{path} is a value, not a group of keys")
        try:
            check_keys({part: value}, node, "")
        except ConfigError as error:
            raise ConfigError(key, value, str(error.allowed)) from None
        node = node[part]


def build(cls: Any, values: Mapping[str, Any], path: str, **given: Any) -> Any:
    """cls(**values, **given), with unknown keys, missing keys and wrong types refused under `path`.

    Args:
        cls: a dataclass whose annotations are the schema of `values`.
        values: a part of a config.
        path: the dotted key of that part with a final dot, for messages ("task.").
        given: fields that do not come from the config.

    Raises:
        ConfigError: naming the key, the value found and what is allowed.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in {"parent", *given}}
    hints = _type_hints(cls)
    check_keys(values, fields, path)
    for key, field in fields.items():
        if key in values:
            if not _fits(hints[key], values[key]):
                raise ConfigError(path + key, values[key], f"must be {_type_name(hints[key])}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(path + key, None, f"missing; needs {_type_name(hints[key])}")
    with under(path):
        return cls(**{k: _converted(hints[k], v) for k, v in values.items()}, **given)


def choose(registry: Mapping[str, Any], values: Mapping[str, Any], path: str, **given: Any) -> Any:
    """build() of the class that `values["name"]` names in `registry`, with those of `given` that it has a field for.

    Raises:
        ConfigError: as build(), and for a name that is not in the registry.
    """
    name = values.get("name")
    allowed = "one of " + ", ".join(repr(k) for k in registry)
    if not isinstance(name, str) or name not in registry:
        raise ConfigError(f"{path}name", name, f"must be {allowed}")
    cls = registry[name]
    fields = {field.name for field in dataclasses.fields(cls)}
    given = {key: value for key, value in given.items() if key in fields}
    # Every flax module has a field `name` of its own: the registry's name is not passed on.
    if "parent" in fields:
        given = {"name": None, **given}
    return build(cls, {k: v for k, v in values.items() if k != "name"}, path, **given)


def config_hash(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the config's content; where it runs and who mirrors it is left out."""
    content = {k: v for k, v in config.items() if k not in ("launch", "wandb")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def module_of(path: pathlib.Path) -> types.ModuleType:
    """The module of a config file, executed anew; what it registers is registered then."""
    specification: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
