"""Comparisons against single solves, fitted orders on exact power laws, and what is refused."""

import html
import re

import ml_collections
import numpy as np
import pytest
from conftest import small_config

import dynamics
import dynamics.cli
from dynamics.analysis.fits import order, weighted_order
from dynamics.report.page import page
from dynamics.studies.comparison import distances, pairs_of, sweep_of
from dynamics.studies.tables import tables
from dynamics.sweeps.paths import plan

STEPS = (0.04, 0.02, 0.01)


def config(**changes):
    values = small_config(**{"probes": ("loss", "margin", "output", "parameters"), "checkpoints": 1})
    values["laws"] = {
        "flow": {"name": "flow", "rtol": 1e-9, "atol": 1e-11},
        "modified_flow": {"name": "modified_flow", "rtol": 1e-9, "atol": 1e-11, "learning_rate": 0.04},
        "gd": {"name": "gd", "learning_rate": 0.04},
        "sgd": {"name": "sgd", "learning_rate": 0.04, "batch_size": 4},
        "whole": {"name": "sgd", "learning_rate": 0.04, "batch_size": 12},
        "warm": {"name": "gd", "learning_rate": 0.04, "schedule": {"name": "constant", "warmup": 4}},
    }
    values["times"] = {**values["times"], "spacing": "linear", "stop": 0.8, "count": 4}
    pairs = (
        ("gd", "modified_flow"),
        ("modified_flow", "flow"),
        ("gd", "flow"),
        ("sgd", "flow"),
        ("whole", "gd"),
        ("warm", "flow"),
    )
    values["compare"] = {**values["compare"], "pairs": pairs, "steps": STEPS, "seeds": 2, "draws": 3}
    for key, value in changes.items():
        *path, last = key.split(".")
        node = values
        for part in path:
            node = node[part]
        node[last] = value
    return ml_collections.ConfigDict(values)


def wild_config():
    """A step at which descent diverges."""
    wild = config(**{"compare.steps": (10.0, 1.0, 0.5), "compare.pairs": (("gd", "flow"),), "times.stop": 2000.0})
    wild.probes = ("loss", "output")
    wild.laws = {name: wild.laws[name] for name in ("flow", "gd")}
    return wild


def one_step_config():
    few = config(**{"compare.steps": (0.04,), "compare.pairs": (("gd", "flow"),)})
    few.laws = {name: few.laws[name] for name in ("flow", "gd")}
    return few


def compared(folder, function, code=0):
    """The record of `dynamics compare` with the config that a function of this module makes."""
    file = folder / "mine.py"
    file.write_text(f"from test_compare import {function} as get_config\n")
    arguments = [f"--config={file}", f"--workdir={folder}/runs", "--name=run", "--no-report"]
    assert dynamics.cli.main(["dynamics", "compare", *arguments]) == code
    return dynamics.load(folder / "runs" / "run")


def nothing_to_classify_config():
    few = one_step_config()
    few.probes = ("loss", "mlp", "drift")
    return few


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("compare"), "config")


def single(law, seed, step, draw=None):
    """One path by itself, as any run integrates it."""
    changes = {"seed": seed, "step": step, "draw": draw, "times.multiple_of": max(STEPS)}
    return dynamics.solve(dynamics.Experiment.from_config(config(**changes).to_dict()), law)


def test_shape(record):
    assert record.kind == "compare" and {entry.state for entry in record.entries.values()} == {"done"}
    assert pairs_of(record) == [tuple(pair) for pair in config().compare.pairs]
    assert record["flow"].loss.dims == ("seed", "t") and record["gd"].loss.dims == ("seed", "step", "t")
    assert record["sgd"].output.dims == ("seed", "step", "draw", "t", "sample")
    assert record["gd"].parameters.dims == ("seed", "step", "checkpoint", "parameter")
    assert "parameters" not in record["sgd"]
    of_descent, of_noise = distances(record, "gd", "flow"), distances(record, "sgd", "flow")
    assert of_descent.loss.dims == of_noise.loss.dims == ("seed", "step", "t")
    assert of_descent.parameters.dims == ("seed", "step", "checkpoint") and "parameters" not in of_noise
    assert distances(record, "modified_flow", "flow").loss.dims == ("seed", "step", "t")
    np.testing.assert_allclose(record["gd"].step, sorted(STEPS))
    assert (record["sgd"].status == "done").all() and (record["sgd"].end == 0.8).all()


def test_the_times_that_a_schedule_reached_are_no_probe(record):
    """They are beside the probes of every path, and are not compared."""
    reached = record["warm"].reached
    assert reached.dims == ("seed", "step", "t") and "reached" not in record["gd"]
    assert (np.abs(reached - reached.t) <= reached.step / 2 + 1e-12).all() and (reached != reached.t).any()
    of_itself = distances(record, "warm", "warm")
    assert "loss" in of_itself and "reached" not in of_itself


