"""Every code block of the pages runs, and every command on them is one."""

import importlib.util
import re
import shlex
import subprocess

import pytest
from conftest import ROOT

import dynamics
import dynamics.cli
from dynamics.cli.modules import config_of
from dynamics.cli.sweeps import overrides_of
from dynamics.config import plain
from dynamics.studies.comparison import sweep_of
from dynamics.sweeps.sweep import Sweep

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


@pytest.fixture
def runs(smoke, tmp_path, monkeypatch):
    """A working folder in which runs/mine and the others that pages name are the smoke run, and kjv.txt is a text."""
    (tmp_path / "runs").mkdir()
    for name in ("mine", "A", "B", "kaiming_normal", "kaiming_uniform", "torch_linear", "theory"):
        (tmp_path / "runs" / name).symlink_to(smoke.path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "kjv.txt").symlink_to(ROOT / "experiments" / "qk_eigenspectrum" / "genesis.txt")
    monkeypatch.chdir(tmp_path)
    yield
    for registry, name in REGISTERED:
        registry.pop(name, None)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_code_runs(runs, block):
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_command(runs, capsys, command):
    words = shlex.split(command)
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2])
    elif words[1] in ("run", "compare") or (words[1] == "sweep" and words[2] != "status"):
        file, config = config_of(dynamics.cli.parsed(words[1:]))
        dynamics.Experiment.from_config(plain(config))
        if words[1] == "compare":
            assert sweep_of("readme", config).members
        if words[1] == "sweep":
            assert Sweep.of("readme", config, overrides_of(file)).members
    # `make claims` runs it, test_paper.py the new one, test_resume.py and its neighbours what goes on with a record.
    elif words[1] in ("claims", "sweep", "new", "resume", "verify", "probe"):
        assert dynamics.cli.parsed(words[1:]).command
    else:
        assert dynamics.cli.main(words) == 0
