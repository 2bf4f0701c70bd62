"""Sweeps as jobs, disturbed in every way that a cluster has: nothing is lost or done twice, and no bit changes."""

import collections
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import dynamics
from dynamics.runs.storage import read_rows, write_rows
from dynamics.sweeps.ledger import Ledger

CLUSTER = pathlib.Path(__file__).parent / "slurm-cluster"
JOBS = 3

TASK = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9, "words": "uniform"}
# A path takes about a second, in eight parts. The variant `few` is longer, to be signalled between two parts. Jobs
# execute a copy of the file in the sweep folder, which has no such neighbour.
CONFIG = f"""
import json
import pathlib

import dynamics
from dynamics.sweeps.overrides import grid, seeds

TASK = json.loads(pathlib.Path(__file__).with_name("task.json").read_text())


def get_config(variant=""):
    config = dynamics.base()
    config.task = TASK
    config.model = {{"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}}
    config.init = {{"name": "normal", "std": 0.3, "std_of": {{"W": 0.3}}}}
    config.laws = {{"gd": {{"name": "gd", "learning_rate": 6e-5 if variant else 2e-4}}}}
    config.times.update(spacing="linear", start=0.5, stop=10.0, count=20)
    config.update(checkpoints=8, words=6, probes=("loss", "margin", "scores"))
    config.launch.update(jobs={JOBS}, cpus=2, memory_gb=1.0, checkpoint_s=0.3)
    config.wandb.mode = "disabled"
    return config


def get_sweep(variant=""):
    return seeds(2) if variant else grid({{"model.width": (8, 12)}}, seeds(6))
"""


