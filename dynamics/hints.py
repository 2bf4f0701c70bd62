"""What Python's type hints mean for a value of a config, in code and in English."""

import dataclasses
import math
import types
import typing
from collections import abc
from typing import Annotated, Any, Final, Literal

__all__ = ["MAPPINGS", "SEQUENCES", "fits", "parts", "phrase"]

# Types that a list of a config can become, by the type of the field.
SEQUENCES: dict[Any, Any] = {
    **{kind: kind for kind in (list, tuple, set, frozenset)},
    **dict.fromkeys((abc.Sequence, abc.Collection, abc.Iterable), tuple),
    abc.Set: frozenset,
}
MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
PHRASES: dict[Any, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a finite number", "finite numbers"),
    str: ("a text", "texts"),
    bool: ("True or False", "True or False"),
    types.NoneType: ("None", "None"),
    Any: ("a value", "values"),
}


def parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The outermost type of a hint and its arguments: (list, (int,)) for list[int], (int, ()) for int."""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    # What a NewType, and what an alias made by the statement `type`, stands for.
    meaning = arguments[0] if origin is Final else getattr(hint, "__supertype__", getattr(hint, "__value__", None))
    if meaning is not None:
        return parts(meaning)
    if origin is types.UnionType:
        origin = typing.Union
    if origin in SEQUENCES and not arguments and hint != tuple[()]:
        arguments = (Any, ...) if origin is tuple else (Any,)
    if origin in MAPPINGS and not arguments:
        arguments = (Any, Any)
    return origin, arguments


def fits(hint: Any, value: Any) -> bool:
    """Whether the value is of this type; numbers must be finite, and a bool is not a number."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, bool) and hint in (int, float):
        return False
    if typing.get_origin(hint) is Literal:
        return any(value == allowed and type(value) is type(allowed) for allowed in typing.get_args(hint))
    if isinstance(hint, type) and hint in PHRASES:
        return hint is Any or isinstance(value, hint)
    from beartype.door import is_bearable  # takes a quarter of a second, and few fields need it

    return is_bearable(value, hint)


def phrase(hint: Any, plural: bool = False) -> str:
    """A type in English, to follow "must be"; Python's own name of a type that has no phrase."""
    origin, arguments = parts(hint)
    if origin in PHRASES:
        text = PHRASES[origin][plural]
    elif origin is Annotated:
        text = f"{phrase(arguments[0], plural)} ({', '.join(map(str, arguments[1:]))})"
    elif origin is Literal:
        listed = ", ".join(map(repr, arguments))
        text = listed if len(arguments) == 1 else f"{'values that are ' * plural}one of {listed}"
    elif origin is typing.Union:
        text = " or ".join(phrase(argument, plural) for argument in arguments)
        text = text.replace(" or ", ", ", text.count(" or ") - 1)
    elif origin in SEQUENCES:
        text = f"{'lists' if plural else 'a list'} of {_items(origin, arguments)}"
    elif origin in MAPPINGS or dataclasses.is_dataclass(origin):
        values = f" with values that are {phrase(arguments[1], plural=True)}" if arguments[1:] else ""
        text = f"{'groups' if plural else 'a group'} of keys{values}"
    else:
        name = hint.__name__ if isinstance(hint, type) and not arguments else str(hint)
        text = f"values of type {name}" if plural else f"of type {name}"
    return text


def _items(origin: Any, arguments: tuple[Any, ...]) -> str:
    if origin is not tuple or arguments[1:] == (...,):
        return phrase(arguments[0], plural=True)
    if len(arguments) > 1 and arguments.count(arguments[0]) == len(arguments):
        return f"{len(arguments)} {phrase(arguments[0], plural=True)}"
    return ", ".join(map(phrase, arguments)) or "no values"
