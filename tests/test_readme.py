"""Every code block of the pages runs, and every command on them is one."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import types

import bokeh.model
import numpy as np
import pytest
from conftest import ROOT

import dynamics
import dynamics.cli
from dynamics.cli.modules import config_of
from dynamics.config import plain

README = (ROOT / "README.md").read_text()
# These pages have tests of their own, in test_paper.py and test_docs.py: their blocks are files of one paper.
TUTORIALS = [ROOT / "docs" / "tutorial" / f"{name}.md" for name in ("your_own_task", "sweep", "flow_against_sgd")]
ELSEWHERE = (ROOT / "experiments" / "README.md", *ROOT.glob("dynamics/templates/**/README.md"), *TUTORIALS)
PLACES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/**/*.md",
    "configs/README.md",
    "dynamics/README.md",
    "experiments/*/README.md",
)
FILES = [page for place in PLACES for page in sorted(ROOT.glob(place)) if page not in ELSEWHERE]
PAGES = "\n".join(page.read_text() for page in FILES)
BLOCKS = re.findall(r"```python\n(.*?)```", PAGES, re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGES, re.DOTALL)
    for line in block.splitlines()
] + re.findall(r"`(dynamics \w+ [^`]*|make [\w-]+)`", PAGES)

# By the blocks of docs/howto/add_a_part.md, for as long as a test runs.
REGISTERED = ((dynamics.LAWS, "sign"), (dynamics.PROBES, "score_norm"), (dynamics.LOSSES, "squared_hinge"))


def test_short():
    assert README.count("\n") < 60


@pytest.fixture(scope="module")
def copied(smoke, tmp_path_factory):
    """The smoke run, for commands that write into its folder: other modules read the smoke run as it was made."""
    return shutil.copytree(smoke.path, tmp_path_factory.mktemp("copied") / "smoke")


@pytest.fixture
def runs(copied, tmp_path, monkeypatch):
    """A working folder in which runs/mine and the others that pages name are the smoke run, and kjv.txt is a text."""
    (tmp_path / "runs").mkdir()
    for name in ("mine", "A", "B", "kaiming_normal", "kaiming_uniform", "torch_linear", "theory"):
        (tmp_path / "runs" / name).symlink_to(copied)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "kjv.txt").symlink_to(ROOT / "experiments" / "qk_eigenspectrum" / "genesis.txt")
    monkeypatch.chdir(tmp_path)
    yield
    for registry, name in REGISTERED:
        registry.pop(name, None)


def descends(names, shown):
    """The losses of two laws over the same times: one start, and down from there."""
    flow, gd = (np.array(line.split(), float) for line in re.findall(r"\[(.*?)\]", shown))
    assert flow[0] == gd[0] and (np.diff([flow, gd]) < 0).all()


def is_the_record(names, shown):
    loss = names["flow"].loss
    assert float(loss[-1]) < float(loss[0]) and f"{float(abs(loss - names['gd'].loss).max())}" in shown


def plots(names, shown):
    del shown
    assert all(isinstance(names[name], bokeh.model.Model) for name in ("losses", "scores"))


def signs(names, shown):
    del shown
    law = names["SignDescent"](learning_rate=0.1)
    updates, _ = law.optimizer.update(np.array([3.0, -0.5]), law.optimizer.init(np.zeros(2)))
    assert dynamics.LAWS["sign"] is names["SignDescent"]
    np.testing.assert_allclose(updates, [-0.1, 0.1])


def takes_the_norm(names, shown):
    del shown
    view = types.SimpleNamespace(objective=types.SimpleNamespace(apply=lambda params, method: params))
    assert float(names["score_norm"](3.0 * np.eye(4)[None, None], view)[0, 0]) == 6


def squares_the_hinge(names, shown):
    del shown
    loss = dynamics.LOSSES["squared_hinge"].of_samples(np.array([0.5, 2.0, -1.0]), np.array([1.0, 1.0, 1.0]))
    np.testing.assert_allclose(loss, [0.25, 0, 4])


# What is true after a block, by what the block has.
TRUE_AFTER = {
    'dynamics.load("runs/mine")\nflow': is_the_record,
    "mean_interval": lambda names, shown: check(shown.endswith("True None\n")),
    "score_norm": takes_the_norm,
    "SignDescent": signs,
    "squared_hinge": squares_the_hinge,
    "for law in": descends,
    "record.plot": plots,
    "log_uniform": lambda names, shown: check((len(names["wide"]), len(names["both"])) == (10, 30)),
}


def check(condition):
    assert condition


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_code_runs(runs, capsys, block):
    names = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    (is_true,) = [is_true for text, is_true in TRUE_AFTER.items() if text in block]
    is_true(names, capsys.readouterr().out)


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_command(runs, capsys, command):
    words = shlex.split(command)
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2])
    elif words[1] in ("run", "compare") or (words[1] == "sweep" and words[2] != "status"):
        _, config = config_of(dynamics.cli.parsed(words[1:]))
        # A config as it is in its file is built by test_configs.py.
        if any(word.startswith("--config.") for word in words):
            dynamics.Experiment.from_config(plain(config))
    # `make claims` runs it, test_paper.py the new one, test_resume.py and its neighbours what goes on with a record.
    elif words[1] in ("claims", "sweep", "new", "resume", "verify", "probe"):
        assert dynamics.cli.parsed(words[1:]).command
    else:
        # All of these are the same run: two of them stand for four.
        more = {word for word in words if word.startswith("runs/")} - {"runs/mine", "runs/A", "runs/B", *words[2:4]}
        assert dynamics.cli.main([word for word in words if word not in more]) == 0
