"""The documentation: complete, with links that lead somewhere, code that runs, and promises that are tested."""

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT
from test_paper import dynamics_in, printed_commands
from test_readme import TUTORIALS

import dynamics

DOCS = ROOT / "docs"
PAGES = [page for page in sorted({*ROOT.glob("*.md"), *ROOT.glob("[cde]*/**/*.md")}) if "templates" not in page.parts]
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(page):
    """What links to headings of a page are called, on GitHub and on the site."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    """Internal links lead to a file and a heading; others are addresses."""
    for target in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if "://" in target:
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", target), target
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_in_the_contents():
    listed = re.findall(r"^(?:.*<)?((?:\.\./|\w)[\w./]*)>?$", (DOCS / "index.md").read_text(), re.MULTILINE)
    pages = {(DOCS / f"{name}.md").resolve() for name in listed}
    assert pages >= set(PAGES) - {ROOT / "README.md", DOCS / "index.md"}


def test_every_public_name_is_in_the_reference():
    """Each folder of the library that defines public names has a page."""
    folders = re.findall(r"```{public} (\w+)", "\n".join(page.read_text() for page in DOCS.rglob("*.md")))
    stub = ast.parse((ROOT / "dynamics" / "__init__.pyi").read_text())
    defined = {line.module.partition(".")[0] for line in stub.body if isinstance(line, ast.ImportFrom)}
    assert sorted(folders) == sorted(defined)


MANY = 3  # arguments, from which on a docstring has a section that describes them


def undescribed(function):
    """The arguments that the docstring of a function does not describe; few may stand in its first sentence."""
    text = inspect.getdoc(function) or ""
    listed = re.findall(r"^    (\w+(?:, \w+)*):", text.partition("Args:\n")[2].split("\n\n")[0], re.MULTILINE)
    described = {name for names in listed for name in names.split(", ")}
    arguments = set(inspect.signature(function).parameters) - {"self", "cls"}
    return arguments - described if described or len(arguments) >= MANY else set()


def test_docstrings():
    """Every public class, function and method has one, and the arguments of what overrides nothing are described."""
    for name in dynamics.__all__:
        thing = getattr(dynamics, name)
        if isinstance(thing, dict):
            continue
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            assert not undescribed(thing), name
            continue
        for member, value in vars(thing).items():
            public = member == "__call__" or not member.startswith("_")
            if inspect.isfunction(value) and public and value.__module__.startswith("dynamics"):
                assert inspect.getdoc(getattr(thing, member)), f"{name}.{member}"
                overrides = any(member in vars(base) for base in thing.__mro__[1:])
                assert overrides or not undescribed(value), f"{name}.{member}: {undescribed(value)}"


def test_every_picture_is_in_the_gallery_with_its_command():
    gallery = (DOCS / "gallery.md").read_text()
    shown = re.findall(r"^\*\*\[.+\]\(.+\)\*\*: .+\n\n!\[.+\]\(\.\./(experiments/\S+)\)$", gallery, re.MULTILINE)
    assert sorted(shown) == sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("experiments/*/pictures/*"))


def test_every_promise_names_a_test():
    rows = re.findall(r"^\| .* \| `(.*)` \|$", (DOCS / "explanation" / "reliability.md").read_text(), re.MULTILINE)
    assert len(rows) > 30
    for row in rows:
        file, _, name = row.partition("::")
        functions = {
            node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, row


def test_one_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_lock_of_the_documentation_agrees():
    """A package that both lock files have has one version, so that `make docs` changes nothing that is installed."""

    def versions(file):
        return dict(re.findall(r"^([\w.-]+)==(\S+) (?:;.*)?\\$", (ROOT / file).read_text(), re.MULTILINE))

    library, documentation = versions("requirements.lock"), versions("docs/requirements.lock")
    both = library.keys() & documentation.keys()
    assert len(both) > 5 and {name: library[name] for name in both} == {name: documentation[name] for name in both}


@pytest.mark.slow
def test_the_tutorials_work(tmp_path):
    """Every file and every command, in the order of the pages; the orders of the page are measured."""
    for page in TUTORIALS:
        text = page.read_text()
        files = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL)
        for name, body in files:
            (tmp_path / name).write_text(body)
        for words in printed_commands("\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))):
            ended = dynamics_in(tmp_path, *words)
            assert ended.returncode == 0, ended.stderr
        for name, _ in files:
            command = [sys.executable, str(tmp_path / name)]
            subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    table = (tmp_path / "runs" / "majority-compare" / "compare.md").read_text()
    order = float(re.search(r"gd \| flow \| loss \|[^|]*\| (\S+)", table)[1])
    assert abs(order - 1) < 0.05