@pytest.fixture(scope="session")
def launched(tmp_path_factory):
    """launched(launcher, variant, *flags): a context with (the process, the sweep's folder, its output so far)."""
    file = tmp_path_factory.mktemp("config") / "tiny.py"
    file.write_text(CONFIG)
    file.with_name("task.json").write_text(json.dumps(TASK))

    @contextlib.contextmanager
    def launch(launcher, variant="", *flags):
        workdir = tmp_path_factory.mktemp(launcher)
        config = f"{file}:{variant}" if variant else file
        command = [sys.executable, "-m", "dynamics", "sweep", f"--config={config}", f"--workdir={workdir}"]
        output, environment = workdir / "output", {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
        with output.open("w") as file_:
            process = subprocess.Popen(
                [*command, f"--launcher={launcher}", "--name=tiny", *flags],
                stdout=file_,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        try:
            yield process, workdir / "tiny", output.read_text
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # local jobs end with it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
            if launcher == "slurm":
                subprocess.run(["scancel", "--me", "--name=tiny"], check=False)

    return launch


@pytest.fixture(scope="session")
def undisturbed(launched):
    """What one process records."""
    with launched("here") as (process, folder, output):
        assert process.wait(200) == 0, output()
        return dynamics.load(folder)["gd"].load()


def until(condition, process, output):
    """What condition() returns, once that is true."""
    while not (result := condition()):
        assert process.poll() is None, output()
        time.sleep(0.05)
    return result


def claimed(folder):
    """{worker: the paths that it is at}, and the workers that have ended some."""
    lines = Ledger(folder).lines() if (folder / "journal").is_dir() else []
    ended = {(line["id"], line["attempt"]) for line in lines}
    at_work = collections.defaultdict(set)
    for claim in (folder / "claims").iterdir() if lines else ():
        path, _, attempt = claim.name.rpartition(".")
        if (path, int(attempt)) not in ended:
            at_work[os.readlink(claim)].add(path)
    return at_work, {line["worker"] for line in lines}


def worker_at_work(folder):
    """(pid, its paths) of a worker that has ended some and is at others."""
    at_work, experienced = claimed(folder)
    for worker in experienced & at_work.keys():
        return json.loads((folder / "workers" / worker).read_text())["pid"], at_work[worker]
    return None


def variables(pid):
    """The environment of a process."""
    lines = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def number(pid):
    """The number of a process's job, as scancel takes it."""
    environment = variables(pid)
    return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"


def done(folder):
    return collections.Counter(line["id"] for line in Ledger(folder).lines() if line["state"] == "done")


def assert_same(data, expected):
    assert data.keys() == expected.keys()
    for name in data.keys() - {"seconds"}:
        np.testing.assert_array_equal(data[name].values, expected[name].values, err_msg=name)


def assert_all_done_once(folder, undisturbed):
    assert done(folder) == dict.fromkeys(undisturbed.id.values.ravel().tolist(), 1)
    assert_same(dynamics.load(folder)["gd"].load(), undisturbed)


def assert_shared(folder):
    assert len(list(folder.glob("jobs/*/*_submitted.pkl"))) == JOBS
    assert len({line["worker"] for line in Ledger(folder).lines()}) > 1


def interrupted(folder):
    return {line["id"] for line in Ledger(folder).lines() if line["state"] == "interrupted"}


def disturbed(launch, disturb, undisturbed, is_warned):
    """Disturb one job at work; all paths are done once, and those that it was at by another attempt; the folder.

    A job that is warned says so, or on another machine it would be waited for.
    """
    with launch as (process, folder, output):
        pid, paths = until(lambda: worker_at_work(folder), process, output)
        disturb(pid)
        assert process.wait(200) == 0, output()
    entries = Ledger(folder).entries(done(folder))
    again = {path for path, entry in entries.items() if entry.attempts == 2}
    assert again & paths
    assert interrupted(folder) == (again if is_warned else set())
    assert_all_done_once(folder, undisturbed)
    return folder


@pytest.mark.slurm
def test_jobs_share_the_paths(launched, undisturbed):
    with launched("slurm") as (process, folder, output):
        assert process.wait(200) == 0, output()
    assert_shared(folder)
    assert_all_done_once(folder, undisturbed)


@pytest.mark.slurm
@pytest.mark.parametrize("action", [["scancel"], ["scontrol", "requeue"]], ids=" ".join)
def test_a_job_ended_by_slurm(launched, undisturbed, action):
    disturbed(
        launched("slurm"),
        lambda pid: subprocess.run([*action, number(pid)], check=True),
        undisturbed,
        is_warned=True,
    )


@pytest.mark.slurm
def test_a_lost_node(launched, undisturbed):
    cluster, nodes = pathlib.Path(os.environ["SLURM_CONF"]).parent, []

    def lose(pid):
        nodes.append(variables(pid)["SLURMD_NODENAME"])
        subprocess.run([CLUSTER, "kill-node", cluster, *nodes], check=True)

    try:
        disturbed(launched("slurm"), lose, undisturbed, is_warned=False)
    finally:
        for node in nodes:
            subprocess.run([CLUSTER, "start-node", cluster, node], check=True)


@pytest.mark.slurm
def test_a_preempted_job_goes_on_from_its_checkpoint(launched):
    with launched("here", "few") as (process, folder, output):
        assert process.wait(200) == 0, output()
    undisturbed = dynamics.load(folder)["gd"].load()
    with launched("slurm", "few", "--config.launch.jobs=1") as (process, folder, output):
        until(lambda: len(list(folder.glob("checkpoints/[!.]*"))) == 2, process, output)
        job = subprocess.run(["squeue", "-h", "-n", "tiny", "-o", "%A"], capture_output=True, text=True, check=True)
        subprocess.run(["scancel", "--signal=USR2", job.stdout.strip()], check=True)
        queued = ["squeue", "-h", "-n", "tiny", "-t", "pending", "-o", "%A"]
        until(lambda: subprocess.check_output(queued), process, output)
        # A mark in what was kept, at the first time: a path that starts anew has none of it.
        for path in folder.glob("checkpoints/[!.]*"):
            rows = read_rows(path)
            rows["probes/loss"][0] = -1.0
            write_rows(path, rows)
        assert process.wait(200) == 0, output()
    assert interrupted(folder) == set(undisturbed.id.values.tolist())
    assert done(folder) == dict.fromkeys(undisturbed.id.values.tolist(), 1)
    data = dynamics.load(folder)["gd"].load()
    assert data.loss[:, 0].values.tolist() == [-1.0, -1.0]
    data.loss[:, 0] = undisturbed.loss[:, 0]
    assert_same(data, undisturbed)


@pytest.mark.slurm
def test_refused_jobs(launched):
    with launched("slurm", "", "--config.launch.partition=nowhere") as (process, _, output):
        assert process.wait(100) == 2
        last = output().splitlines()[-1]  # sbatch's own words come before
        assert last.startswith("dynamics: --launcher") and "invalid partition specified: nowhere" in last
        assert "Traceback" not in output()


@pytest.mark.slow
def test_local_jobs(launched, undisturbed):
    with launched("local") as (process, folder, output):
        assert process.wait(200) == 0, output()
    assert_shared(folder)
    assert_all_done_once(folder, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, JOBS])
def test_a_killed_local_job(launched, undisturbed, jobs):
    """The others go on with its paths; without others, they are launched again."""
    launch = launched("local", "", f"--config.launch.jobs={jobs}")
    folder = disturbed(launch, lambda pid: os.kill(pid, signal.SIGKILL), undisturbed, is_warned=False)
    assert len(list(folder.glob("jobs/*/*_submitted.pkl"))) == max(jobs, 2)


@pytest.mark.slow
def test_enough_failures_stop_local_jobs(launched):
    with launched("local", "", "--fail-fast", "--config.init.std=1e160") as (process, folder, output):
        assert process.wait(200) == 1, output()
    states = collections.Counter(entry.state for entry in dynamics.load(folder).entries.values())
    left = states["waiting"] + states["interrupted"]
    assert states["diverged"] >= 1 and left >= 1 and states["diverged"] + left == sum(states.values()), states
