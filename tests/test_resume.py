"""A run that was stopped goes on where it stopped, with the bits of one that was not."""

import json
import os
import shutil
import signal
import threading
from concurrent.futures import Future

import jax
import ml_collections
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.runs import engine, stopping
from dynamics.runs.recorder import Recorder

LAWS = {
    "flow": {"name": "flow", "rtol": 1e-6, "atol": 1e-9},
    "adam": {"name": "adam", "learning_rate": 0.05},
    "sgd": {"name": "sgd", "learning_rate": 0.05, "batch_size": 4},
}


def config(**changes):
    probes = ("loss", "scores", "parameters")
    return {**small_config(**{"certify": True, **changes}), "laws": LAWS, "probes": probes}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return dynamics.execute(config(), tmp_path_factory.mktemp("undisturbed"), "run")


def assert_same(one, other):
    """Two records have the same bits, but for seconds."""
    assert one.groups() == other.groups()
    for group in one.groups():
        mine, theirs = one[group].load(), other[group].load()
        assert mine.identical(theirs.assign_attrs(mine.attrs))
    for law in one.laws:
        assert one.checkpoints(law) == other.checkpoints(law)
        for t in one.checkpoints(law):
            jax.tree.map(np.testing.assert_array_equal, one.params(law, t), other.params(law, t))
    timed = ("compile_s", "solve_s")
    for mine, theirs in zip(one.status["laws"].values(), other.status["laws"].values(), strict=True):
        assert {key: mine[key] for key in mine if key not in timed} == {
            key: theirs[key] for key in theirs if key not in timed
        }


@pytest.fixture
def stopped(monkeypatch):
    """stopped(n): the signal to stop comes in the n-th stretch, and every stretch has at most 20 steps."""
    stretch, taken = engine.Program.stretch, []

    def run(n):
        taken.clear()

        def counting(program, *inputs):
            program._limit = 20
            taken.append(1)
            if len(taken) == n:
                os.kill(os.getpid(), signal.SIGTERM)
            return stretch(program, *inputs)

        monkeypatch.setattr(engine.Program, "stretch", counting)

    return run


def test_stopped_again_and_again(undisturbed, stopped, tmp_path):
    states = []
    for n in range(200):
        stopped(2 + n % 3)
        record = dynamics.execute(config(), tmp_path, "run")
        states.append(record.state)
        if record.state == "done":
            break
        assert all(np.isfinite(record[law].loss).all() for law in record.laws)
    assert states.count("interrupted") > 15 and states[-1] == "done"
    assert_same(record, undisturbed)
    assert len(record.provenance["resumed"]) == len(states) - 1
    stopped(0)  # from now on none comes
    assert not (record.path / "unfinished").exists()
    assert dynamics.cli.main(["dynamics", "verify", str(record.path)]) == 0


def test_what_goes_on_is_the_same_run(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed.path, tmp_path / "run")
    with pytest.raises(dynamics.ConfigError, match=r"name = 'run': exists in .* and has ended; choose another"):
        dynamics.execute(config(), tmp_path, "run")
    with pytest.raises(dynamics.ConfigError, match=r"exists in .*, and not with this config; choose another"):
        dynamics.execute(config(seed=1), tmp_path, "run")
    provenance = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps({**provenance, "code": {"their_laws": "123"}}))
    with pytest.raises(dynamics.ConfigError, match="the code of their_laws has changed since; choose another"):
        dynamics.execute(config(), tmp_path, "run")


def test_two_processes_in_one_folder(tmp_path):
    """The lock is that of an open file: a second one in this process is refused as one of another process is."""
    waiting, go_on = threading.Event(), threading.Event()

    def report(*_):
        waiting.set()
        go_on.wait(60)

    thread = threading.Thread(target=dynamics.execute, args=(small_config(), tmp_path, "run", report))
    thread.start()
    waiting.wait(60)
    record = dynamics.load(tmp_path / "run")
    assert record.state == "running"
    with pytest.raises(dynamics.ConfigError, match=f"is being run in .* by process {os.getpid()} on "):
        dynamics.execute(small_config(), tmp_path, "run")
    with pytest.raises(dynamics.ConfigError, match=f"is being run in .* by process {os.getpid()} on "):
        Recorder.again(record, {})
    go_on.set()
    thread.join()
    assert record.state == "done"


def test_a_signal_ends_the_wait_for_the_compiler():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), stopping.heard():
        stopping.awaited(Future())
    stopping.check()  # nothing is left of it


def test_the_second_signal_stops_at_once():
    with stopping.heard():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_the_command_resume(tmp_path, monkeypatch, stopped):
    """It finds the command, and where it was typed, in the record."""
    (tmp_path / "mine.py").write_text("import dynamics\nfrom test_resume import of_file as get_config\n")
    monkeypatch.chdir(tmp_path)
    words = ["dynamics", "run", "--config=mine.py", "--config.seed=3", "--workdir=there", "--name", "run"]
    monkeypatch.setattr("sys.argv", words)
    stopped(3)
    assert dynamics.cli.main(words) == 130
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    stopped(0)
    record = dynamics.load(tmp_path / "there" / "run")
    assert record.state == "interrupted"
    assert dynamics.cli.main(["dynamics", "resume", "../there/run"]) == 0
    assert record.state == "done" and record.config.seed == 3 and len(record.provenance["resumed"]) == 1
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert dynamics.cli.main(["dynamics", "resume", "../there/run"]) == 2  # it has ended


def of_file():
    return ml_collections.ConfigDict(config(certify=False))


def test_a_record_that_no_command_made_cannot_be_resumed_by_it(undisturbed, capsys):
    assert dynamics.cli.main(["dynamics", "resume", str(undisturbed.path)]) == 2
    assert "must have been made by a command (run, compare, sweep, claims)" in capsys.readouterr().err