def test_every_path_is_integrated_once(record):
    """The flow does not depend on the step, and only random laws on the draw."""
    of_law = {law: {paths[law] for paths in record.members.paths.values()} for law in record.laws}
    counts = {"flow": 2, "modified_flow": 2 * 3, "gd": 2 * 3, "sgd": 2 * 3 * 3, "whole": 2 * 3 * 3, "warm": 2 * 3}
    assert {law: len(paths) for law, paths in of_law.items()} == counts


def test_paths_are_single_solves(record):
    alone = single("gd", 1, 0.02)
    np.testing.assert_allclose(record["gd"].sel(seed=1, step=0.02).loss, alone.probes["loss"], rtol=1e-12)


def test_distances_of_parameters_are_those_of_single_solves(record):
    alone, other = single("gd", 1, 0.02), single("flow", 1, 0.02)
    there, here = alone.at_checkpoints["parameters"], other.at_checkpoints["parameters"]
    assert len(there) == 2 and (there[0] == here[0]).all()
    gap = np.linalg.norm(there - here, axis=1)
    size = np.maximum.accumulate(np.linalg.norm(here, axis=1))
    seen = distances(record, "gd", "flow").sel(seed=1, step=0.02).parameters
    assert 1e-4 < seen[-1] < 0.1
    np.testing.assert_allclose(seen, gap / size, rtol=1e-6, atol=1e-13)


def test_draws_are_single_runs(record):
    for draw in (0, 2):
        alone = single("sgd", 0, 0.01, draw)
        path = record["sgd"].sel(seed=0, step=0.01, draw=draw)
        np.testing.assert_allclose(path.loss, alone.probes["loss"], rtol=1e-12)
    assert len(np.unique(record["sgd"].sel(seed=0, step=0.01).loss.isel(t=-1))) == 3


