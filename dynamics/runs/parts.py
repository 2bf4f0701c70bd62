"""The registered parts that a config names, and the defaults of their settings."""

import contextlib
import dataclasses
import types
import typing
from collections import abc
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Annotated, Any, Literal

import ml_collections
import pydantic
from ml_collections.config_dict import FieldReference

from dynamics.config import GROUPS, Chosen, adapter, check_plain, name_of, type_hints
from dynamics.laws import LAWS
from dynamics.laws.schedules import SCHEDULES
from dynamics.models import MASKS, MODELS, NORMALISERS, SCORES, VALUES
from dynamics.objectives.losses import LOSSES
from dynamics.objectives.regularisers import REGULARISERS
from dynamics.probes import PROBES
from dynamics.tasks import TASKS

# The groups of a config whose `name` chooses a class; every law is a group of its own under `laws`.
CLASSES: Mapping[str, Mapping[str, type]] = {
    "task": TASKS,
    "model": MODELS,
    "regulariser": REGULARISERS,
    "laws": LAWS,
}
# What parts of those are chosen by name.
CHOICES: Sequence[Mapping[str, type]] = (MASKS, SCORES, NORMALISERS, VALUES, SCHEDULES)
# Fields that are no settings: flax has the first two, and the experiment sets the others.
UNSET = {"parent", "name", "vocabulary", "length", "distribution", "dtype"}


def completed(config: ml_collections.ConfigDict, names: Mapping[str, Any]) -> None:
    """Add to the groups task, model and regulariser and to every law the defaults of the class that `name` chooses.

    Then a command line and a sweep can set them, and the record shows them.

    Args:
        config: changed in place; groups that are wrong stay as they are, for Experiment.from_config to refuse.
        names: {dotted key: another name} of classes to choose instead; other keys are not read. What a group has of the
            defaults of its old class gives way to those of the new one.

    Raises:
        ConfigError: for what JSON cannot hold.
    """
    check_plain(config)
    for key, registry in CLASSES.items():
        group = config.get(key)
        if isinstance(group, ml_collections.ConfigDict):
            of_laws = key == "laws"
            for name in list(group) if of_laws else [""]:
                part = group[name] if of_laws else group
                path = f"{key}.{name}" if of_laws else key
                if isinstance(part, ml_collections.ConfigDict):
                    _fill(part, registry, names.get(f"{path}.name"), UNSET if key == "model" else {"name"})


def _fill(group: ml_collections.ConfigDict, registry: Mapping[str, type], name: Any, unset: set[str]) -> None:
    """Give a group the defaults of its class; of the class called `name` if that is a text."""
    with group.unlocked():
        if isinstance(name, str):
            held = group.to_dict()
            for key, default in _defaults(registry, group.get("name"), unset).items():
                if key in held and held[key] == default:
                    del group[key]
            group["name"] = name
        for key, default in _defaults(registry, group.get("name"), unset).items():
            if key not in group:
                kind = _kind(type_hints(registry[group["name"]])[key])
                group[key] = default if isinstance(default, Mapping) else FieldReference(default, field_type=kind)


def _defaults(registry: Mapping[str, type], name: Any, unset: set[str]) -> dict[str, Any]:
    """{field: its default as a plain value} of a class; what is no plain value, such as a function, is left out."""
    if not isinstance(name, str) or name not in registry:
        return {}
    cls: Any = registry[name]
    defaults: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if field.init and field.name not in unset and default is not dataclasses.MISSING:
            hint = type_hints(cls)[field.name]
            if isinstance(default, Chosen):
                hint, default = str, name_of(default)  # a group with its options can take its place
            with contextlib.suppress(ValueError, pydantic.PydanticUserError):  # it cannot be written as JSON
                plain: Any = adapter(hint).dump_python(default, mode="json", warnings=False)
                plain = tuple(plain) if isinstance(plain, list) else plain
                defaults[field.name] = float(plain) if _kind(hint) is float and plain is not None else plain
    return defaults


def _kind(hint: Any) -> type:
    """The type by which a command line reads a value: that of the annotation, or object, which is any literal."""
    kinds = _kinds(hint) - {type(None)}
    return kinds.pop() if len(kinds) == 1 else object


def _kinds(hint: Any) -> set[type]:
    if isinstance(hint, typing.NewType):
        return _kinds(hint.__supertype__)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _kinds(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return {kind for argument in arguments for kind in _kinds(argument)}
    if origin is Literal:
        return set(map(type, arguments))
    one = origin or hint
    if one in (bool, int, float, str, type(None)):
        return {one}
    by_name = isinstance(one, type) and issubclass(one, Chosen)
    return {str, dict} if by_name else {tuple} if one in (tuple, list, abc.Sequence) else {object}


def named(values: Any) -> tuple[Any, ...]:
    """The registered parts whose names are among the texts of a config or of some of its values.

    The usual losses of tasks count, too, which their classes name.
    """
    texts = set(_texts(values))
    losses = texts | {task.loss for task in _of(TASKS, texts) if "loss" in dir(task)}
    classes = (cls for registry in (*CLASSES.values(), *CHOICES) for cls in _of(registry, texts))
    looks = (look for probe in _of(PROBES, texts) for look in (probe.measure, probe.at_start) if look is not None)
    return (*classes, *looks, *(loss.of_samples for loss in _of(LOSSES, losses)))


def _of(registry: Mapping[str, Any], names: Set[str]) -> Iterator[Any]:
    """The entries of a registry with these names, in the order of the names."""
    return (registry[name] for name in sorted(registry.keys() & names))


def _texts(values: Any) -> Iterator[str]:
    """All texts in a nested value."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, (*GROUPS, list, tuple)):
        for value in values if isinstance(values, (list, tuple)) else values.values():
            yield from _texts(value)
