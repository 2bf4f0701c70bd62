"""The probes and statistics of the claims about how a sink emerges, on cases by hand."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from conftest import ROOT

import dynamics
from dynamics.files import load_config
from dynamics.models.attention import Causal
from experiments.sink_vs_diagonal import measures_emergence as measures
from experiments.sink_vs_diagonal.probes import PATTERNS, ROWS, ReLUOverOthers

CONFIG = ROOT / "configs" / "sink_vs_diagonal" / "averaging.py"


@pytest.fixture(scope="module")
def smoke():
    """The probes of the smoke variant under its law."""
    experiment = dynamics.Experiment.from_config(load_config(CONFIG, "smoke").to_dict())
    probes = dynamics.solve(experiment, "adamw").probes
    _, objective, _ = experiment.start_of("adamw")
    return probes, objective.batch


def test_rows_by_kind(smoke):
    """The means of the rows of each kind, from the attention of the samples that are recorded whole."""
    probes, batch = smoke
    trigger = np.asarray(batch.inputs[:8, :, -2] > 0)
    assert (trigger == probes["is_trigger"][0].T).all() and (trigger.sum(axis=1) == 1).all()
    p = probes["attention_shown"][-1]
    np.testing.assert_allclose(p.sum(axis=0), 1, rtol=1e-12)
    added = np.einsum("kqn,kdn->dqn", p, probes["values_shown"][-1])
    np.testing.assert_allclose(added, probes["added_shown"][-1], atol=1e-12)


def test_relu_over_others():
    scores = jnp.array([[2.0, 9.0, 9.0], [1.0, -1.0, 9.0], [4.0, 2.0, 1.0]])
    p = ReLUOverOthers(left_out=1)(scores, Causal()(3))
    np.testing.assert_allclose(p, [[2, 0, 0], [1, 0, 0], [2, 1, 0.5]])
    np.testing.assert_allclose(ReLUOverOthers()(scores, Causal()(3))[2], [4 / 3, 2 / 3, 1 / 3])


def dataset(mass, error=(0.0, 0.0), first_value=0.0):
    """Two seeds, one time; `mass` is {pattern: (trigger, other)}."""
    table = np.array([mass.get(pattern, (0.0, 0.0)) for pattern in PATTERNS])
    seeds = np.stack([table, table + 1e-6])[:, None]
    coordinates = {"pattern": list(PATTERNS), "row": list(ROWS)}
    arrays = {
        "mass": (("seed", "t", "pattern", "row"), seeds),
        "error": (("seed", "t", "row"), np.tile(error, (2, 1, 1))),
        "first_value": (("seed", "t"), np.full((2, 1), first_value) + np.array([[0], [1e-6]])),
    }
    return xarray.Dataset(arrays, coordinates)


GOOD = {"first": (0.01, 0.97), "itself": (0.3, 0.01)}


@pytest.mark.parametrize(
    ("part", "mass", "rest"),
    [
        ("", GOOD, {}),
        ("sink", {**GOOD, "first": (0.01, 0.9)}, {}),
        ("trigger", {**GOOD, "first": (0.1, 0.97)}, {}),
        ("diagonal", {**GOOD, "itself": (0.3, 0.1)}, {}),
        ("value", GOOD, {"first_value": 0.1}),
        ("error", GOOD, {"error": (6e-4, 6e-4)}),
    ],
)
def test_a_sink_emerges(part, mass, rest):
    finding = measures.a_sink_emerges({"one": dataset(mass, **rest)}, "one")
    assert finding.holds is (not part)
    assert [name for name, holds in finding.parts.items() if not holds] == [part] * bool(part)


def test_preferences():
    data = {"one": dataset({"first": (0, 0.2), "itself": (0, 0.9)}), "other": dataset({"first": (0, 0.9)})}
    np.testing.assert_allclose(measures.preference(data, "one"), 0.7)
    assert measures.prefers("diagonal", 0.5)(data, "one").holds and not measures.prefers("sink", 0.2)(data, "one").holds
    assert measures.prefers("sink", 0.2)(data, "other").holds
    np.testing.assert_allclose(measures.preference(data, "other"), -0.9)


def trajectories(values, attention, added):
    """One seed, one time, one sample."""
    arrays = {
        "values_shown": (("key_position", "coordinate"), np.asarray(values, float)),
        "attention_shown": (("key_position", "query_position"), np.asarray(attention, float).T),
        "added_shown": (("query_position", "coordinate"), np.asarray(added, float)),
    }
    return xarray.Dataset(arrays).expand_dims(("seed", "t", "sample_shown"))


def test_rows_inside_and_outside():
    """A sink with the value (0, 1), and two other tokens; the last row has 0.5 on the sink and reads what it says."""
    values, attention = [[0, 1], [2, 0], [0, 3]], [[1, 0, 0], [0.9, 0.1, 0], [0.5, 0.25, 0.25]]
    right = [[0, 1], [0.2, 0.9], [0.5, 1.25]]
    data = {"one": trajectories(values, attention, right)}
    assert measures.a_switch()(data, "one").holds
    # ‖o − a_s v_s‖ is at least 0.5/√2 · 2 = 0.707 and at most 1.5 in the last row.
    for wrong, holds in (([0.71, 0.5], True), ([0.70, 0.5], False), ([1.49, 0.5], True), ([1.51, 0.5], False)):
        data = {"one": trajectories(values, attention, [*right[:2], wrong])}
        assert measures.a_switch()(data, "one").holds is holds
    assert measures.a_switch(corrected=False)({"one": trajectories(values, attention, right)}, "one").holds is False


def test_a_sink_that_is_no_position():
    """All three tokens count, and what is missing to 1 is the sink's."""
    data = {
        measures.LOGIT: trajectories(np.eye(3), [[0.1, 0, 0], [0.1, 0.1, 0], [0.2, 0.2, 0.2]], 0.2 * np.eye(3)[::-1])
    }
    masses = [float(row.mass.squeeze()) for row in measures.rows(data, measures.LOGIT)]
    np.testing.assert_allclose(masses, [0.2, 0.6])


def test_every_case_of_the_claims_is_a_variant():
    module = importlib.import_module("experiments.sink_vs_diagonal.claims_emergence")
    for case in module.CASES.values():
        dynamics.Experiment.from_config(case.config().to_dict())
    for name, alignment in (("skip", 0.6), ("additive, α = 0", 0.0), ("skip, α = 0.3", 0.3)):
        assert module.CASES[name].config().task.alignment == alignment


def test_the_mean_on_the_first_token_beside_others():
    """Of four rows the third counts: row 1 sees the first token and itself alone, and row 3 is that of the trigger."""
    on_first = np.array([[1.0, 0.9, 0.4, 0.2]])  # [sample, query]
    attention = np.concatenate([on_first.T[None], np.zeros((3, 4, 1))])  # [key, query, sample]
    arrays = {
        "attention_shown": (("key_position", "query_position", "sample_shown"), attention),
        "is_trigger": (("query_position", "sample_shown"), np.array([[0.0], [0], [0], [1]])),
    }
    data = {"one": xarray.Dataset(arrays).expand_dims(("seed", "t"))}
    np.testing.assert_allclose(measures.on_first_beside_others(data, "one"), [0.4])
