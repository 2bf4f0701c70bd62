"""Exactly-one: what word counts can do in closed form, and the growth of the scores on their plateau."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import dynamics
from dynamics.models import GramModel
from dynamics.objectives.objective import Objective
from dynamics.probes import Survey, View, evaluator
from dynamics.runs.starts import named_keys
from experiments.cooccurrence.xor import ExactlyOne, ShuffledExactlyOne
from experiments.xor import measures, theory

VOCABULARY, WIDTH = 7, 2.0**30
TASK = ExactlyOne(samples=60, length=4, vocabulary=VOCABULARY)


def at_the_best_word_count(sigma):
    """The objective in Gram variables, and the start at the best word count with C_K = C_Q = σ0² m."""
    counts, label = theory.training_counts(TASK, seed=3)
    best = theory.best_word_count(counts, label, 1 / TASK.samples)
    batch = TASK.training_set(named_keys(3)["data"])
    objective = Objective(GramModel(VOCABULARY, 2, 1, "float64"), {"width": jnp.array(WIDTH)}, batch)
    size = sigma**2 * WIDTH * jnp.eye(VOCABULARY)[None]
    params = {
        "A": jnp.zeros((1, VOCABULARY, VOCABULARY)),
        "G": jnp.asarray(best.values)[None],
        "S": jnp.array(20.0),
        "C_V": jnp.zeros((1, VOCABULARY, 1, VOCABULARY)),
        "C_K": size,
        "C_Q": size,
    }
    return objective, params, theory.score_slope(counts, label, best.values)


def test_the_distribution_in_closed_form():
    """The stationary point is F = b, −b, −3b with q = exp(−b) the root of 3q³ − q² + q = 1; half is wrong."""
    best = theory.best_of_the_distribution()
    roots = np.roots([3, -1, 1, -1])
    q = float(roots[np.abs(roots.imag) < 1e-12].real[0])
    assert best.values == pytest.approx(-np.log(q) * np.array([1, -1, -3]), abs=1e-7)
    assert best.loss == pytest.approx((np.log1p(1 / q) + np.log1p(q**3)) / 2, abs=1e-12)
    assert best.error == pytest.approx(1 / 6 + 1 / 3)


def test_the_best_word_count_is_the_shortest_minimum():
    objective, params, _ = at_the_best_word_count(0.1)
    assert np.abs(jax.grad(objective.loss)(params)["G"]).max() < 1e-8
    counts, label = theory.training_counts(TASK, seed=3)
    best = theory.best_word_count(counts, label, 1 / TASK.samples)
    assert float(objective.loss(params)) == pytest.approx(best.loss, abs=1e-12)
    # Every sample holds μ3 once and L − 1 other words: one direction of G moves no output, and G has no part in it.
    idle = np.ones(VOCABULARY)
    idle[2] = 1 - TASK.length
    assert np.abs(counts @ idle).max() == 0
    assert abs(best.values @ idle) < 1e-8


def test_labels_that_word_counts_separate_have_no_best():
    with pytest.raises(ValueError, match="no best G"):
        theory.best_word_count(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([-1.0, 1.0]), 0.5)


def test_the_slope_in_the_scores():
    objective, params, slope = at_the_best_word_count(0.1)
    gradient = np.asarray(jax.grad(objective.loss)(params)["A"][0])
    assert np.abs(slope + np.sqrt(WIDTH) * gradient).max() < 1e-14 + 1e-12 * np.abs(slope).max()
    assert np.linalg.norm(slope, 2) > 1e-3


def test_scores_grow_on_the_plateau_as_the_theory_says():
    """kᵀBq = κ sinh(2 s t/√m), for singular vectors k, q of M̃, as long as B is small."""
    sigma = 1e-5  # κ = 3e-6
    objective, params, slope = at_the_best_word_count(sigma)
    kappa = sigma**2 * np.sqrt(WIDTH)
    key, (s, *_), query = np.linalg.svd(slope)
    times = jnp.linspace(0.0, 3.0, 7) * float(np.sqrt(WIDTH) / (2 * s))
    law = dynamics.GramFlow(rtol=1e-8, atol=1e-14, solver="rkc2")
    probes = lambda params: {"score": key[:, 0] @ params["A"][0] @ query[0] / jnp.sqrt(WIDTH)}  # noqa: E731
    path = jax.jit(law, static_argnums=3)(objective, params, times, probes, jax.random.key(0))
    expected = kappa * np.sinh(2 * s * np.asarray(times) / np.sqrt(WIDTH))
    assert np.asarray(path.probes["score"]) == pytest.approx(expected, rel=1e-3)


def test_escape_is_interpolated_in_log_t():
    t = np.array([0.0, 1.0, 4.0, 16.0])
    loss = np.array([[0.7, 0.5, 0.3, 0.2], [0.7, 0.6, 0.5, 0.4], [0.2, 0.1, 0.1, 0.1]])
    data = xr.Dataset({"loss": (("seed", "t"), loss)}, {"t": t})
    times = measures.escape_time(data).values
    assert times[0] == pytest.approx(8.0)
    assert np.isnan(times[1:]).all()


def test_shuffled_labels_are_those_of_exactly_one_in_another_order():
    key = jax.random.key(5)
    shuffled = ShuffledExactlyOne(samples=60, length=4, vocabulary=VOCABULARY)
    true, other = TASK.training_set(key), shuffled.training_set(key)
    assert (true.tokens == other.tokens).all() and int(true.label.sum()) == int(other.label.sum()) == -20
    assert (true.label != other.label).any()
    assert (TASK.sample(key, 50).label == shuffled.sample(key, 50).label).all()


def test_fresh_error_counts_wrong_signs():
    """The constant output −1 is wrong on the third of the fresh samples with y = +1."""
    objective, params, _ = at_the_best_word_count(0.1)
    constant = {**params, "G": jnp.full((1, VOCABULARY), -1.0)}
    view = View(objective, Survey.of(TASK, objective.batch, fresh=True), constant, VOCABULARY)
    positive = float((view.survey.fresh.label == 1).mean())
    assert float(evaluator(("fresh_error",), view)(constant)["fresh_error"]) == positive
    assert 0.28 < positive < 0.38
