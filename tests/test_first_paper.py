"""What the first paper's claims measure, on values that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from conftest import small_config

import dynamics
from dynamics.probes import View, evaluator
from experiments.cooccurrence import measures, optimizer_claims, probes  # noqa: F401  (registers score_table)
from experiments.cooccurrence.theory import SCORES, SIGNALS, score_signs, signed

T = np.array([0.0, 1.0, 3.0, 4.0])
WORDS = ["μ1", "μ2", "μ3", "μ4", "μ5", "μ6"]


def matrix(changes):
    """[t, key, query]: entries that grow linearly in t, by so much a unit, all others constant."""
    values = np.zeros((len(T), len(WORDS), len(WORDS)))
    for (key, query), slope in changes.items():
        values[:, WORDS.index(key), WORDS.index(query)] = slope * T
    return ("t", "key", "query"), values


def runs(changes, margin=(-1.0, -1.0, 3.0, 5.0)):
    """One run [width, seed], whose margin is given."""
    dims, values = matrix(changes)
    velocity = np.gradient(values, T, axis=0)
    data = xr.Dataset(
        {"margin": ("t", np.array(margin)), "scores": (dims, values), "scores_velocity": (dims, velocity)},
        {"t": T, "key": WORDS, "query": WORDS},
    )
    table = data.scores.isel(t=[0, -1]).rename(t="checkpoint", key="any_key", query="any_query")
    return data.assign(score_table=7 + table).expand_dims(width=[64], seed=[0])


def test_signs_of_the_theorem():
    assert score_signs(*SIGNALS) == SCORES
    values = runs({("μ2", "μ1"): 2.0, ("μ3", "μ2"): 5.0}).scores.isel(t=-1, width=0, seed=0)
    assert signed(values, SCORES).values.tolist() == [8.0, 0.0, 0.0, -20.0]


def test_t1_lies_between_saved_times():
    data = runs({})
    assert measures.t1(data).values == 1.5 and measures.saved_t1(data).values == 3.0
    never = runs({}, (-1.0, 1.0, 1.0, -1.0))
    assert np.isnan(measures.t1(never)).all() and np.isnan(measures.saved_t1(never)).all()


@pytest.mark.parametrize("pair", SCORES)
def test_every_sign_matters(pair):
    """The claim holds when all four scores move as stated, and fails when one moves the other way."""
    stated = {key: float(sign) for key, sign in SCORES.items()}
    data = {"stated": runs(stated), "other": runs({**stated, pair: -stated[pair]})}
    words = dict(zip(SIGNALS, ("μ4", "μ5", "μ6"), strict=True))
    data["random words"] = runs({(words[key], words[query]): sign for (key, query), sign in stated.items()})
    for measure in (measures.scores_move, optimizer_claims._scores_move, optimizer_claims._scores_end):
        assert [measure(data, case).holds for case in data] == [True, False, False]
    for measure in (optimizer_claims._others_move, optimizer_claims._others_end):
        assert [measure(data, case).holds for case in data] == [False, False, True]


def test_coefficients_are_changes_between_checkpoints():
    changes = {("μ2", "μ1"): 1.0, ("μ1", "μ2"): 2.0, ("μ3", "μ1"): -4.0, ("μ3", "μ2"): -5.0, ("μ5", "μ1"): -1.5}
    data = {"one": runs(changes)}
    change = measures.score_change(data["one"])
    assert change.dims == ("width", "seed", "key", "query")
    assert float(change.sel(key="μ3", query="μ2").squeeze()) == -20.0
    shown = measures.common_order(data, "one")
    assert shown.holds and "largest over smallest: 5 to 5" in shown.measured
    # 1.5 of a random word over the mean (1 + 2 + 4 + 5) / 4 of the signals.
    assert not measures.random_words(data, "one").holds
    assert "share: 0.5 to 0.5" in measures.random_words(data, "one").measured


def test_the_score_table_is_that_of_the_weights():
    experiment = dynamics.Experiment.from_config(small_config())
    params, objective, survey = experiment.drawn
    view = View(objective, survey, params, experiment.words)
    table = jax.jit(lambda: evaluator(("score_table",), view)(params))()["score_table"]
    np.testing.assert_allclose(table, jnp.asarray(params["W_K"]).T @ params["W_Q"], rtol=1e-12, atol=1e-14)
