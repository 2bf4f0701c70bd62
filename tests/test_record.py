"""What load() returns is what was computed; the record alone is enough to recompute it; failures are recorded."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest
import xarray
from conftest import small_config
from test_theory_gradients import equation_one

import dynamics
import dynamics.cli
from dynamics.config import config_hash
from dynamics.runs.recorder import Recorder
from dynamics.runs.storage import write_json


def test_returns_what_was_computed(smoke):
    experiment = dynamics.Experiment.from_config(smoke.config.to_dict())
    for law in ("flow", "gd", "sgd"):
        trajectory = dynamics.solve(experiment, law)
        data = smoke[law]
        np.testing.assert_array_equal(data.t, trajectory.t)
        np.testing.assert_array_equal(data.t, experiment.times)
        for name, values in trajectory.probes.items():
            np.testing.assert_array_equal(data[name], values)
        for name, values in smoke.params(law, 20.0).items():
            np.testing.assert_array_equal(values, trajectory.params[name])


def test_a_record_says_what_it_is(smoke):
    lines = repr(smoke).splitlines()
    assert lines[0] == f"Record of {smoke.path}: done" and len(lines) == 4
    assert lines[2].startswith("  gd: t = 0 to 20, 21 times; ") and "loss" in lines[2]


def test_recomputed_from_the_record_alone(smoke):
    """Loss, losses by type and scores at every checkpoint, from stored weights and data and equation (1)."""
    data = smoke["data"].load()
    a, y, kind = data.a.values, data.targets.values, data.type.values
    for law in smoke.laws:
        seen = smoke[law].load()
        for t in smoke.checkpoints(law):
            params = smoke.params(law, t)
            now = seen.sel(t=t)
            loss = np.log1p(
                np.exp([-label * equation_one(params, a, x, 1) for x, label in zip(data.inputs.values, y, strict=True)])
            )
            np.testing.assert_allclose(now.loss, loss.mean(), rtol=1e-12)
            for name in ("I1", "I2", "I3", "I4"):
                np.testing.assert_allclose(now.loss_by_type.sel(type=name), loss[kind == name].mean(), rtol=1e-12)
            scores = params["W_K"].T @ params["W_Q"]
            np.testing.assert_allclose(now.scores.sel(key="μ2", query="μ1"), scores[1, 0], rtol=1e-12)


def test_opens_with_xarray_alone(smoke, tmp_path):
    store = shutil.copytree(smoke.path / "trajectory.zarr", tmp_path / "trajectory.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(store, group="flow")
    assert data.scores.dims == ("t", "key", "query")
    assert data.loss_by_type.dims == ("t", "type")
    assert list(data.key.values[:3]) == ["μ1", "μ2", "μ3"] and list(data.type.values) == ["I1", "I2", "I3", "I4"]
    # Values are read when they are needed: those that are deleted after opening are missing.
    shutil.rmtree(store / "flow" / "scores" / "c")
    assert not data.scores.any() and data.loss.all()


def test_what_is_held_fixed_is_recorded_of_a_start_in_gram_variables():
    config = small_config(**{"init.draw": "gram"})
    config["laws"] = {"flow": {"name": "gram_flow", "rtol": 1e-6, "atol": 1e-8}}
    data, _ = dynamics.runs.content.training_set(dynamics.Experiment.from_config(config))
    assert float(data["width"][1]) == 8 and data["width"][0] == ()
    assert set(np.unique(data["a"][1])) == {-1, 1} and data["a"][0] == ("neuron",)


def test_config_status_and_provenance(smoke):
    assert smoke.status["state"] == "done" and smoke.state == "done"
    assert smoke.config.task.samples == 12
    assert smoke.provenance["config"] == config_hash(smoke.config.to_dict())
    assert smoke.provenance["dtype"] == "float64" and smoke.provenance["versions"]["jax"] == jax.__version__
    assert smoke.checkpoints("gd")[0] == 0.0 and smoke.checkpoints("gd")[-1] == 20.0
    margin = smoke["flow"].margin.values
    t1 = smoke.status["laws"]["flow"]["classification_time"]
    assert (margin[smoke["flow"].t.values >= t1] > 0).all() and not (margin[smoke["flow"].t.values < t1] > 0).all()


def test_hash_ignores_labels_only():
    config = small_config()
    other = json.loads(json.dumps(config))
    other["wandb"]["group"] = "somewhere"
    assert config_hash(config) == config_hash(other)
    other["seed"] = 1
    assert config_hash(config) != config_hash(other)


def test_missing_parts_are_named(smoke):
    with pytest.raises(KeyError, match="flow, gd, sgd, data"):
        smoke["adam"]
    with pytest.raises(KeyError, match=r"t = 7.0; stored at t = 0.0, "):
        smoke.params("gd", 7.0)


def test_every_write_is_whole(tmp_path):
    """A reader that looks at any moment finds each group complete or not at all."""
    seen, groups = [], []

    def look(law, part, fraction):
        del part, fraction
        record = dynamics.load(tmp_path / "run")
        seen.append((record.status["state"], record.state))
        groups.append(record.groups())
        for group in groups[-1]:
            record[group].load()

    dynamics.execute(small_config(), tmp_path, "run", report=look)
    assert set(seen) == {("running", "running")}
    assert all(before <= after for before, after in itertools.pairwise(groups))
    assert dynamics.load(tmp_path / "run").groups() == {"data", "flow", "gd"}
    assert not list((tmp_path / "run").glob("**/.*partial*"))


def test_certify(tmp_path, capsys):
    """The measured error is the difference to a solve that was set up by hand; the certificate is printed."""
    config = small_config(certify=True, **{"laws.flow.rtol": 1e-5, "laws.flow.atol": 1e-7})
    record = dynamics.execute(config, tmp_path, "run")
    assert record.groups() == {"data", "flow", "flow_error", "gd"}
    # To the last bit: 1e-5 / 100 is not 1e-7, and steps that begin apart by a bit end apart by 1e-13.
    tight = small_config(**{"laws.flow.rtol": 1e-5 / 100, "laws.flow.atol": 1e-7 / 100})
    exact = dynamics.solve(dynamics.Experiment.from_config(tight), "flow").probes
    seen, error = record["flow"].load(), record["flow_error"].load()
    np.testing.assert_array_equal(error.loss, np.abs(seen.loss - exact["loss"]) / exact["loss"])
    scores = np.abs(seen.scores - exact["scores"]).max(axis=(1, 2)) / np.abs(exact["scores"]).max(axis=(1, 2))
    np.testing.assert_array_equal(error.scores, scores)
    assert 1e-9 < float(error.loss.max()) < 1e-3 and "drift" not in error
    assert record.status["laws"]["flow"]["error"]["loss"] == float(error.loss.max())
    assert dynamics.cli.main(["dynamics", "show", str(record.path)]) == 0
    shown = capsys.readouterr().out
    assert "certificate of flow: drift" in shown and ": kept\n" in shown and "certificate of gd" not in shown
    assert f"loss {float(error.loss.max()):.1e}" in shown


def test_a_broken_certificate_says_so(tmp_path, capsys):
    record = dynamics.execute(small_config(), tmp_path, "run")
    for factor, verdict in ((5.9, "kept"), (6.1, "BROKEN, distrust it")):
        status = record.status
        status["laws"]["flow"]["rtol"] = status["laws"]["flow"]["drift"] / factor
        write_json(record.path / "status.json", status)
        dynamics.cli.main(["dynamics", "show", str(record.path)])
        assert f"allowed: {verdict}\n" in capsys.readouterr().out
    # The errors of the stabilised method add up as rtol^(2/3).
    for drift, verdict in ((0.59e-7, "kept"), (0.61e-7, "BROKEN, distrust it")):
        status = record.status
        status["laws"]["flow"].update(rtol=1e-9, drift=drift, stabilised=True)
        write_json(record.path / "status.json", status)
        dynamics.cli.main(["dynamics", "show", str(record.path)])
        assert f"allowed: {verdict}\n" in capsys.readouterr().out


def test_same_config_same_bits(tmp_path):
    one, two = (dynamics.execute(small_config(), tmp_path, name) for name in ("one", "two"))
    for law in one.laws:
        xarray.testing.assert_equal(one[law].load(), two[law].load())


@pytest.mark.slow
def test_float32_is_float32(tmp_path):
    config = small_config(**{"dtype": "float32", "laws.flow.rtol": 1e-5, "laws.flow.atol": 1e-7})
    record = dynamics.execute(config, tmp_path, "run")
    assert record.status["state"] == "done" and record.provenance["dtype"] == "float32"
    assert record["flow"].loss.dtype == np.float32 and record.params("gd", 0.0)["W"].dtype == np.float32


def test_failures_are_recorded_and_stop_nobody(tmp_path):
    """GD leaves the finite numbers, the flow runs out of steps; both keep what they had, and SGD goes on."""
    config = small_config(
        **{"times.spacing": "linear", "times.stop": 1e202, "times.count": 20, "laws.gd.learning_rate": 1e200}
    )
    config["laws"]["flow"]["max_steps"] = 10
    config["laws"]["sgd"] = {"name": "sgd", "learning_rate": 1e200, "batch_size": 12}
    record = dynamics.execute(config, tmp_path, "run")
    laws = record.status["laws"]
    assert record.status["state"] == "failed" and list(laws) == ["flow", "gd", "sgd"]
    assert [laws[law]["state"] for law in laws] == ["failed", "failed", "failed"]
    assert "max_steps" in laws["flow"]["reason"]
    assert laws["gd"]["reason"].startswith("the loss stopped being finite at t = ")
    assert 1 <= len(record["gd"].t) < 21 and np.isfinite(record["gd"].loss).all()


def test_interruption_keeps_what_there_is(tmp_path):
    def stop(law, part, fraction):
        del part
        if law == "gd" and fraction > 0.05:
            raise KeyboardInterrupt

    record = dynamics.execute(small_config(), tmp_path, "run", report=stop)
    assert record.status["state"] == "interrupted" and record.laws == ["flow", "gd"]
    assert 1 < len(record["gd"].t) < len(record["flow"].t)
    assert record["gd"].attrs["state"] == "interrupted"


def test_killed_runs_are_told_from_running_ones(tmp_path):
    code = (
        "import pathlib, os, json, dynamics\n"
        "from dynamics.runs.recorder import Recorder\n"
        f"Recorder.new(pathlib.Path({str(tmp_path)!r}), 'run', {{}}, {{}})\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    record = dynamics.load(tmp_path / "run")
    assert record.status["state"] == "running" and record.state == "killed"


def test_a_write_that_fails_is_not_lost(tmp_path):
    recorder = Recorder.new(tmp_path, "run", {}, {})
    (tmp_path / "run" / ".data.partial").write_text("in the way")
    recorder.group("data", {"x": (("i",), np.arange(3))}, {}, {})
    recorder.group("other", {"x": (("i",), np.arange(3))}, {}, {})
    with pytest.raises(OSError, match="data"):
        recorder.close()
    assert not (tmp_path / "run" / "trajectory.zarr" / "other").exists()  # nothing is written after it
