"""A run that ends with an exception is recorded as failed, with the reason; what it had finished is kept."""

import contextlib
import errno
import json
import logging
import os
import types

import numpy as np
import pytest
from conftest import small_config

import dynamics
import dynamics.cli
import dynamics.runs.engine
import dynamics.runs.record
from dynamics.report.page import page
from dynamics.runs.recorder import Recorder
from dynamics.runs.storage import overwrite_json


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """failing(error, law, number): a run that raises when a law begins a segment; its record."""

    def run(error, law, number):
        stretch = dynamics.runs.engine.Program.stretch

        def raising(program, paths, places, state):
            if (paths[0].law, state.segment) == (law, number):
                raise error
            return stretch(program, paths, places, state)

        monkeypatch.setattr(dynamics.runs.engine.Program, "stretch", raising)
        with pytest.raises(type(error)):
            dynamics.execute(small_config(), tmp_path, "run")
        return dynamics.load(tmp_path / "run")

    return run


def test_an_exception_while_a_law_is_integrated(failing, tmp_path, capsys):
    record = failing(RuntimeError("a bug\nin a probe"), "gd", 1)
    reason = record.status["reason"]
    assert record.state == "failed" and reason.startswith("RuntimeError: a bug in a probe (test_failing_runs.py, line ")
    assert record.laws == ["flow"] and record.status["laws"]["flow"]["state"] == "done"
    assert np.isfinite(record["flow"].loss).all() and len(record.checkpoints("gd")) == 2
    assert dynamics.cli.main(["dynamics", "ls", f"--workdir={tmp_path}"]) == 0
    assert "failed" in capsys.readouterr().out
    assert dynamics.cli.main(["dynamics", "show", str(record.path)]) == 0
    assert "failed (RuntimeError: a bug in a probe" in capsys.readouterr().out
    text = page([record])
    assert '<span class="state failed">failed</span>' in text and "RuntimeError: a bug in a probe" in text


def test_a_full_disk_while_a_law_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(dynamics.runs.recorder, "write_group", no_space)
    with pytest.raises(OSError, match="No space left"):
        dynamics.execute(small_config(), tmp_path, "run")
    status = dynamics.load(tmp_path / "run").status
    assert status["state"] == "failed" and "No space left on device" in status["reason"]
    assert not status["laws"]  # none is on disk


@pytest.fixture
def logged():
    """What orbax's libraries log, and their levels again at the end."""
    loggers, texts = [logging.getLogger(name) for name in ("absl", "asyncio")], []
    levels, handler = [logger.level for logger in loggers], logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    for logger in loggers:
        logger.addHandler(handler)
    yield texts
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_write_raises_is_not_logged_too(tmp_path, logged, fails):
    """Nor what its other tasks log later; after a write that ends well, errors are logged as before."""
    recorder = Recorder.new(tmp_path, "run", small_config(), {})

    def save(*_):
        logging.getLogger("absl").error("a page of stack")
        if fails:
            no_space()

    recorder._checkpointer = types.SimpleNamespace(save=save, wait_until_finished=lambda: None, close=lambda: None)
    recorder.checkpoint("gd", 0.0, {}, ())
    with pytest.raises(OSError, match="No space") if fails else contextlib.nullcontext():
        recorder.close()
    logging.getLogger("asyncio").error("later")
    assert logged == ([] if fails else ["later"])


def test_a_disk_so_full_that_no_file_can_be_made(failing, monkeypatch):
    """The reason is written into the file that is there."""

    @contextlib.contextmanager
    def full(path):
        if path.parent.name == "run":
            no_space()
        yield path

    monkeypatch.setattr(dynamics.runs.storage, "replacing", full)
    record = failing(RuntimeError("x"), "flow", 0)
    assert record.state == "failed" and record.status["reason"].startswith("RuntimeError: x")


def test_a_shorter_text_leaves_nothing_of_the_longer_one(tmp_path, monkeypatch):
    file = tmp_path / "status.json"
    file.write_text(json.dumps({"reason": "x" * 1000}))
    monkeypatch.setattr(dynamics.runs.storage, "replacing", no_space)
    overwrite_json(file, {"reason": "y"})
    assert json.loads(file.read_text()) == {"reason": "y"}


def test_ctrl_c_beside_the_integration_is_an_interruption(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dynamics.runs.run.recorded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dynamics.execute(small_config(), tmp_path, "run")
    assert dynamics.load(tmp_path / "run").state == "interrupted"


def test_a_figure_that_fails_leaves_the_record_as_it_is(tmp_path):
    def draw(record):
        raise RuntimeError("a bug in a figure")

    with pytest.raises(RuntimeError):
        dynamics.execute(small_config(), tmp_path, "run", draw=draw)
    assert dynamics.load(tmp_path / "run").state == "done"
