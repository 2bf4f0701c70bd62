"""Modules of a user's own: where they are looked for, and what they raise in one line."""

import importlib.util
import os
import pathlib
import sys
import traceback
import types
from collections.abc import Sequence

from dynamics.config import ConfigError, require


def import_from_here() -> None:
    """Make modules in the current folder importable; after all others, so that they hide no installed module."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)


def is_module(key: str, name: str) -> bool:
    """Whether there is a module of this name; the packages that it lies in are imported.

    Raises:
        ConfigError: for what such a package raises.
    """
    outer = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")) or importlib.util.find_spec(outer) is None:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):  # a package on the way, not what one of them imports
            return False
        raise ConfigError(one_line(f"{key}={name}", _file(outer), error)) from error
    except Exception as error:
        raise ConfigError(one_line(f"{key}={name}", _file(outer), error)) from error


def imported(key: str, name: str, attributes: Sequence[str]) -> types.ModuleType:
    """A module that a user names, with the attributes that it must have.

    Raises:
        ConfigError: if there is no such module, if an attribute is missing, and, in one line with its place, for
            whatever the module raises when it is imported.
    """
    allowed = "must be a module in the current folder or an installed one, such as package.module"
    require(is_module(key, name), key, name, allowed)
    try:
        module = importlib.import_module(name)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(one_line(f"{key}={name}", _file(name), error)) from error
    missing = [attribute for attribute in attributes if attribute not in vars(module)]
    require(not missing, key, name, f"must define {' and '.join(missing)}")
    return module


def _file(name: str) -> pathlib.Path:
    spec = importlib.util.find_spec(name)
    return pathlib.Path(str(spec.origin if spec else name))


def one_line(what: str, file: pathlib.Path, error: Exception) -> str:
    """The message for an exception that a user's file raised: one line with the file and the line number.

    Args:
        what: names the file.
        file: which was executed.
        error: that it raised.
    """
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    message = str(error)
    if isinstance(error, SyntaxError):
        places, message = [*places, (error.filename or "", error.lineno)], error.msg
    own = [(name, line) for name, line in places if _is_own(pathlib.Path(name).resolve(), file.resolve().parent)]
    place = ""
    if own:
        name, line = own[-1]
        place = f"{'' if what.endswith(name) else f': {name}'}, line {line}"
    return f"{what}{place}: {type(error).__name__}: {' '.join(message.split())}"


def _is_own(file: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether a file is a user's, in this folder, and no package installed there."""
    return file.is_relative_to(folder) and not file.is_relative_to(pathlib.Path(sys.prefix).resolve())
