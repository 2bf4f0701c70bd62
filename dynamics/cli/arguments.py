"""Command lines of configs: flags, overrides, names; every mistake as one line."""

import importlib.util
import itertools
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from dynamics.config import ConfigError, check_path, require

__all__ = ["check_module", "check_name", "config_file", "flag_values", "numbered", "parsed", "plain", "stem"]


Define = Callable[[flags.FlagValues], None]


def flag_values(argv: list[str], define: Define = lambda _: None) -> flags.FlagValues:
    """The flags of a command that takes a config, and those that `define` adds; not parsed yet."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "runs", "Folder of run folders.", flag_values=values)
    flags.DEFINE_string("name", None, "Of the folder; named after the config file without.", flag_values=values)
    define(values)
    config_flags.DEFINE_config_file("config", None, "FILE[:variant].", flag_values=values, sys_argv=argv)
    return values


def parsed(argv: list[str], define: Define = lambda _: None) -> tuple[flags.FlagValues, ml_collections.ConfigDict]:
    """The flags and the config of a command line; every mistake as one line."""
    overrides = [a for a in argv if re.match("--?config[.]", a)]
    try:
        # Without overrides first, so that a wrong key can be named with its neighbours.
        bare = [a for a in argv if a not in overrides]
        values = flag_values(bare, define)
        rest = values(bare)
        require(values["config"].value is not None, "--config", None, "must be FILE[:variant]")
        require(len(rest) == 1, "argument", rest[-1], "takes flags only, --flag=value")
        for override in overrides:
            key, _, value = override.lstrip("-").removeprefix("config.").partition("=")
            check_path(values["config"].value, key, value)
        values = flag_values(argv, define)
        values(argv)
        config: Any = values["config"].value
        config.to_dict()  # a config file that raised does so again now
        return values, config
    except ConfigError:
        raise
    except (flags.Error, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if found := re.match(
        r"flag --?config[.](\S+?)=(.*?): (invalid literal for int|could not convert string to float)", text
    ):
        key, value, kind = found.groups()
        return str(ConfigError(key, value, "must be an integer" if "int" in kind else "must be a number"))
    if found := re.match(r"flag --config=(\S+): (.*)", text):
        return f"--config={found[1]}: {found[2]}"
    if isinstance(error, OSError) and "No such file" in text:
        return "--config: no such file: " + text.rpartition(": ")[2]
    return text


def plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """As plain values, references resolved and lists for tuples."""
    return json.loads(json.dumps(config.to_dict()))


def check_name(name: str | None) -> None:
    """Refuse a name that is not one folder's."""
    one_folder = name is None or (name == pathlib.Path(name).name and not name.startswith("."))
    require(one_folder, "name", name, "must be one folder name")


def check_module(key: str, name: str) -> None:
    """Refuse the name of a module that there is not; empty for none."""
    try:
        found = not name or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of its package
        found = False
    require(found, key, name, "must be a module that can be imported, or empty")


def config_file(argv: list[str]) -> tuple[pathlib.Path, str | None]:
    """The config file of a command line, and its variant."""
    given = next(re.split("^--?config=", a)[-1] for a in reversed(argv) if re.match("--?config=|[^-]", a))
    file, _, variant = given.partition(":")
    return pathlib.Path(file), variant or None


def stem(argv: list[str]) -> str:
    """The name of the config file, without its ending."""
    return config_file(argv)[0].stem


def numbered(workdir: pathlib.Path, stem: str) -> str:
    """figure1-1, figure1-2, ...: the first that is free."""
    return next(f"{stem}-{i}" for i in itertools.count(1) if not (workdir / f"{stem}-{i}").exists())
