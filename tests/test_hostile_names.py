"""Names that would leave the folder or be executed are refused in one line; reading a record executes nothing."""

import contextlib
import json
import os
import pathlib
import pickle
import shlex
import subprocess

import numpy as np
import pytest
from conftest import ROOT, small_config

import dynamics
import dynamics.cli
from dynamics.config import ConfigError
from dynamics.runs.storage import read_rows
from dynamics.sweeps.launch import Launch, Resources
from dynamics.sweeps.launchers import LAUNCHERS, Job
from dynamics.sweeps.paths import plan
from experiments.reliability.acts import CONFIG

SMOKE = f"--config={ROOT}/configs/cooccurrence/figure1.py:smoke"
HOSTILE = (
    *("../up", "/tmp/x", "a/b", "..", ".hidden", "", "a\\b", "a\nb", "a\0b", "a\x1b[31m", "\u202ea", "\ud800"),
    *('"', "'; touch x; '", "$(touch x)", "`touch x`", "a;b", "a&b", "a|b", "a>b", "*", "~", "-rf", "%n", "{0}"),
    *("<script>alert(1)</script>", "&lt;", "x" * 300, "中" * 100),
)
FINE = ("a", "gd_1e-7", "adam β=0.9", "étude", "中文", "x.y", "2", "_a", "x" * 200)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_runs_and_laws(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for command in ("run", "sweep", "compare"):
        assert dynamics.cli.main(["dynamics", command, SMOKE, "--workdir=runs", f"--name={name}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("dynamics: name = ") and error[:-1].isprintable()
    config = small_config()
    config["laws"] = {name: config["laws"]["gd"]}
    with pytest.raises(ConfigError) as refused:
        dynamics.Experiment.from_config(config)
    assert str(refused.value).isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FINE)
def test_other_names(name):
    config = small_config()
    config["laws"] = {name: config["laws"]["gd"]}
    assert list(dynamics.Experiment.from_config(config).laws) == [name]
    assert dynamics.cli.parsed(["run", SMOKE, f"--name={name}"]).name == name


def test_the_name_of_a_file_and_its_variant(tmp_path, capsys, monkeypatch):
    """Without --name, a run has the name of its file, and a sweep that of its variant, too."""
    monkeypatch.chdir(tmp_path)
    text = "import dynamics\nget_config = lambda _='': dynamics.base()\nget_sweep = lambda _='': dynamics.seeds(2)\n"
    for file, variant in (("a$(x).py", ""), ("fine.py", ":../../up")):
        (tmp_path / file).write_text(text)
        assert dynamics.cli.main(["dynamics", "sweep", f"--config={file}{variant}"]) == 2
        assert "must be one name of letters" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"a$(x).py", "fine.py"}


FAKES = {  # commands of SLURM: the script is kept, and what a node would execute is printed word by word
    "sbatch": 'cp "$1" script && echo Submitted batch job 7',
    "srun": 'printf "%s\\n" "$@" > words',
    "squeue": "exit 0",
}


def test_what_slurm_is_given(tmp_path, monkeypatch):
    """The folder of a sweep is one word of the script and of what it executes, whatever it is called."""
    commands, folder = tmp_path / "commands", tmp_path / "a b'; touch x; $(touch x) `touch x`\" & touch x" / FINE[2]
    commands.mkdir()
    for name, text in FAKES.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    resources = Resources(2, 1, 0, 1.0, 1, "$(touch x); touch x", 1.0)
    jobs = [Job(folder, {}, resources, None) for _ in range(resources.jobs)]
    LAUNCHERS["slurm"]().start(Launch(folder, plan({}), {}, resources, None), jobs)
    set_by = [line for line in (tmp_path / "script").read_text().splitlines() if line.startswith("#SBATCH ")]
    options = dict(shlex.split(line)[1].partition("=")[::2] for line in set_by)
    assert all(len(shlex.split(line)) == 2 for line in set_by)
    assert options["--job-name"] == FINE[2] and options["--partition"] == resources.partition
    subprocess.run(["bash", "script"], check=True)
    (logs,) = (folder / "jobs").iterdir()
    assert (tmp_path / "words").read_text().splitlines()[-1] == str(logs)
    assert {path.name for path in tmp_path.iterdir()} == {"commands", folder.parent.name, "script", "words"}


def test_a_law_with_the_name_of_errors():
    config = small_config(certify=True)
    config["laws"]["flow_error"] = config["laws"]["gd"]
    with pytest.raises(ConfigError, match=r"laws.flow_error = 'flow_error': must have another name"):
        dynamics.Experiment.from_config(config)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


def test_rows_are_not_unpickled(tmp_path):
    mark = tmp_path / "mark"
    np.savez(tmp_path / "rows.npz", t=np.array([Trap(mark)], dtype=object))
    with pytest.raises(ConfigError, match=r"rows.npz is damaged: Object arrays cannot be loaded"):
        read_rows(tmp_path / "rows.npz")
    assert not mark.exists()


def test_arrays_are_not_unpickled(tmp_path):
    """Format 2 of zarr has a codec that unpickles; a record is format 3, and is read as nothing else."""
    mark, store = tmp_path / "mark", tmp_path / "run" / "trajectory.zarr"
    loss = store / "flow" / "loss"
    loss.mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text(json.dumps({"laws": {"flow": {}}}))
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C", "fill_value": None}
    array |= {"filters": [{"id": "pickle", "protocol": 5}], "compressor": None}
    files = {".zgroup": {"zarr_format": 2}, "loss/.zarray": array, "loss/.zattrs": {"_ARRAY_DIMENSIONS": ["t"]}}
    for name, content in files.items():
        (store / "flow" / name).write_text(json.dumps(content))
    (loss / "0").write_bytes(pickle.dumps(np.array([Trap(mark)], dtype=object)))
    root = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    (store / "zarr.json").write_text(json.dumps({**root, "consolidated_metadata": {"metadata": {"flow": root}}}))
    with contextlib.suppress(Exception):
        assert not dynamics.load(tmp_path / "run")["flow"].load().data_vars
    assert not mark.exists()


def test_a_sweep_folder_is_read_without_executing_its_config(tmp_path):
    """Its config.py is executed by jobs alone."""
    file, mark = tmp_path / "mine.py", tmp_path / "mark"
    file.write_text(CONFIG)
    command = ["dynamics", "sweep", f"--config={file}", f"--workdir={tmp_path}", "--name=x", "--no-report"]
    assert dynamics.cli.main(command) == 0
    (tmp_path / "x" / "config.py").write_text(f"open({str(mark)!r}, 'w')\n")
    record = dynamics.load(tmp_path / "x")
    assert record["flow"].load().sizes and record.table()
    assert dynamics.cli.main(["dynamics", "sweep", "status", str(tmp_path / "x")]) == 0
    assert dynamics.cli.main(["dynamics", "show", str(tmp_path / "x")]) == 0
    assert not mark.exists()
