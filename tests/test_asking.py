"""A probe that is asked for after the run has the values that it would have had in the record."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, small_config

import dynamics
import dynamics.cli
from dynamics.runs import asking, replay, verify

LAWS = {
    "flow": {"name": "flow", "rtol": 1e-9, "atol": 1e-11},
    "gd": {"name": "gd", "learning_rate": 0.05},
    "sgd": {"name": "sgd", "learning_rate": 0.05, "batch_size": 6},
}
BEFORE, LATER = ("loss",), ("loss", "attention")
# The same with the flags that the commands use; those of the tests let probes change the last bits of a trajectory.
SCRIPT = """
import pathlib, sys
import dynamics
from dynamics.environment import use_compile_cache
from test_asking import LAWS, asked_for
use_compile_cache()
adam = {"adam": {"name": "adam", "learning_rate": 0.05, "batch_size": 6}}
gram = {"flow": {"name": "gram_flow", "rtol": 1e-9, "atol": 1e-11}}
for name, laws in (("weights", {**LAWS, **adam}), ("gram", gram)):
    off = asked_for(pathlib.Path(sys.argv[1]) / name, laws)
    assert off == {law: 0.0 for law in laws}, off
"""


def recorded(folder, laws, probes, **changes):
    config = small_config(probes=probes, **changes)
    return dynamics.execute({**config, "laws": laws}, folder, "-".join(probes))


def asked_for(folder, laws):
    """{law: the largest difference between a probe that is recorded and the same one asked for later}."""
    before, later = (recorded(folder, laws, probes) for probes in (BEFORE, LATER))
    off = {}
    for law in laws:
        exact, values = later[law].attention.load(), before.probe("attention", law)
        assert values.dims == exact.dims
        assert all(np.array_equal(values[dim], exact[dim]) for dim in exact.coords)
        off[law] = replay.difference(exact.values, values.values)
    return off


@pytest.mark.slow
def test_the_same_bits_as_if_it_had_been_recorded(tmp_path):
    """Flow in weights and in Gram matrices, GD, and SGD and Adam with minibatches."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    del environment["XLA_FLAGS"]
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], check=True, env=environment)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import experiments.cooccurrence.probes  # noqa: F401  (registers score_table)

    return recorded(tmp_path_factory.mktemp("asked"), LAWS, BEFORE)


def test_the_values_are_those_that_would_have_been_recorded(run):
    """With the compiler flags of fast tests a step may be rounded differently beside another probe."""
    off = asked_for(run.path.parent / "again", LAWS)
    assert max(off.values()) < 1e-13
    assert run.probe("attention", "gd").attrs["checkpoints_differ_by"] < 1e-13


def test_times_that_were_not_saved(run):
    """They are those of a run that saves them; large probes end there."""
    times = np.sort([*run["gd"].t.values, 0.75])
    given = {"times.spacing": "given", "times.given": times[1:].tolist(), "times.multiple_of": 0.05}
    # The same checkpoints as without the additional time.
    saved = recorded(run.path.parent / "given", LAWS, ("loss", "attention", "score_table"), **given)
    assert saved.checkpoints("gd") == run.checkpoints("gd")
    for law in LAWS:
        value = run.probe("attention", law, 0.75)
        there = saved[law].attention.sel(t=0.75, method="nearest").values[None]
        assert value.shape == there.shape and list(value.t) == [0.75]
        assert replay.difference(there, value.values) < 1e-13
    two = run.probe("attention", "gd", [10.0, 0.2])
    np.testing.assert_array_equal(two.values, run.probe("attention", "gd").sel(t=[10.0, 0.2], method="nearest"))
    at_checkpoints = run.probe("score_table", "gd")
    np.testing.assert_allclose(at_checkpoints, saved["gd"].score_table, rtol=1e-12, atol=1e-14)
    assert list(at_checkpoints.t) == run.checkpoints("gd")
    large = run.probe("score_table", "gd", 0.75).values[0]
    scores = run.probe("scores", "gd", 0.75).values[0]
    np.testing.assert_allclose(large[: scores.shape[0], : scores.shape[1]], scores, rtol=1e-12)


def test_what_is_refused(run):
    for name, law, t, message in (
        ("attention", "gd", 0.77, "must be a multiple of the step 0.05"),
        ("attention", "gd", 10.05, "must lie between 0 and 10"),
        ("attention", "gd", -1.0, "must lie between 0 and 10"),
        ("attention", "adam", None, "must be among flow, gd, sgd"),
        ("nothing", "gd", None, "must be among .*attention"),
        ("score_table", "sgd", None, "must be a probe that the law 'sgd' can have here"),
    ):
        with pytest.raises(dynamics.ConfigError, match=message):
            run.probe(name, law, t)


def test_the_command_keeps_what_it_found(run, capsys, monkeypatch):
    before = verify.check_run(run.path)
    loss = run["gd"].loss.values
    assert dynamics.cli.main(["dynamics", "probe", str(run.path), "weight_norm", "--law=gd"]) == 0
    shown = capsys.readouterr().out
    assert "weight_norm of gd" in shown and str(run.path / "probes" / "gd" / "weight_norm") in shown
    assert verify.check_run(run.path) == before == ([], [])
    np.testing.assert_array_equal(run["gd"].loss.values, loss)
    kept = run.probe("weight_norm", "gd")
    # Another time is another question; so is the same one when the code of the probe has changed.
    monkeypatch.setattr(asking, "Replay", None)
    np.testing.assert_array_equal(run.probe("weight_norm", "gd").values, kept.values)
    with pytest.raises(TypeError):
        run.probe("weight_norm", "gd", 0.2)
    monkeypatch.setattr(asking, "code", lambda _: {"mine": "changed"})
    with pytest.raises(TypeError):
        run.probe("weight_norm", "gd")


def test_a_checkpoint_that_is_not_met_is_said(run, monkeypatch):
    monkeypatch.setattr(replay, "difference", lambda *_: 1e-3)
    with pytest.warns(UserWarning, match=r"gd: checkpoint/.* stored at t = 0.2 differs from what is integrated again"):
        values = run.probe("value_gram", "gd", 0.1)
    assert values.attrs["checkpoints_differ_by"] == 1e-3