def test_means_and_variances(record):
    paths, exact = record["sgd"].load(), record["flow"].load()
    norm = np.sqrt((exact.output**2).sum("sample"))
    size = norm.copy(data=np.maximum.accumulate(norm.values, axis=1))
    mean = np.sqrt(((paths.output.mean("draw") - exact.output) ** 2).sum("sample")) / size
    variance = paths.output.var("draw", ddof=1).sum("sample") / size**2
    pair = distances(record, "sgd", "flow")
    np.testing.assert_allclose(pair.output, mean.transpose(*pair.output.dims), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(pair.output_variance, variance.transpose(*pair.output.dims), rtol=1e-12, atol=1e-20)
    np.testing.assert_allclose(pair.output_error, np.sqrt(pair.output_variance / 3), rtol=1e-12)


def test_every_sample_in_every_minibatch_is_descent(record):
    assert float(distances(record, "whole", "gd").output.max()) < 1e-13
    assert float(distances(record, "sgd", "flow").output.max()) > 1e-3


def test_orders_in_the_table(record):
    by_step, events = tables(record)
    rows = {row[:3]: row[4] for row in by_step.rows}
    assert 0.9 < float(rows["gd", "flow", "parameters"].split()[0]) < 1.1
    assert 1.8 < float(rows["gd", "modified_flow", "parameters"].split()[0]) < 2.2
    assert len(events.rows) == 1 + 5 * len(STEPS)
    assert "| gd | flow | parameters |" in by_step.markdown()


def test_show(record, capsys):
    assert dynamics.cli.main(["dynamics", "show", str(record.path)]) == 0
    shown = capsys.readouterr().out
    assert "18 members, 18 done" in shown and "order in the step" in shown


def test_its_page(record):
    """Every cell of its tables, and the curves of every distance, whose last values are those of the record."""
    text = html.unescape(page([record]))
    for table in tables(record):
        for row in table.rows:
            assert "".join(f"<td>{cell}</td>" for cell in row[1:]) in text
    for law, reference in pairs_of(record):
        for probe in ("output", "loss"):
            last = distances(record, law, reference)[probe].isel(t=-1)
            for step in last.step.values if "step" in last.dims else ():
                mean = float(last.sel(step=step).mean())
                assert re.search(
                    rf"distance in {probe} of {law} from {reference} [^>]*step {step:g}: \S+ to {mean:.4g}", text
                )


def test_an_unstable_step_harms_no_other(tmp_path):
    """η = 10 diverges; the same laws at the other steps are what they are by themselves."""
    record = compared(tmp_path, "wild_config")
    gd = record["gd"].load()
    wild, others = gd.sel(step=10.0), gd.sel(step=[1.0, 0.5])
    assert (wild.status == "diverged").all() and ((wild.end > 0) & (wild.end < 2000)).all()
    assert np.isnan(wild.loss[:, -1]).all()
    assert (others.status == "done").all() and np.isfinite(others.loss).all()
    member = wild_config()
    member.step, member.times.multiple_of = 1.0, 10.0
    alone = dynamics.solve(dynamics.Experiment.from_config(member.to_dict()), "gd")
    np.testing.assert_allclose(gd.loss.sel(seed=0, step=1.0), alone.probes["loss"], rtol=1e-11)
    reasons = [entry.reason for entry in record.entries.values() if entry.state == "diverged"]
    assert len(reasons) == 2
    assert all(reason.startswith("gd: the loss stopped being finite at t = ") for reason in reasons)
    by_step, events = tables(record)
    assert [row[-1] for row in events.rows] == ["0", "2", "0", "0"]
    assert {row[-1] for row in by_step.rows} == {"no slope: 2 values of the step are finite"}


def test_order_of_a_power_law():
    steps = np.array([0.1, 0.2, 0.4, 0.8])
    scale = np.array([[1.0], [3.0], [0.5]])
    fit = order(steps, scale * steps**2)
    np.testing.assert_allclose(fit[:3], [2, 2, 2], rtol=1e-12)
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
    fit = order(steps, np.sqrt(np.stack([steps, 2 * steps]) ** 2 + error**2), error)
    np.testing.assert_allclose(fit.slope, 1, rtol=1e-12)


def test_weighted_order():
    """The estimate with the smallest relative error counts; the interval covers the truth about as often as it says."""
    steps, random = np.array([1.0, 2.0, 4.0, 8.0]), np.random.default_rng(1)
    np.testing.assert_allclose(weighted_order(steps, 3 * steps, 0.1 * steps).slope, 1, rtol=1e-12)
    errors = 0.05 * np.sqrt(steps)
    fits = [weighted_order(steps, steps + errors * random.normal(size=4), errors) for _ in range(500)]
    assert 0.93 < np.mean([fit.low < 1 < fit.high for fit in fits]) < 0.97
    assert weighted_order(steps, steps - 2, errors).low > 1  # a negative value is a value


def test_one_value_has_no_slope(tmp_path):
    by_step, _ = tables(compared(tmp_path, "one_step_config"))
    assert {row[4] for row in by_step.rows} == {"no slope: 1 value of the step"}


def test_all_probes_have_distances_and_nothing_has_no_table(tmp_path):
    (by_step,) = tables(compared(tmp_path, "nothing_to_classify_config"))
    assert [row[2] for row in by_step.rows] == ["loss", "mlp"]


LINES = {
    "a pair of nobody": (
        {"compare.pairs": (("gd", "nobody"),)},
        "compare.pairs = 'nobody': must be among the laws, flow, gd, modified_flow, sgd, warm, whole",
    ),
    "a pair of three": ({"compare.pairs": (("gd", "flow", "sgd"),)}, r"compare.pairs = .* must be \(law, reference\)"),
    "steps": ({"compare.steps": (0.1, 0.1)}, r"compare.steps = \(0.1, 0.1\): must be positive and different"),
    "steps that are no numbers": ({"compare.steps": ("a",)}, r"compare.steps\[0\] = 'a': must be a finite number"),
    "no seeds": ({"compare.seeds": 0}, "compare.seeds = 0: must be at least 1"),
    "one draw": ({"compare.draws": 1}, "compare.draws = 1: must be at least 2, since laws.sgd is random"),
    "no tolerance": ({"compare.tolerance": 0.0}, "compare.tolerance = 0.0: must be positive"),
    "an unknown key": ({"compare.nosuch": 1}, "compare.nosuch = 1: unknown key"),
    "no common start": (
        {"init.draw": "gram"},
        "init.draw = 'gram': must be 'weights': laws.flow moves weights",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_refused(case):
    changes, message = LINES[case]
    with pytest.raises(dynamics.ConfigError, match=message):
        plan({"": sweep_of("small", config(**changes))})


def test_a_step_that_does_not_divide_the_largest_is_refused():
    with pytest.raises(dynamics.ConfigError, match=r"compare.steps = 0.03: must divide the largest step, 0.04"):
        sweep_of("small", config(**{"compare.steps": (0.04, 0.03), "compare.seeds": 1}))


def test_pairs_need_a_flow_or_names():
    values = config(**{"compare.pairs": ()})
    sweep_of("small", values)
    values.laws = {name: law for name, law in values.laws.items() if name != "flow"}
    with pytest.raises(dynamics.ConfigError, match=r"when none of the laws, .* is called flow"):
        sweep_of("small", values)


def test_the_command_refuses(tmp_path, capsys):
    file = "configs/cooccurrence/compare_laws.py:smoke"
    arguments = [f"--config={file}", f"--workdir={tmp_path}", "--config.compare.seeds=0"]
    assert dynamics.cli.main(["dynamics", "compare", *arguments]) == 2
    assert capsys.readouterr().err == "dynamics: compare.seeds = 0: must be at least 1\n"
    assert dynamics.cli.main(["dynamics", "compare", *arguments[:2], "--config.compare.claims=no.such"]) == 2
    assert "compare.claims = 'no.such': must be a module" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
