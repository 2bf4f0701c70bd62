"""Mistakes in a config, each in one line, and the plain values that every config is made of."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
from ml_collections.config_dict import RequiredValueError

GROUPS = (Mapping, ml_collections.ConfigDict)  # of keys
LONGEST = 200  # characters of a key or of a value in a message
LONGEST_NAME = 200  # bytes; file systems allow 255, and a folder that is not complete yet has a longer name
IN_NAMES = "_-+.,= "  # beside letters and digits
DEEPEST = 20  # lists and groups in one another


class ConfigError(ValueError):
    """A bad value in a config: the key, its value and what is allowed; or, given alone, the whole message."""

    def __init__(self, key: str, value: Any = None, allowed: str | None = None):
        super().__init__(_on_one_line(key if allowed is None else f"{_shortened(key)} = {_shown(value)}: {allowed}"))
        self.key, self.value, self.allowed = key, value, allowed


def _on_one_line(text: str) -> str:
    """The text with escapes for what would break the line, move the cursor or not be printed."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _shortened(text: str) -> str:
    """The text; the middle of a long one is left out."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


def _shown(value: Any) -> str:
    """A value as Python writes it, shortened."""
    try:
        text = repr(value)
    except Exception:  # lists in lists in lists ..., an integer of thousands of digits, an object of a user
        text = f"a value of the type {type(value).__name__}"
    return _shortened(" ".join(text.splitlines()))


def require(condition: bool, key: str, value: Any, allowed: str) -> None:
    """Raise ConfigError unless `condition` holds."""
    if not condition:
        raise ConfigError(key, value, allowed)


@contextlib.contextmanager
def under(path: str) -> Iterator[None]:
    """Put `path` before the key of a ConfigError raised inside."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(path + error.key, error.value, error.allowed) from None


def check_name(key: str, name: str) -> None:
    """Refuse a name that is not safe everywhere: as a folder, in a shell, a job, a web page and on one line."""
    known = all(letter.isalnum() or letter in IN_NAMES for letter in name)
    begins = name[:1].isalnum() or name.startswith("_")
    allowed = (
        f"must be one name of letters, digits and {IN_NAMES!r}, a letter or digit first, up to {LONGEST_NAME} bytes"
    )
    require(known and begins and len(name.encode(errors="replace")) <= LONGEST_NAME, key, name, allowed)


def check_plain(values: Any, path: str = "") -> None:
    """Refuse what JSON cannot hold, and a record neither, at any depth of a group of keys.

    Plain values are finite numbers, integers of at most 64 bits, texts of one line, True, False, None, and lists and
    groups of those.

    Raises:
        ConfigError: naming the key, below `path`.
    """
    require(isinstance(values, GROUPS), path.rstrip(".") or "config", values, "must be a group of keys")
    _check_group(values, path, DEEPEST)


def _check_group(values: Any, path: str, depth: int) -> None:
    try:
        keys = list(values)
    except TypeError:  # a ConfigDict sorts its keys
        raise ConfigError(path.rstrip(".") or "config", values, "must have texts for its keys") from None
    for key in keys:
        name = key if isinstance(key, str) else _shown(key)
        try:
            value = values[key]
        except (RequiredValueError, ArithmeticError, TypeError, ValueError) as error:
            allowed = f"must follow from the values that it refers to ({error})"
            raise ConfigError(path + name, None, allowed) from None
        require(isinstance(key, str), path + name, value, f"the key {name} must be a text")
        _check_value(value, path + key, depth)


def _check_value(value: Any, path: str, depth: int) -> None:
    if isinstance(value, int):
        require(abs(value) < 2**63, path, value, "must fit into 64 bits")
    elif isinstance(value, float):
        require(math.isfinite(value), path, value, "must be a finite number")
    elif isinstance(value, str):
        require(value.isprintable(), path, value, "must be a text of one line without control characters")
    elif isinstance(value, (list, tuple, *GROUPS)):
        require(depth > 0, path, value, f"must be nested at most {DEEPEST} deep")
        if isinstance(value, GROUPS):
            _check_group(value, f"{path}.", depth - 1)
            return
        for i, entry in enumerate(value):
            _check_value(entry, f"{path}[{i}]", depth - 1)
    else:
        allowed = "must be a number, a text, True, False, None, a list or a group of keys"
        require(value is None, path, value, allowed)
