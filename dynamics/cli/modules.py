"""A user's own files, config files and modules: where they are looked for, and what they raise in one line."""

import argparse
import contextlib
import importlib.util
import os
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import ml_collections
from absl import flags
from ml_collections import config_flags

from dynamics.config import ConfigError, check_path, module_of, require


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
    with _one_line(f"{key}={name}", _file(outer)):
        try:
            return importlib.util.find_spec(name) is not None
        except ModuleNotFoundError as error:
            if f"{name}.".startswith(f"{error.name}."):  # a package on the way, not what one of them imports
                return False
            raise


def check_module(key: str, name: str) -> None:
    """Refuse the name of a module that does not exist; an empty name is allowed."""
    allowed = "must be a module that can be imported, in the current folder or installed, or empty"
    require(not name or is_module(key, name), key, name, allowed)


def imported(key: str, name: str, attributes: Sequence[str]) -> types.ModuleType:
    """A module that a user names, with the attributes that it must have.

    Raises:
        ConfigError: if there is no such module, if an attribute is missing, and, in one line with its place, for
            whatever the module raises when it is imported.
    """
    allowed = "must be a module in the current folder or an installed one, such as package.module"
    require(is_module(key, name), key, name, allowed)
    with _one_line(f"{key}={name}", _file(name)):
        module = importlib.import_module(name)
    missing = [attribute for attribute in attributes if attribute not in vars(module)]
    require(not missing, key, name, f"must define {' and '.join(missing)}")
    return module


def _file(name: str) -> pathlib.Path:
    spec = importlib.util.find_spec(name)
    return pathlib.Path(str(spec.origin if spec else name))


class ConfigFile(NamedTuple):
    """The config file of a command line, executed.

    Attributes:
        path: of the file.
        variant: what follows the colon on the command line, or None.
        module: what the file defines.
    """

    path: pathlib.Path
    variant: str | None
    module: types.ModuleType

    @property
    def stem(self) -> str:
        """The name of the file without its ending; of its folder if the file is called config.py."""
        return self.path.resolve().parent.name if self.path.name == "config.py" else self.path.stem

    def call(self, function: str) -> Any:
        """The result of a function of the file for the variant.

        Raises:
            ConfigError: if there is no such function, and, in one line with its place, for whatever it raises.
        """
        require(function in vars(self.module), "--config", str(self.path), f"must define {function}()")
        with _one_line(f"--config={self.path}", self.path):
            return vars(self.module)[function](*([] if self.variant is None else [self.variant]))


def config_of(arguments: argparse.Namespace) -> tuple[ConfigFile, ml_collections.ConfigDict]:
    """The config file that a command line names, and its config with the values that the command line sets.

    Raises:
        ConfigError: for a missing file, for a bad override, and for whatever the file raises.
    """
    require(bool(arguments.config), "--config", arguments.config, "must be FILE[:variant]")
    name, colon, variant = arguments.config.partition(":")
    path = pathlib.Path(name)
    if not path.is_file():
        raise ConfigError(f"--config: no such file: {name!r}")
    with _one_line(f"--config={path}", path):
        file = ConfigFile(path, variant if colon else None, module_of(path))
    config = file.call("get_config")
    is_config = isinstance(config, ml_collections.ConfigDict)
    require(is_config, "--config", name, "its get_config() must return a ConfigDict, such as dynamics.base()")
    for override in arguments.overrides:
        key, _, value = override.lstrip("-").removeprefix("config.").partition("=")
        check_path(config, key, value)
    try:
        values = flags.FlagValues()
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments.overrides)
        values(["dynamics", *arguments.overrides])  # parsed by absl, by the types of the values that they replace
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        number = r"flag --?config[.](\S+?)=(.*?): (invalid literal for int|could not convert string to float)"
        if match := re.match(number, text):
            key, value, kind = match.groups()
            raise ConfigError(key, value, "must be an integer" if "int" in kind else "must be a number") from error
        raise ConfigError(text) from error
    return file, config


@contextlib.contextmanager
def _one_line(what: str, file: pathlib.Path) -> Iterator[None]:
    """Raise what a user's file raises inside as a ConfigError: one line with the file and the line number.

    Args:
        what: names the file.
        file: which is executed.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        message = str(error)
        if isinstance(error, SyntaxError):
            places, message = [*places, (error.filename or "", error.lineno)], error.msg
        own = [(name, line) for name, line in places if _is_own(pathlib.Path(name).resolve(), file.resolve().parent)]
        place = ""
        if own:
            name, line = own[-1]
            place = f"{'' if what.endswith(name) else f': {name}'}, line {line}"
        text = f"{what}{place}: {type(error).__name__}: {' '.join(message.split())}"
        raise ConfigError(text) from error


def _is_own(file: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether a file is a user's, in this folder, and no package installed there."""
    return file.is_relative_to(folder) and not file.is_relative_to(pathlib.Path(sys.prefix).resolve())
