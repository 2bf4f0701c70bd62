"""Sphinx extension: the parts of the reference that are read from the code.

{public} FOLDER     every public name that is defined in dynamics/FOLDER, from its docstring
{registry} NAME     what a config can choose from dynamics.NAME: every name with its options, types and defaults
{defaults}          the body of dynamics.base(), with its comments
{help}              every command with its flags, from the parser of the command line
"""

import argparse
import ast
import dataclasses
import inspect
import pathlib
import re
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import dynamics
import dynamics.cli

ROOT = pathlib.Path(__file__).parents[1]
STUB = ROOT / "dynamics" / "__init__.pyi"


def public_names() -> dict[str, list[str]]:
    """{folder or module of the library: its public names}, as dynamics/__init__.pyi lists them."""
    names: dict[str, list[str]] = {}
    for line in ast.parse(STUB.read_text()).body:
        if isinstance(line, ast.ImportFrom):
            assert line.module is not None
            names.setdefault(line.module.partition(".")[0], []).extend(alias.name for alias in line.names)
    return names


def first_line(thing: Any) -> str:
    """The first line of a docstring, for a cell of a table."""
    return cell((inspect.getdoc(thing) or "").partition("\n")[0])


def cell(text: str) -> str:
    """A text in a cell of a Markdown table."""
    return re.sub(r"([|*_<])", r"\\\1", text)


def type_name(hint: Any) -> str:
    """A type as it is written in code."""
    text = hint if isinstance(hint, str) else inspect.formatannotation(hint)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text).replace("NoneType", "None")


def described(thing: Any) -> dict[str, str]:
    """{name: description} of the section Attributes of a docstring, that of the bases included."""
    found: dict[str, str] = {}
    for base in reversed(inspect.getmro(thing)):
        text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2].split("\n\n")[0]
        for names, description in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {6,}.*)*)", text, re.MULTILINE):
            found.update(dict.fromkeys(names.split(", "), re.sub(r"\s+", " ", description)))
    return found


def options(cls: type) -> Iterator[tuple[str, str, str, str]]:
    """(name, type, default, description) of every field of a class that a config can set."""
    described_fields = described(cls)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if not field.init or field.name in ("name", "parent"):  # of linen modules
            continue
        if field.default is not dataclasses.MISSING:
            default = repr(field.default)
        else:
            default = "required" if field.default_factory is dataclasses.MISSING else repr(field.default_factory())
        kind = type_name(hints[field.name]).replace("|", "\\|")
        yield f"`{field.name}`", f"`{kind}`", f"`{default}`", cell(described_fields.get(field.name, ""))


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table."""
    header = list(header)
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)] + [""]


def registered(registry: dict[str, Any]) -> list[str]:
    """A table of what a config can name: probes and losses are functions, all else are classes."""
    if registry is dynamics.PROBES:
        rows = [
            (
                f"`{name}`",
                ", ".join(probe.dims),
                ", ".join(f"`{need}`" for need in probe.needs),
                first_line(probe.measure),
            )
            for name, probe in registry.items()
        ]
        return table(("name", "dimensions after t", "needs", "what it is"), rows)
    if registry is dynamics.LOSSES:
        return table(
            ("name", "loss of a sample"),
            [(f"`{name}`", first_line(loss.of_samples)) for name, loss in registry.items()],
        )
    return table(("name", "what it is"), [(f"`{name}`", first_line(cls)) for name, cls in registry.items()])


class _Generated(SphinxDirective):
    """Markdown that a subclass writes; abstract."""

    optional_arguments = 1

    def markdown(self) -> list[str]:
        """The lines."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the lines in the place of the directive."""
        parent = nodes.container()
        lines = StringList(self.markdown(), source=__file__)
        self.state.nested_parse(lines, self.content_offset, parent, match_titles=True)
        return parent.children


class _Public(_Generated):
    def markdown(self) -> list[str]:
        lines = []
        for name in public_names()[self.arguments[0]]:
            thing = getattr(dynamics, name)
            if isinstance(thing, dict):
                lines += [f"## {name}", "", f"`dynamics.{name}`: what a config can name.", ""]
                lines += registered(thing)
                continue
            kind = "class" if inspect.isclass(thing) else "function"
            lines += [f"## {name}", "", "```{eval-rst}", f".. auto{kind}:: dynamics.{name}"]
            lines += ["   :members:"] if kind == "class" else []
            lines += ["```", ""]
        return lines


class _Registry(_Generated):
    def markdown(self) -> list[str]:
        lines = []
        for name, cls in getattr(dynamics, self.arguments[0]).items():
            lines += [f"### `{name}`", "", first_line(cls), ""]
            rows = list(options(cls))
            lines += table(("key", "type", "default", "meaning"), rows) if rows else []
        return lines


class _Defaults(_Generated):
    def markdown(self) -> list[str]:
        body = inspect.getsource(dynamics.base).partition('"""\n')[2]
        return ["```python", *inspect.cleandoc(body).splitlines(), "```"]


def commands() -> Iterator[tuple[str, str]]:
    """(name, help) of every command."""

    def walk(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for one in action.choices.values():
                    yield from walk(one)

    for parser in walk(dynamics.cli._parser()):
        yield parser.prog, parser.format_help()


class _Help(_Generated):
    def markdown(self) -> list[str]:
        lines = []
        for name, text in commands():
            lines += [f"## `{name}`", "", "```text", *text.rstrip().splitlines(), "```", ""]
        return lines


def setup(app: Any) -> dict[str, Any]:
    """Register the directives."""
    for name, directive in {"public": _Public, "registry": _Registry, "defaults": _Defaults, "help": _Help}.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
