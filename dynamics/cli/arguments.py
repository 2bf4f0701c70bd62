"""Command lines that take a config: flags, overrides, names; every mistake is one line."""

import itertools
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from dynamics.cli.modules import is_module, one_line
from dynamics.config import ConfigError, check_path, module_of, require

OVERRIDE = "--?config[.]"
Define = Callable[[flags.FlagValues], None]


def flag_values(argv: list[str], define: Define = lambda _: None) -> flags.FlagValues:
    """The flags of a command that takes a config, and those that `define` adds; not parsed yet."""
    values = _common_flags(define)
    config_flags.DEFINE_config_file("config", None, "FILE[:variant].", flag_values=values, sys_argv=argv)
    return values


def _common_flags(define: Define) -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "runs", "Folder of run folders.", flag_values=values)
    flags.DEFINE_string("name", None, "Of the run folder. If not given, that of the config file.", flag_values=values)
    define(values)
    return values


def parsed(argv: list[str], define: Define = lambda _: None) -> tuple[flags.FlagValues, ml_collections.ConfigDict]:
    """The flags and the config of a command line; every mistake as one line.

    Raises:
        ConfigError: for a bad flag, a bad override, and whatever the config file raises.
    """
    overrides = [a for a in argv if re.match(OVERRIDE, a)]
    try:
        rest = _with_file(define)([a for a in argv if a not in overrides])
        require(len(rest) == 1, "argument", rest[-1], "takes flags only, --flag=value")
        # The config file is executed before its flags are, so that its own errors and a wrong key can be named.
        config = _executed(*config_file(argv))
        for override in overrides:
            key, _, value = override.lstrip("-").removeprefix("config.").partition("=")
            check_path(config, key, value)
        values = flag_values(argv, define)
        values(argv)
        return values, values["config"].value
    except ConfigError:
        raise
    except (flags.Error, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(_one_line(error)) from error


def _with_file(define: Define) -> flags.FlagValues:
    """The same flags, the config no more than its file: without executing it."""
    values = _common_flags(define)
    flags.DEFINE_string("config", None, "FILE[:variant].", flag_values=values)
    return values


def _executed(file: pathlib.Path, variant: str | None) -> ml_collections.ConfigDict:
    """The config that a file makes."""
    config = called(file, "get_config", variant)
    is_config = isinstance(config, ml_collections.ConfigDict)
    require(is_config, "--config", str(file), "its get_config() must return a ConfigDict, such as dynamics.base()")
    return config


def called(file: pathlib.Path, function: str, variant: str | None) -> Any:
    """The result of a function of a config file for a variant.

    Raises:
        ConfigError: the file's own, or for any other exception in one line with its place in the file.
    """
    if not file.is_file():
        raise ConfigError(f"--config: no such file: {str(file)!r}")
    try:
        module = module_of(file)
        require(function in vars(module), "--config", str(file), f"must define {function}()")
        return vars(module)[function](*([] if variant is None else [variant]))
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(one_line(f"--config={file}", file, error)) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    number = r"flag --?config[.](\S+?)=(.*?): (invalid literal for int|could not convert string to float)"
    if match := re.match(number, text):
        key, value, kind = match.groups()
        return str(ConfigError(key, value, "must be an integer" if "int" in kind else "must be a number"))
    return text


def plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The config as plain values, with references resolved and lists for tuples."""
    return json.loads(json.dumps(config.to_dict()))


def check_name(name: str | None) -> None:
    """Refuse a name that is not the name of one folder."""
    one_folder = name is None or (name == pathlib.Path(name).name and not name.startswith("."))
    require(one_folder, "name", name, "must be one folder name")


def check_module(key: str, name: str) -> None:
    """Refuse the name of a module that does not exist; an empty name is allowed."""
    allowed = "must be a module that can be imported, in the current folder or installed, or empty"
    require(not name or is_module(key, name), key, name, allowed)


def config_file(argv: list[str]) -> tuple[pathlib.Path, str | None]:
    """The config file of a command line, and its variant."""
    values = _with_file(lambda _: None)
    values([a for a in argv if not re.match(OVERRIDE, a)], known_only=True)
    given: Any = values["config"].value
    require(bool(given), "--config", given, "must be FILE[:variant]")
    file, colon, variant = given.partition(":")
    return pathlib.Path(file), variant if colon else None


def stem(argv: list[str]) -> str:
    """The name of the config file without its ending; of its folder if the file is called config.py."""
    file = config_file(argv)[0]
    return file.resolve().parent.name if file.name == "config.py" else file.stem


def numbered(workdir: pathlib.Path, stem: str) -> str:
    """The first of STEM-1, STEM-2, ... that does not exist yet."""
    return next(f"{stem}-{i}" for i in itertools.count(1) if not (workdir / f"{stem}-{i}").exists())
