"""A user's own files, config files and modules: where they are looked for, and what is wrong with them in one line."""

import argparse
import importlib
import importlib.util
import inspect
import os
import pathlib
import re
import sys
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
from absl import flags
from ml_collections import config_flags

from dynamics.config import ConfigError, check_path, require
from dynamics.files import module_of

# What Python says of a text that is no number, and what the user is told.
NOT_A_NUMBER = {
    "invalid literal for int": "must be an integer",
    "could not convert string to float": "must be a number",
    "Exceeds the limit": "must fit into 64 bits",
}


def import_from_here() -> None:
    """Make modules in the current folder importable; after all others, so that they hide no installed module."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)


def is_module(name: str) -> bool:
    """Whether there is a module of this name; the packages that it lies in are imported."""
    outer = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")) or importlib.util.find_spec(outer) is None:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):  # a package on the way, not what one of them imports
            return False
        raise


def check_module(key: str, name: str) -> None:
    """Refuse the name of a module that does not exist; an empty name is allowed."""
    allowed = "must be a module that can be imported, in the current folder or installed, or empty"
    require(not name or is_module(name), key, name, allowed)


def imported(key: str, name: str, attributes: Sequence[str]) -> types.ModuleType:
    """A module that a user names, with the attributes that it must have.

    Raises:
        ConfigError: if there is no such module, and if an attribute is missing. What the module raises when it is
            imported is raised as it is: its traceback says where the mistake is.
    """
    allowed = "must be a module in the current folder or an installed one, such as package.module"
    require(is_module(name), key, name, allowed)
    module = importlib.import_module(name)
    missing = [attribute for attribute in attributes if attribute not in vars(module)]
    require(not missing, key, name, f"must define {' and '.join(missing)}")
    return module


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
            ConfigError: if there is no such function, or if it takes no variant.
        """
        require(function in vars(self.module), "--config", str(self.path), f"must define {function}()")
        called, inputs = vars(self.module)[function], [] if self.variant is None else [self.variant]
        try:
            inspect.signature(called).bind(*inputs)
        except TypeError as error:
            raise ConfigError("--config", f"{self.path}:{self.variant}", f"{function}() of it: {error}") from None
        return called(*inputs)


def config_of(arguments: argparse.Namespace) -> tuple[ConfigFile, ml_collections.ConfigDict]:
    """The config file that a command line names, and its config with the values that the command line sets.

    Raises:
        ConfigError: for a missing file and for a bad override. What the file raises is raised as it is.
    """
    from dynamics.runs.parts import completed  # here, since other commands need no jax

    require(bool(arguments.config), "--config", arguments.config, "must be FILE[:variant]")
    name, colon, variant = arguments.config.partition(":")
    path = pathlib.Path(name)
    if not path.is_file():
        raise ConfigError(f"--config: no such file: {name!r}")
    file = ConfigFile(path, variant if colon else None, module_of(path))
    config = file.call("get_config")
    is_config = isinstance(config, ml_collections.ConfigDict)
    require(is_config, "--config", name, "its get_config() must return a ConfigDict, such as dynamics.base()")
    config = ml_collections.ConfigDict(config) if isinstance(config, ml_collections.FrozenConfigDict) else config
    pairs = [word.lstrip("-").removeprefix("config.").partition("=")[::2] for word in arguments.overrides]
    completed(config, dict(pairs))
    for key, value in pairs:
        check_path(config, key, value)
    try:
        values = flags.FlagValues()
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments.overrides)
        values(["dynamics", *arguments.overrides])  # parsed by absl, by the types of the values that they replace
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        number = rf"flag --?config[.](\S+?)=(.*?): ({'|'.join(NOT_A_NUMBER)})"
        if match := re.match(number, text):
            key, value, kind = match.groups()
            raise ConfigError(key, value, NOT_A_NUMBER[kind]) from error
        if match := re.match(r"flag --?config[.](\S+?)=.*: Failed to parse ['\"].* as a ConfigDict: ", text):
            key = match.group(1)
            raise ConfigError(key, dict(pairs)[key], "must be a group of keys, such as {'key': 1}") from error
        raise ConfigError(text) from error
    return file, config
