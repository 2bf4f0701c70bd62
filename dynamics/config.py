"""From a config to typed objects. Every mistake in a config is one line that names the key."""

import dataclasses
import difflib
import functools
import hashlib
import json
import typing
from abc import ABC
from collections import abc
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import ml_collections
import pydantic
from ml_collections.config_dict import placeholder

from dynamics.mistakes import GROUPS, ConfigError, check_plain, require, under

UNHASHED = ("launch", "wandb")  # groups that change nothing that is recorded
ENCODER = json.JSONEncoder(sort_keys=True, default=str)  # of what is hashed

# Mistakes for which pydantic has other words.
PLAIN = {
    "int_type": "must be an integer",
    "float_type": "must be a finite number",
    "finite_number": "must be a finite number",
    "string_type": "must be a text",
    "bool_type": "must be True or False",
    "none_required": "None",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a group of keys",
    "dataclass_type": "must be a group of keys",
    "missing": "is missing",
}


def base() -> ml_collections.ConfigDict:
    """The config that every experiment starts from: all keys of a run, with their defaults.

    Task, model and laws are the experiment's own and have no default here.
    """
    return ml_collections.ConfigDict(
        {
            "seed": 0,
            "dtype": "float64",
            "task": {},
            # What is descended, see dynamics.runs.starts.Setup; how many samples the evaluation set has, if not those
            # that the task says.
            "data": {"regime": "fixed", "evaluation": placeholder(int)},
            # By its name in dynamics.LOSSES; if not given, the task's own.
            "loss": placeholder(str),
            "model": {},
            "init": {
                "name": "kaiming_normal",
                # With name="normal": the standard deviation of all entries, and of single matrices by their names.
                "std": placeholder(float),
                "std_of": {},
                "draw": "weights",
            },
            # Patterns of the names of the parameters that train; groups of parameters that are one; {pattern: factor of
            # the learning rate}. See dynamics.objectives.parameters.Trained.
            "train": {"only": ("*",), "tied": (), "rates": {}},
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
            # Of jobs, and how often what goes on is stored; see dynamics.sweeps.launch.Resources.
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


type_hints = functools.cache(functools.partial(typing.get_type_hints, include_extras=True))


@functools.cache
def adapter(hint: Any) -> Any:
    """What checks and converts values of a type."""
    settings = pydantic.ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
    return pydantic.TypeAdapter(hint, config=None if dataclasses.is_dataclass(hint) else settings)


def _converted(hint: Any, value: Any, path: str) -> Any:
    """The value as a field of this type holds it: floats for integers, tuples for lists, dicts for groups of keys.

    Raises:
        ConfigError: for a value that is not of this type.
    """
    if type(value) is hint and isinstance(value, (int, float, str)):  # a number that is plain is finite
        return value
    # As JSON: there, a list can be a tuple, but a text is no number and a bool no integer.
    text = json.dumps(value.to_dict() if isinstance(value, ml_collections.ConfigDict) else value)
    try:
        converted = adapter(hint).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        mistakes = error.errors()
    else:
        # A sequence of any kind is a tuple, so that what holds it can be hashed.
        any_kind = typing.get_origin(hint) is abc.Sequence
        return tuple(converted) if any_kind else converted
    if len(mistakes) == 1:
        for part in mistakes[0]["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
        value = mistakes[0]["input"]
    sentence = " or ".join(PLAIN.get(mistake["type"], mistake["msg"]) for mistake in mistakes)
    raise ConfigError(path, value, sentence.replace("Input should be", "must be").replace("or must be", "or"))


class Chosen(ABC):
    """What a config picks by name, as a field of a class that build() makes; abstract.

    A field annotated with a subclass, or with `subclass | None`, takes the name as a text, or a group of keys: the name
    and options of its own.

    Attributes:
        choices: {name: class}, every class a dataclass.
    """

    choices: ClassVar[dict[str, type]]


def name_of(part: Chosen) -> str:
    """The name by which a config picks the class of a part."""
    return next(name for name, cls in part.choices.items() if cls is type(part))


def _of_field(hint: Any, value: Any, path: str) -> Any:
    """The value of a field: of a type, or what a config picks by name."""
    for kind in typing.get_args(hint) or (hint,):
        if value is not None and isinstance(kind, type) and issubclass(kind, Chosen):
            if isinstance(value, str):
                require(value in kind.choices, path, value, f"must be {_one_of(kind.choices)}")
                value = {"name": value}
            return choose(kind.choices, value, f"{path}.")
    return _converted(hint, value, path)


def check_keys(values: Any, allowed: Iterable[str], path: str) -> None:
    """Refuse a key that is not allowed, with the nearest allowed one as a hint.

    Raises:
        ConfigError: naming the first key that is not allowed.
    """
    allowed = sorted(allowed)
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(path + key, values[key], f"unknown key; {hint}allowed: {', '.join(allowed)}")


def check_path(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    """Refuse a dotted key that the config does not have.

    Raises:
        ConfigError: naming it, with its neighbours.
    """
    node: Any = config
    path, _, _ = key.rpartition(".")
    for part in key.split("."):
        require(isinstance(node, ml_collections.ConfigDict), key, value, f"{path} is a value, not a group of keys")
        if part not in node:
            try:
                check_keys({part: value}, node, "")
            except ConfigError as error:
                raise ConfigError(key, value, str(error.allowed)) from None
        node = node[part]


def build(cls: Any, values: Any, path: str, **given: Any) -> Any:
    """Make an object of a class from a part of a config; refuse unknown keys, missing keys and values of wrong types.

    Args:
        cls: a dataclass whose annotations are the schema of `values`.
        values: a part of a config, which must be a group of keys.
        path: the dotted key of that part with a final dot, for messages ("task.").
        given: fields that do not come from the config.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in {"parent", *given}}
    hints = type_hints(cls)
    check_plain(values, path)
    check_keys(values, fields, path)
    converted = {}
    for key, field in fields.items():
        if key in values:
            converted[key] = _of_field(hints[key], values[key], path + key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(path + key, None, "is missing")
    for key, value in given.items():
        known = value is not None or type(None) in typing.get_args(hints[key])
        require(known, path + key, value, "must be known, but the other parts of this config do not tell it")
    with under(path):
        return cls(**converted, **given)


def _one_of(registry: Mapping[str, Any]) -> str:
    return "one of " + ", ".join(repr(name) for name in registry)


def choose(registry: Mapping[str, Any], values: Any, path: str, **given: Any) -> Any:
    """build() of the class that `values["name"]` names in `registry`, with those of `given` that it has a field for.

    Raises:
        ConfigError: as build(), and for a name that is not in the registry.
    """
    allowed = _one_of(registry)
    require(isinstance(values, GROUPS), path.rstrip("."), values, f"must be a group of keys, its name {allowed}")
    name = values.get("name")
    if not isinstance(name, str) or name not in registry:
        raise ConfigError(f"{path}name", name, f"must be {allowed}")
    cls = registry[name]
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    given = {key: value for key, value in given.items() if key in defaults}
    # A config that was completed has the defaults of what is given, too.
    rest = {k: v for k, v in values.items() if k != "name" and not (k in given and v == defaults[k])}
    # Every flax module has a field `name` of its own: the registry's name is not passed on.
    return build(cls, rest, path, **({"name": None} if "parent" in defaults else {}), **given)


def config_hash(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the config's content, without the groups in UNHASHED."""
    return hash_of(texts({key: value for key, value in config.items() if key not in UNHASHED}))


def texts(content: Mapping[str, Any]) -> dict[str, str]:
    """{key: it and its value as JSON}, so that the hash of a group of keys is found without all of its values."""
    return {key: f"{ENCODER.encode(key)}: {ENCODER.encode(value)}" for key, value in content.items()}


def hash_of(parts: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits of a group of keys as JSON; the parts are those of `texts`."""
    content = ", ".join(parts[key] for key in sorted(parts))
    return hashlib.sha256(f"{{{content}}}".encode()).hexdigest()[:12]


def plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The config as plain values, with references resolved and lists for tuples, as JSON reads them back.

    Raises:
        ConfigError: for what JSON cannot hold.
    """
    check_plain(config)
    return _listed(config.to_dict())


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _listed(entry) for key, entry in value.items()}
    return [_listed(entry) for entry in value] if isinstance(value, (tuple, list)) else value
