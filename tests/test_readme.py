"""Every code block of the README runs, and every command of it and of the experiments' pages is one."""

import importlib.util
import re
import shlex
import subprocess

import pytest
from conftest import ROOT, small_config

import dynamics
import dynamics.cli.arguments
from dynamics.probes import PROBES
from dynamics.studies.comparison import sweep_of
from dynamics.sweeps.sweep import Sweep

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PAGES = "\n".join([README, *(page.read_text() for page in sorted((ROOT / "experiments").glob("*/README.md")))])
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGES, re.DOTALL)
    for line in block.splitlines()
] + re.findall(r"`(dynamics \w+ [^`]*|make [\w-]+)`", PAGES)


def test_short():
    assert README.count("\n") < 150


@pytest.fixture
def runs(smoke, tmp_path, monkeypatch):
    """A working folder in which runs/mine, runs/A and runs/B are the smoke run, and kjv.txt is a text."""
    (tmp_path / "runs").mkdir()
    for name in ("mine", "A", "B"):
        (tmp_path / "runs" / name).symlink_to(smoke.path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "kjv.txt").symlink_to(ROOT / "experiments" / "qk_eigenspectrum" / "genesis.txt")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def registries():
    """The four registries, as they were afterwards."""
    four = (PROBES, dynamics.LAWS, dynamics.TASKS, dynamics.MODELS)
    before = [dict(registry) for registry in four]
    yield four
    for registry, content in zip(four, before, strict=True):
        registry.clear()
        registry.update(content)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_code(runs, registries, block):
    """The block runs, and what it adds is found by its name in a config and integrates."""
    before = [set(registry) for registry in registries]
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    config = small_config(**{"times.stop": 0.5, "times.count": 2, "checkpoints": 1})
    places = (None, config["laws"]["gd"], config["task"], config["model"])
    added = [set(registry) - old for registry, old in zip(registries, before, strict=True)]
    for names, place in zip(added, places, strict=True):
        for name in names:
            if place is None:
                config["probes"] = (name,)
            else:
                place["name"] = name
    if any(added):
        assert len(dynamics.solve(dynamics.Experiment.from_config(config), "gd").t) == 3


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_command(runs, capsys, command):
    words = shlex.split(command)
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2])
    elif words[1] in ("run", "compare"):
        _, config = dynamics.cli.arguments.parsed(words[1:])
        dynamics.Experiment.from_config(dynamics.cli.arguments.plain(config))
        if words[1] == "compare":
            assert sweep_of("readme", config).members
    elif words[1:2] == ["sweep"] and words[2] != "status":
        _, config = dynamics.cli.arguments.parsed([word for word in words[1:] if "--config" in word or word == "sweep"])
        file, variant = dynamics.cli.arguments.config_file(words[1:])
        module = dynamics.config.module_of(file)
        assert Sweep.of(file.stem, config, module.get_sweep(*filter(None, [variant]))).members
    elif words[1] in ("claims", "sweep"):  # minutes: `make claims` runs it
        dynamics.cli._parser().parse_args(words[1:])
    else:
        assert dynamics.cli.main(words) == 0
