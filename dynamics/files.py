"""A user's own files: config files, which are executed, which files are a user's, and errors in them."""

import functools
import importlib.machinery
import importlib.util
import json
import pathlib
import sys
import sysconfig
import traceback
import types
from typing import Any

import ml_collections

from dynamics.config import ConfigError

LONGEST = 300  # characters of a message in one line
_INSTALLED = {"site-packages", "dist-packages"}  # names of the folders that packages are installed in
_FOLDERS = [pathlib.Path(__file__).parent, *map(pathlib.Path, map(sysconfig.get_path, ("stdlib", "platstdlib")))]


@functools.cache
def is_users(file: str) -> bool:
    """Whether a file of Python code is a user's: neither this library's nor Python's, nor of an installed package."""
    path = pathlib.Path(file).resolve()
    library = any(path.is_relative_to(folder.resolve()) for folder in _FOLDERS)
    return path.is_file() and not library and not _INSTALLED.intersection(path.parts)


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file.

    Raises:
        ConfigError: naming a file that is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}") from None


def one_line(error: BaseException) -> str:
    """An exception in one line, as a record has it: the message, and of other errors type and place."""
    if isinstance(error, ConfigError):
        return " ".join(str(error).split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    place = f" ({pathlib.Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST] + place


def module_of(path: pathlib.Path, copy_of: pathlib.Path | None = None) -> types.ModuleType:
    """The module of a config file. Every call executes the file again, and registers what it registers.

    Modules beside the file can be imported from then on, wherever the process was started.

    Args:
        path: the file.
        copy_of: the file that it is a copy of, whose neighbours it may read and import.
    """
    original = (copy_of or path).absolute()
    _import_beside(original)
    # The path is its name: two files of one name are two modules, whose classes are looked up under it.
    name = str(original)
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = types.ModuleType(name)
    module.__file__, module.__package__ = name, ""
    module.__spec__ = importlib.util.spec_from_loader(name, loader)
    sys.modules[name] = module  # where Python looks up annotations that are texts
    loader.exec_module(module)
    return module


def _import_beside(file: pathlib.Path) -> None:
    """Make the modules in a file's folder importable and, where the folder is a package, the package by its name.

    The folders come after all others, so that they hide no installed module.
    """
    outer = next(folder for folder in file.parents if not (folder / "__init__.py").exists())
    for folder in dict.fromkeys((str(outer), str(file.parent))):
        if folder not in sys.path:
            sys.path.append(folder)


def load_config(path: pathlib.Path, variant: str | None = None) -> ml_collections.ConfigDict:
    """The config of a file, of its default variant if none is given."""
    module = module_of(path)
    return module.get_config(variant) if variant else module.get_config()
