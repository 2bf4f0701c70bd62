"""Comparisons against single solves, fitted orders on exact power laws, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import small_config
from dynamics.runs.ensemble import Ensemble

import dynamics
import dynamics.cli
from dynamics.analysis.fits import order, weighted_order
from dynamics.studies.comparison import Comparison, compare
from dynamics.studies.tables import tables
from dynamics.trajectory import NON_FINITE

STEPS = (0.04, 0.02, 0.01)


def config(**changes):
    found = small_config(**{"probes": ("loss", "margin", "output", "parameters"), "checkpoints": 1})
    found["laws"] = {
        "flow": {"name": "flow", "rtol": 1e-9, "atol": 1e-11},
        "modified_flow": {"name": "modified_flow", "rtol": 1e-9, "atol": 1e-11, "learning_rate": 0.04},
        "gd": {"name": "gd", "learning_rate": 0.04},
        "sgd": {"name": "sgd", "learning_rate": 0.04, "batch_size": 4},
        "whole": {"name": "sgd", "learning_rate": 0.04, "batch_size": 12},
    }
    found["times"] = {"spacing": "linear", "start": 0.01, "stop": 0.8, "count": 4, "given": ()}
    pairs = (("gd", "modified_flow"), ("modified_flow", "flow"), ("gd", "flow"), ("sgd", "flow"), ("whole", "gd"))
    found["compare"] = {**found["compare"], "pairs": pairs, "steps": STEPS, "seeds": 2, "draws": 3}
    for key, value in changes.items():
        *path, last = key.split(".")
        node = found
        for part in path:
            node = node[part]
        node[last] = value
    return found


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return compare(config(), tmp_path_factory.mktemp("compare"), "run")


def single(law, seed, step, draw=None):
    """One member by itself, as any run integrates it."""
    member = Comparison.from_config(config()).members[law][0]
    found = dataclasses.replace(member, laws={law: member.laws[law].at_step(step)}, seed=seed)
    if draw is not None:
        found.keys["sgd"] = jax.random.fold_in(found.keys["sgd"], draw)
    return dynamics.joined([part for part, _ in dynamics.solve(found, law)])


def test_shape(record):
    assert record.state == "done" and record.groups() == {
        *config()["laws"],
        *(f"{law} to {reference}" for law, reference in config()["compare"]["pairs"]),
    }
    assert record["flow"].loss.dims == ("seed", "t") and record["gd"].loss.dims == ("seed", "step", "t")
    assert record["sgd"].output.dims == ("seed", "step", "draw", "t", "sample")
    assert record["sgd to flow"].loss.dims == ("seed", "step", "t")
    assert record["modified_flow to flow"].loss.dims == ("seed", "step", "t")
    assert "parameters" not in record["gd"] and "parameters" in record["gd to flow"]
    assert "parameters" not in record["sgd to flow"]
    np.testing.assert_allclose(record["gd"].step, STEPS)
    assert (record["sgd"].outcome == 0).all() and (record["sgd"].end == 0.8).all()


def test_members_are_single_solves(record):
    alone, other = single("gd", 1, 0.02), single("flow", 1, 0.02)
    member = record["gd"].sel(seed=1, step=0.02)
    np.testing.assert_allclose(member.loss, alone.probes["loss"], rtol=1e-12)
    gap = np.linalg.norm(alone.probes["parameters"] - other.probes["parameters"], axis=1)
    size = np.maximum.accumulate(np.linalg.norm(other.probes["parameters"], axis=1))
    np.testing.assert_allclose(
        record["gd to flow"].sel(seed=1, step=0.02).parameters, gap / size, rtol=1e-6, atol=1e-13
    )


def test_draws_are_single_runs(record):
    for draw in (0, 2):
        alone = single("sgd", 0, 0.01, draw)
        member = record["sgd"].sel(seed=0, step=0.01, draw=draw)
        np.testing.assert_allclose(member.loss, alone.probes["loss"], rtol=1e-12)
    assert len(np.unique(record["sgd"].sel(seed=0, step=0.01).loss.isel(t=-1))) == 3


def test_means_and_variances(record):
    found, exact = record["sgd"].load(), record["flow"].load()
    norm = np.sqrt((exact.output**2).sum("sample"))
    size = norm.copy(data=np.maximum.accumulate(norm.values, axis=1))
    mean = np.sqrt(((found.output.mean("draw") - exact.output) ** 2).sum("sample")) / size
    variance = found.output.var("draw", ddof=1).sum("sample") / size**2
    pair = record["sgd to flow"].load()
    np.testing.assert_allclose(pair.output, mean.transpose(*pair.output.dims), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(pair.output_variance, variance.transpose(*pair.output.dims), rtol=1e-12, atol=1e-20)
    np.testing.assert_allclose(pair.output_error, np.sqrt(pair.output_variance / 3), rtol=1e-12)


def test_every_sample_in_every_minibatch_is_descent(record):
    assert float(record["whole to gd"].output.max()) < 1e-13
    assert float(record["sgd to flow"].output.max()) > 1e-3


def test_orders_in_the_table(record):
    distances, phases = tables(record)
    rows = {row[:3]: row[4] for row in distances.rows}
    assert 0.9 < float(rows["gd", "flow", "parameters"].split()[0]) < 1.1
    assert 1.8 < float(rows["gd", "modified_flow", "parameters"].split()[0]) < 2.2
    assert len(phases.rows) == 1 + 4 * len(STEPS)
    assert "| gd | flow | parameters |" in distances.markdown()


def test_show(record, capsys):
    assert dynamics.cli.main(["dynamics", "show", str(record.path)]) == 0
    shown = capsys.readouterr().out
    assert "all 6 paths reached the last time" in shown and "order in the step" in shown


def test_an_unstable_step_harms_nobody(tmp_path):
    """η = 10 diverges; the same laws at the other steps are what they are by themselves."""
    wild = config(
        **{"compare.steps": (10.0, 1.0, 0.5), "compare.pairs": (("gd", "flow"),), "probes": ("loss", "output")}
    )
    wild["laws"] = {name: wild["laws"][name] for name in ("flow", "gd")}
    wild["times"] = {**wild["times"], "stop": 2000.0}
    record = compare(wild, tmp_path, "run")
    gd = record["gd"].load()
    outcome, end = gd.outcome.sel(step=10.0), gd.end.sel(step=10.0)
    assert (
        (outcome == NON_FINITE).all()
        and ((end > 0) & (end < 2000)).all()
        and np.isnan(gd.loss.sel(step=10.0)[:, -1]).all()
    )
    assert (gd.outcome.sel(step=[1.0, 0.5]) == 0).all() and np.isfinite(gd.loss.sel(step=[1.0, 0.5])).all()
    member = Comparison.from_config(wild).members["gd"][1]
    alone = dynamics.joined([part for part, _ in dynamics.solve(member, "gd")])
    np.testing.assert_allclose(gd.loss.sel(seed=0, step=1.0), alone.probes["loss"], rtol=1e-11)
    summary = record.status["laws"]["gd"]
    at = f"step 10, seed 0, t = {float(end[0]):.4g}"
    assert summary["state"] == "failed" and record.state == "done"
    assert summary["reason"] == f"2 of 6 paths failed; the first ({at}): the loss stopped being finite"
    distances, phases = tables(record)
    assert [row[-1] for row in phases.rows] == ["0", "2", "0", "0"]
    assert {row[-1] for row in distances.rows} == {"no slope: 2 values of the step are finite"}


def test_ctrl_c_keeps_the_laws_before(tmp_path):
    def interrupt(law, done, members):
        if law == "gd":
            raise KeyboardInterrupt

    record = compare(config(), tmp_path, "run", interrupt)
    assert record.state == "interrupted" and record.status["reason"].startswith("interrupted in gd")
    assert record.groups() == {"flow", "modified_flow", "modified_flow to flow"}


def test_members_of_several_forms():
    """Two shapes are two programs; more members than a call takes are several calls; the order is kept."""
    small, large = (dynamics.Experiment.from_config(small_config(**{"model.width": m})) for m in (8, 16))
    seeds = [dataclasses.replace(small, seed=seed) for seed in range(35)]
    found = {i: trajectory for i, _, trajectory in Ensemble([*seeds, large], "gd")}
    assert sorted(found) == list(range(36))
    for i in (0, 7, 33, 34):
        alone = dynamics.joined([part for part, _ in dynamics.solve(seeds[i], "gd")])
        np.testing.assert_allclose(found[i].probes["loss"], alone.probes["loss"], rtol=1e-11)
    assert found[35].params["W_K"].shape == (16, 9) and found[0].params["W_K"].shape == (8, 9)


def test_order_of_a_power_law():
    steps = np.array([0.1, 0.2, 0.4, 0.8])
    scale = np.array([[1.0], [3.0], [0.5]])
    fit = order(steps, scale * steps**2)
    np.testing.assert_allclose(fit, [2, 2, 2], rtol=1e-12)
    random = np.random.default_rng(0)
    noisy = order(steps, scale * steps**2 * np.exp(0.05 * random.normal(size=(3, 4))))
    assert noisy.low < 2 < noisy.high and 0.01 < noisy.high - noisy.low < 0.5
    np.testing.assert_allclose(order(steps, steps[None] ** 1.5).slope, 1.5)


def test_order_leaves_out_what_diverged_and_says_nothing_of_too_little():
    steps = np.array([0.1, 0.2, 0.4, 0.8])
    distance = np.stack([steps, 2 * steps])
    distance[1, 3] = np.nan
    np.testing.assert_allclose(order(steps, distance).slope, 1)
    assert np.isnan(order(steps[:2], distance[:, :2]).slope)
    assert np.isnan(order(steps, distance, 1.0).slope)


def test_order_takes_out_the_noise_of_a_mean():
    """E distance² = (true distance)² + error²."""
    steps = np.array([0.1, 0.2, 0.4, 0.8])
    error = 0.05 * np.sqrt(steps)
    found = order(steps, np.sqrt(np.stack([steps, 2 * steps]) ** 2 + error**2), error)
    np.testing.assert_allclose(found.slope, 1, rtol=1e-12)


def test_weighted_order():
    """The estimate with the smallest relative error counts; the interval covers the truth about as often as it says."""
    steps, random = np.array([1.0, 2.0, 4.0, 8.0]), np.random.default_rng(1)
    np.testing.assert_allclose(weighted_order(steps, 3 * steps, 0.1 * steps).slope, 1, rtol=1e-12)
    errors = 0.05 * np.sqrt(steps)
    fits = [weighted_order(steps, steps + errors * random.normal(size=4), errors) for _ in range(2000)]
    assert 0.93 < np.mean([fit.low < 1 < fit.high for fit in fits]) < 0.97
    assert np.isnan(weighted_order(steps, steps - 2, errors).slope)


def test_one_value_has_no_slope(tmp_path):
    few = config(**{"compare.steps": (0.04,), "compare.pairs": (("gd", "flow"),)})
    few["laws"] = {name: few["laws"][name] for name in ("flow", "gd")}
    distances, _ = tables(compare(few, tmp_path, "run"))
    assert {row[4] for row in distances.rows} == {"no slope: 1 value of the step"}


LINES = {
    "a pair of nobody": (
        {"compare.pairs": (("gd", "nobody"),)},
        "compare.pairs = 'nobody': must be among the laws, flow, modified_flow, gd, sgd, whole",
    ),
    "a pair of three": ({"compare.pairs": (("gd", "flow", "sgd"),)}, r"compare.pairs = .* must be \(law, reference\)"),
    "steps": ({"compare.steps": (0.1, 0.1)}, r"compare.steps = \(0.1, 0.1\): must be positive and different"),
    "steps that do not divide": ({"compare.steps": (0.04, 0.03)}, "compare.steps = 0.03: must divide the largest step"),
    "steps that are no numbers": ({"compare.steps": ("a",)}, r"compare.steps = \('a',\): must be a list of finite"),
    "no seeds": ({"compare.seeds": 0}, "compare.seeds = 0: must be at least 1"),
    "one draw": ({"compare.draws": 1}, "compare.draws = 1: must be at least 2, since laws.sgd is random"),
    "no tolerance": ({"compare.tolerance": 0.0}, "compare.tolerance = 0.0: must be positive"),
    "an unknown key": ({"compare.nosuch": 1}, "compare.nosuch = 1: unknown key"),
    "a batch that does not fit": (
        {"laws.sgd.batch_size": 13},
        "laws.sgd.batch_size = 13: must be at most the 12 samples",
    ),
    "no common start": (
        {"init.draw": "gram"},
        "init.draw = 'gram': must be 'weights': laws.flow moves weights",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_refused(case, tmp_path):
    changes, message = LINES[case]
    with pytest.raises(dynamics.ConfigError, match=message):
        compare(config(**changes), tmp_path, "run")
    assert not list(tmp_path.iterdir())


def test_pairs_need_a_flow_or_names(tmp_path):
    found = config(**{"compare.pairs": ()})
    found["laws"].pop("flow")
    with pytest.raises(dynamics.ConfigError, match=r"when none of the laws, .* is called flow"):
        Comparison.from_config(found)
    assert ("gd", "flow") in Comparison.from_config(config(**{"compare.pairs": ()})).pairs


def test_the_command_refuses(tmp_path, capsys):
    file = "configs/cooccurrence/compare_laws.py:smoke"
    arguments = [f"--config={file}", f"--workdir={tmp_path}", "--config.compare.seeds=0"]
    assert dynamics.cli.main(["dynamics", "compare", *arguments]) == 2
    assert capsys.readouterr().err == "dynamics: compare.seeds = 0: must be at least 1\n"
    assert dynamics.cli.main(["dynamics", "compare", *arguments[:2], "--config.compare.claims=no.such"]) == 2
    assert "compare.claims = 'no.such': must be a module" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
