"""The identity of a user's code: what results depend on besides a config.

    code(parts) = {module of a user: hash of its syntax tree without docstrings}

for the modules that define the parts, and for those of a user's modules that these import, directly or not. Comments,
docstrings and the layout of a file are not in its syntax tree, so that changing them changes no identity. The library,
Python and installed packages are no modules of a user: a record names their versions and the commit instead.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.machinery
import importlib.util
import inspect
import pathlib
import secrets
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dynamics.files import is_users

# Functions of a config file that make no part: what they return is in the config and in the members of a sweep.
OF_CONFIGS = {"get_config", "get_sweep"}
VALUES = "values held by functions"
DIGITS = 12


class _Source(NamedTuple):
    """A file of a user's code: the hash of what it says, and the names that it imports."""

    hash: str
    imports: tuple[str, ...]


_KNOWN: dict[tuple[int, ...], tuple[Any, Mapping[str, str]]] = {}  # by the ids of parts, which are kept, too


def code(parts: tuple[Any, ...]) -> Mapping[str, str]:
    """{module of a user: hash} of the code that parts are made of; {} for parts of the library.

    The code is that of the time at which the parts were first seen in this process, when they were imported.

    Args:
        parts: classes, functions and modules. Of a function that another function made, the functions and the plain
            values that it holds count as well.
    """
    key = tuple(map(id, parts))
    if key not in _KNOWN:
        _KNOWN[key] = parts, _code(parts)
    return _KNOWN[key][1]


def _code(parts: tuple[Any, ...]) -> Mapping[str, str]:
    made = _Made()
    for part in parts:
        made.of(part)
    hashes: dict[str, str] = {}
    waiting = list(made.modules)
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        spec = _spec(name)
        if spec is not None and spec.origin and is_users(spec.origin):
            package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
            source = _read(pathlib.Path(spec.origin).read_bytes(), package, spec.origin.endswith(".py"))
            hashes[name] = source.hash
            needed = [*_with_packages(name), *source.imports, *_config_files(name)]
            waiting += [other for other in dict.fromkeys(needed) if other not in seen]
            seen.update(needed)
    if made.values and (hashes or "__main__" in made.modules):
        hashes[VALUES] = _hash("\n".join(made.values))
    return dict(sorted(hashes.items()))


def _config_files(name: str) -> Iterator[str]:
    """The config files that a module executed and uses; see dynamics.files.module_of."""
    for value in vars(sys.modules[name]).values() if name in sys.modules else ():
        if isinstance(value, (types.ModuleType, types.FunctionType, type)):
            owner = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
            if pathlib.Path(owner).is_absolute():
                yield owner


def digest(hashes: Mapping[str, str]) -> str:
    """One hash of a user's code, or an empty text if there is none; the same wherever its files lie."""
    return _hash(" ".join(sorted(hashes.values()))) if hashes else ""


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The modules that are not the same, those included that only one of both has."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


class _Made:
    """What parts are made of: the names of modules, and the plain values that functions hold."""

    def __init__(self):
        self.modules: dict[str, None] = {}  # in order
        self.values: list[str] = []
        self._seen: dict[int, Any] = {}  # by id; kept, so that no other object has the id of one of them

    def of(self, part: Any, counts: bool = True) -> None:
        """Add what a part is made of, its plain values only if they count: those that the library holds do not."""
        if isinstance(part, (bool, int, float, complex, str, bytes, type(None))):
            self.values += [repr(part)] * counts
            return
        if isinstance(part, (np.ndarray, jax.Array)):
            self.values += [f"{part.dtype}{part.shape}{_hash(np.asarray(part).tobytes())}"] * counts
            return
        if id(part) in self._seen:
            return
        self._seen[id(part)] = part
        if isinstance(part, types.FunctionType):
            counts = counts and (is_users(part.__code__.co_filename) or part.__module__ == "__main__")
            if counts:
                for default in (*(part.__defaults__ or ()), *(part.__kwdefaults__ or {}).values()):
                    self.of(default)
        for inner in self._inside(part):
            self.of(inner, counts)

    def _inside(self, part: Any) -> Iterator[Any]:
        """Note the modules of a part, and give what it is made of."""
        match part:
            case types.ModuleType():
                self.modules[part.__name__] = None
            case type():
                for cls in part.__mro__:
                    self._module(cls.__module__, cls)
            case types.FunctionType():
                self._module(part.__globals__.get("__name__", part.__module__), part)
                for cell in part.__closure__ or ():
                    if cell != types.CellType():  # empty until what it is named for is defined
                        yield cell.cell_contents
            case types.MethodType():
                yield from (part.__func__, part.__self__)
            case _:
                yield from _held(part)

    def _module(self, name: str | None, part: Any) -> None:
        if name is None:  # made by exec
            return
        self.modules[name] = None
        if name == "__main__" and _spec(name) is None:
            try:
                self.values.append(inspect.getsource(part))
            except (OSError, TypeError):  # typed at a prompt: unknown, and so never the same
                self.values.append(secrets.token_hex())


def _held(part: Any) -> Iterator[Any]:
    """What an object that is neither a function nor a class holds, and its class."""
    match part:
        case functools.partial():
            yield from (part.func, *part.args, *part.keywords.values())
        case list() | tuple():
            yield from part
        case set() | frozenset():
            yield from sorted(part, key=repr)
        case Mapping():
            yield from (entry for pair in part.items() for entry in pair)
        case _:
            yield type(part)
            if callable(part) and (inner := inspect.unwrap(part)) is not part:  # jax.jit and its like
                yield inner
            if dataclasses.is_dataclass(part):
                yield from (vars(part)[field.name] for field in dataclasses.fields(part))


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module is; one that is not imported yet is looked for and is not imported."""
    module = sys.modules.get(name)
    if module is not None:
        file = vars(module).get("__file__")
        script = importlib.machinery.ModuleSpec(name, None, origin=file) if file else None
        return vars(module).get("__spec__") or script
    outer, _, _ = name.rpartition(".")
    if not outer:
        return importlib.util.find_spec(name)
    package = _spec(outer)
    if package is None or package.submodule_search_locations is None:
        return None
    return importlib.machinery.PathFinder.find_spec(name, list(package.submodule_search_locations))


@functools.cache
def _read(content: bytes, package: str, is_python: bool) -> _Source:
    """A file of a user's code.

    Args:
        content: of the file, not the time of its last change, which two changes in a row may share.
        package: the one that relative imports of it are relative to.
        is_python: whether it is a text; a compiled file is hashed as it is.
    """
    if not is_python:
        return _Source(_hash(content), ())
    tree = ast.parse(content)
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef) or node.name not in OF_CONFIGS]
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
        elif isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(module, package) if node.level and package else module.lstrip(".")
            imports += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    names = [name for imported in imports for name in _with_packages(imported)]
    return _Source(_hash(ast.dump(tree)), tuple(dict.fromkeys(names)))


def _with_packages(name: str) -> Iterator[str]:
    """a, a.b, a.b.c for the name a.b.c: Python executes all of them."""
    parts = name.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)) if all(part.isidentifier() for part in parts[: i + 1]))


def _hash(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:DIGITS]
