"""A paper of a user's own, in any folder: the one that `dynamics new paper` writes, and the one on the page."""

import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import ROOT

import dynamics
import dynamics.cli

PAGE = (ROOT / "experiments" / "README.md").read_text()
FILES = re.findall(r"```python\n# (icl/\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
# As the console script does: the current folder is not on the path of modules.
COMMAND = "import sys; sys.path.remove(''); from dynamics.cli import main; sys.exit(main(['dynamics', *sys.argv[1:]]))"


def dynamics_in(folder, *words):
    """The command `dynamics WORDS`, typed in a folder."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def printed_commands(text):
    return [line.split("#")[0].split()[1:] for line in text.splitlines() if line.strip().startswith("dynamics ")]


@pytest.mark.slow
def test_a_new_paper_works(tmp_path):
    written = dynamics_in(tmp_path, "new", "paper", "noisy")
    assert written.returncode == 0, written.stderr
    for words in printed_commands(written.stdout):
        ended = dynamics_in(tmp_path, *words)
        assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "runs" / "noisy-smoke" / "figures" / "training.png").exists()
    assert "| **PASS** |" in (table := (tmp_path / "runs" / "noisy-claims-1" / "claims.md").read_text())
    assert "none flipped: FAIL" in table and table.count("PASS") == 1
    assert [words[0] for words in printed_commands((tmp_path / "noisy" / "README.md").read_text())] == [
        *("run", "figures", "run", "claims")
    ]


@pytest.mark.slow
def test_a_mistake_that_is_seen_while_programs_compile(tmp_path):
    """One line and exit code 2, although a program compiles in the background when Python ends."""
    dynamics_in(tmp_path, "new", "paper", "noisy")
    probes = tmp_path / "noisy" / "probes.py"
    probes.write_text(probes.read_text().replace('probe("word")', 'probe("word", "word")'))
    ended = dynamics_in(tmp_path, "run", "--config=noisy/config.py:smoke", "--config.model.width=5")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "'log_odds'" in ended.stderr, ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_new_paper_speaks_of_itself_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    assert dynamics.cli.main(["dynamics", "new", "paper", "noisy", "--folder=work"]) == 0
    assert f"in the folder {tmp_path}/work" in capsys.readouterr().out
    names = {file.name for file in (tmp_path / "work" / "noisy").iterdir()}
    assert names == {"README.md", "__init__.py", "claims.py", "config.py", "figures.py", "probes.py", "tasks.py"}
    for file in (tmp_path / "work" / "noisy").iterdir():
        assert "template" not in file.read_text(), file


REFUSED = {
    "no identifier": ("two-words", "must be a name in Python"),
    "keyword": ("class", "must be a name in Python"),
    "a path": ("a/b", "must be a name in Python"),
    "installed": ("jax", "must not be the name of a module that Python finds already"),
    "built in": ("sys", "must not be the name of a module that Python finds already"),
    "a module there": ("module_there", "must not be the name of a module that Python finds already"),
    "folder": ("folder_there", "must be the name of a new folder, but folder_there exists"),
}


@pytest.mark.parametrize(("name", "message"), REFUSED.values(), ids=REFUSED)
def test_a_name_that_is_refused(tmp_path, monkeypatch, capsys, name, message):
    (tmp_path / "folder_there").mkdir()
    (tmp_path / "module_there.py").touch()
    monkeypatch.chdir(tmp_path)
    assert dynamics.cli.main(["dynamics", "new", "paper", name]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"dynamics: NAME = {name!r}: {message}") and err.count("\n") == 1
    assert {path.name for path in tmp_path.rglob("*")} == {"folder_there", "module_there.py"}


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert dynamics.cli.main(["dynamics", "new", "paper", "noisy", f"--folder={tmp_path}/nosuch"]) == 2
    assert "nosuch': must be an existing folder" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_wheel_has_the_template(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    template = {f"dynamics/templates/paper/{file.name}" for file in (ROOT / "dynamics/templates/paper").glob("*.*")}
    assert len(template) == 7 and template <= set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture
def icl(tmp_path):
    """A folder with the paper of the page."""
    (tmp_path / "icl").mkdir()
    (tmp_path / "icl" / "__init__.py").touch()
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_paper_of_the_page_is_short():
    assert [name for name, _ in FILES] == [f"icl/{part}.py" for part in ("parts", "config", "figures", "claims")]
    assert sum(text.count("\n") for _, text in FILES) <= 150


@pytest.mark.slow
def test_the_paper_of_the_page_works(icl):
    """Its flow follows the theory to 1e-6, and nothing is written beside its folder of runs."""
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "dynamics").rglob("*.py")}
    commands = printed_commands(PAGE)
    assert [words[0] for words in commands] == ["run", "sweep", "claims"]
    for words in commands:
        ended = dynamics_in(icl, *words)
        assert ended.returncode == 0, ended.stderr
    assert {path.name for path in icl.iterdir()} == {"icl", "runs"}
    assert {path.name for path in (icl / "runs").iterdir()} == {"icl-1", "icl-claims-1"}
    assert {path: path.stat().st_mtime_ns for path in (ROOT / "dynamics").rglob("*.py")} == before
    table = (icl / "runs" / "icl-claims-1" / "claims.md").read_text()
    assert table.count("**PASS**") == 2 and table.count("theory of 100 pairs: FAIL") == 2
    record = dynamics.load(icl / "runs" / "icl-1")
    flow, sgd = record["flow"].load(), record["sgd"].load()
    assert record["data"].x.dims == ("sample", "pair", "coordinate")
    C, p, start = 1 + 5 / 20, 4, 0.01
    end = p**0.5 / C
    theory = end / (1 + (end / start - 1) * np.exp(-2 * p**0.5 * flow.t))
    np.testing.assert_allclose(flow["product"], theory, rtol=1e-6)
    np.testing.assert_allclose(flow.loss, (C * theory**2 - 2 * p**0.5 * theory + p) / 2, rtol=1e-6)
    assert abs(float(sgd["product"][-1]) / end - 1) < 0.02
    mean, error = flow.population_loss[-1].values
    assert abs(mean - float(flow.loss[-1])) < 5 * error


BAD_MODULES = {
    "no module": ("nosuch_paper.claims", "", "--module = 'nosuch_paper.claims': must be a module in the current "),
    "a file": ("claims/x.py", "", "--module = 'claims/x.py': must be a module in the current folder"),
    "no tables": ("bad", "CASES = {}", "--module = 'bad': must define TABLES"),
    "nothing": ("bad", "", "--module = 'bad': must define CASES and TABLES"),
    "no case": ("bad", "CASES = {}; TABLES = {}", "CASES = []: must be {{case: Case or Measured}}, with one Case"),
    "a config": ("bad", "CASES = {'a': 1}; TABLES = {}", "CASES['a'] = 1: must be a Case or Measured"),
    "a table": (
        "bad",
        "import dynamics\nCASES = {'a': dynamics.Case(dynamics.base, [])}; TABLES = {'b': []}",
        "TABLES['b'] = []: must be (title, [(case, Claim), ...])",
    ),
    "a case of a table": (
        "bad",
        "import dynamics\nCASES = {'a': dynamics.Case(dynamics.base, [])}\n"
        "TABLES = {'b': ('title', [('a', dynamics.Claim('', '', '', max, controls=('c',)))])}",
        "TABLES['b'] = 'c': must be among the cases: a",
    ),
    "figures": (
        "bad",
        "import dynamics\nCASES = {'a': dynamics.Case(dynamics.base, [])}; TABLES = {}; FIGURES = 'no.such'",
        "FIGURES = 'no.such': must be a module",
    ),
}


@pytest.mark.parametrize(("name", "text", "message"), BAD_MODULES.values(), ids=BAD_MODULES)
def test_a_bad_claims_module(tmp_path, monkeypatch, capsys, name, text, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad", raising=False)
    (tmp_path / "bad.py").write_text(text)
    assert dynamics.cli.main(["dynamics", "claims", f"--module={name}"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1, err
    assert err.startswith(f"dynamics: {message.format()}"), err
    assert not (tmp_path / "runs").exists()
    monkeypatch.delitem(sys.modules, "bad", raising=False)


@pytest.mark.parametrize(
    ("text", "kind"), [("\n1 / 0", ZeroDivisionError), ("x = (", SyntaxError), ("import nosuch", ModuleNotFoundError)]
)
def test_a_bug_in_a_claims_module_keeps_its_traceback(tmp_path, monkeypatch, text, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad", raising=False)
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(kind):
        dynamics.cli.main(["dynamics", "claims", "--module=bad"])
    assert not (tmp_path / "runs").exists()


def test_an_error_in_a_module_that_the_config_imports(tmp_path):
    """Python shows the line, and the exit code says that something failed."""
    (tmp_path / "config.py").write_text("import dynamics\nimport imported_by_a_config\n")
    (tmp_path / "imported_by_a_config.py").write_text("\n\nimport nosuch")
    ended = dynamics_in(tmp_path, "run", "--config=config.py")
    assert ended.returncode == 1 and f'"{tmp_path}/imported_by_a_config.py", line 3' in ended.stderr
    assert ended.stderr.endswith("ModuleNotFoundError: No module named 'nosuch'\n")
    assert not (tmp_path / "runs").exists()


def test_the_current_folder_hides_no_installed_module(tmp_path):
    (tmp_path / "rich.py").write_text("1 / 0")
    ended = dynamics_in(tmp_path, "sweep", "status", "nosuch")
    assert ended.returncode == 2 and "must be a sweep folder" in ended.stderr
