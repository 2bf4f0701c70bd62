"""Command lines of configs: flags, overrides, names; every mistake as one line."""

import importlib.util
import itertools
import json
import pathlib
import re
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from dynamics.config import ConfigError, check_keys, require

__all__ = ["check_module", "check_name", "flag_values", "numbered", "parsed", "stem"]


def flag_values(argv: list[str]) -> flags.FlagValues:
    """The flags of a command that takes a config, not parsed yet."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "runs", "Folder of run folders.", flag_values=values)
    flags.DEFINE_string("name", None, "Of the run folder; numbered after the config file without.", flag_values=values)
    config_flags.DEFINE_config_file("config", None, "FILE[:variant].", flag_values=values, sys_argv=argv)
    return values


def parsed(argv: list[str]) -> tuple[flags.FlagValues, dict[str, Any]]:
    """The flags and the config of a command line, the config as plain values; every mistake as one line."""
    overrides = [a for a in argv if re.match("--?config[.]", a)]
    try:
        # Without overrides first, so that a wrong key can be named with its neighbours.
        bare = [a for a in argv if a not in overrides]
        values = flag_values(bare)
        rest = values(bare)
        require(values["config"].value is not None, "--config", None, "must be FILE[:variant]")
        require(len(rest) == 1, "argument", rest[-1], "takes flags only, --flag=value")
        for override in overrides:
            key, _, value = override.lstrip("-").removeprefix("config.").partition("=")
            _check_path(values["config"].value, key, value)
        values = flag_values(argv)
        values(argv)
        config: Any = values["config"].value
        return values, json.loads(json.dumps(config.to_dict()))
    except ConfigError:
        raise
    except (flags.Error, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(_one_line(error)) from error


def _check_path(config: ml_collections.ConfigDict, key: str, value: str) -> None:
    node: Any = config
    path, _, _ = key.rpartition(".")
    for part in key.split("."):
        require(isinstance(node, ml_collections.ConfigDict), key, value, f"{path} is a value, not a group of keys")
        try:
            check_keys({part: value}, node, "")
        except ConfigError as error:
            raise ConfigError(key, value, str(error.allowed)) from None
        node = node[part]


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


def stem(argv: list[str]) -> str:
    """The name of the config file, without its ending."""
    file = next(re.split("^--?config=", a)[-1] for a in reversed(argv) if re.match("--?config=|[^-]", a))
    return pathlib.Path(file.partition(":")[0]).stem


def numbered(workdir: pathlib.Path, stem: str) -> str:
    """figure1-1, figure1-2, ...: the first that is free."""
    return next(f"{stem}-{i}" for i in itertools.count(1) if not (workdir / f"{stem}-{i}").exists())
