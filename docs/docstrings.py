"""Sphinx extension: docstrings as this project writes them, formulas as MathML, and pages for keyboards.

Docstrings have names in single backticks, formulas in plain text, and indented blocks that keep their lines. Sphinx
expects reStructuredText, in which *, | and a final _ mean something else: they are escaped outside of backticks, and
an indented block becomes a literal one.
"""

import re
from typing import Any

from docutils import nodes
from math_core import LatexToMathML

MATHML = LatexToMathML()  # a mistake in a formula ends the build
SECTION = re.compile(r"(Args|Attributes|Capabilities|Returns|Raises|Yields|Note|Example):$")


def _escaped(line: str) -> str:
    """A line whose special characters are themselves; what is between backticks is kept."""
    parts = re.split(r"(`[^`]*`)", line)
    parts[::2] = [re.sub(r"([*|\\])|(?<=\w)_(?!\w)", lambda match: "\\" + match[0], part) for part in parts[::2]]
    return re.sub(r"^( *)\\\* ", r"\1* ", "".join(parts))  # that of a list


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def as_restructured_text(lines: list[str]) -> list[str]:
    """The lines of a docstring for Sphinx; a line deeper than the text before it begins a literal block."""
    result: list[str] = []
    text = 0  # the indent of the text
    block = section = False
    for line in lines:
        if not line.strip():
            result.append("")
            continue
        indent = _indent(line)
        section = bool(SECTION.match(line)) or (section and indent > 0)
        if block and indent <= text:
            block = False
            result.append("")
        if not block and not section and result and indent > text:
            block = True
            result += ["", "::", ""]
        if not block:
            text = indent
        result.append(line if block else _escaped(line))
    return result


def _process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    del app, what, name, thing, options
    lines[:] = as_restructured_text(lines)


def _skip(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, which the docstring of the class describes."""
    del app, what, name, skip, options
    return True if type(thing).__name__ == "_tuplegetter" else None


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(MATHML.convert_with_local_state(node.astext(), displaystyle=False))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    formula = MATHML.convert_with_local_state(node.astext(), displaystyle=True)
    self.body.append(f'<div class="math">{formula}</div>')
    raise nodes.SkipNode


def _titled(app: Any, name: str, source: list[str]) -> None:
    """Give a title to the tables that `dynamics claims` wrote, which begin with the heading of the first one."""
    del app
    if name.endswith("claims") and source[0].startswith("## "):
        source[0] = "# Claims with bounds and controls\n\n" + source[0]


def _accessible(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """What scrolls can be reached by the keyboard, and headings of the contents have a level."""
    del app, page, template, tree
    if "body" in context:
        scrolls = r'<(pre(?=>)|div class="(?:math|table-wrapper)[^>]*)'
        context["body"] = re.sub(scrolls, r'<\1 tabindex="0"', context["body"])
    contents = context["furo_navigation_tree"]
    context["furo_navigation_tree"] = contents.replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app: Any) -> dict[str, Any]:
    """Register the extension."""
    app.connect("autodoc-process-docstring", _process, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", _skip)
    app.connect("source-read", _titled)
    app.connect("html-page-context", _accessible, priority=900)  # after the theme
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
