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

VOCABULARY, WIDTH, SIGMA, SIZE = 7, 2.0**40, 1e-4, 20.0  # σ0 and S
TASK = ExactlyOne(samples=60, length=4, vocabulary=VOCABULARY)


def at_the_best_word_count():
    """The objective in Gram variables, the start at the best word count with C_K = C_Q = σ0² m, and theory.escape."""
    counts, label = theory.training_counts(TASK, seed=3)
    best = theory.best_word_count(counts, label, np.full(TASK.samples, 1 / TASK.samples))
    batch = TASK.training_set(named_keys(3)["data"])
    objective = Objective(GramModel(VOCABULARY, 2, 1, "float64"), {"width": jnp.array(WIDTH)}, batch, "logistic")
    scores = SIGMA**2 * WIDTH * jnp.eye(VOCABULARY)[None]
    params = {
        "A": jnp.zeros((1, VOCABULARY, VOCABULARY)),
        "G": jnp.asarray(best.values)[None],
        "S": jnp.array(SIZE),
        "C_V": jnp.zeros((1, VOCABULARY, 1, VOCABULARY)),
        "C_K": scores,
        "C_Q": scores,
    }
    return objective, params, theory.escape(counts, label, best.values)


def test_the_distribution_in_closed_form():
    """The stationary point is F = b, −b, −3b with q = exp(−b) the root of 3q³ − q² + q = 1; half is wrong."""
    best = theory.best_of_the_distribution()
    roots = np.roots([3, -1, 1, -1])
    q = float(roots[np.abs(roots.imag) < 1e-12].real[0])
    assert best.values == pytest.approx(-np.log(q) * np.array([1, -1, -3]), abs=1e-7)
    assert best.loss == pytest.approx((np.log1p(1 / q) + np.log1p(q**3)) / 2, abs=1e-12)
    assert best.error == pytest.approx(1 / 6 + 1 / 3)


def test_the_best_word_count_is_the_shortest_minimum():
    """No entry of the gradient is left, and G has no part in the direction that moves no output."""
    objective, params, plateau = at_the_best_word_count()
    assert np.abs(jax.grad(objective.loss)(params)["G"]).max() < 1e-8
    counts, _ = theory.training_counts(TASK, seed=3)
    assert np.abs(counts @ plateau.direction).max() < 1e-14
    assert abs(float(params["G"][0] @ plateau.direction)) < 1e-8


def test_labels_that_word_counts_separate_have_no_best():
    with pytest.raises(ValueError, match="no best G"):
        theory.best_word_count(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([-1.0, 1.0]), np.full(2, 0.5))


def test_the_slopes_in_the_scores():
    """M̃0 and its change with g, against derivatives of the model."""
    objective, params, plateau = at_the_best_word_count()

    def slope(g):
        moved = {**params, "G": params["G"] + g * plateau.direction[None]}
        return -np.sqrt(WIDTH) * np.asarray(jax.grad(objective.loss)(moved)["A"][0])

    assert plateau.slope == pytest.approx(slope(0.0), abs=1e-12)
    change = slope(1.0) - slope(0.0)
    assert plateau.rate == pytest.approx(np.linalg.norm(change), rel=1e-9)
    assert plateau.offset == pytest.approx(np.sum(change * slope(0.0)) / np.sum(change**2), rel=1e-9)


def test_values_and_scores_grow_together_as_the_theory_says():
    """The law g(t) + g* = g* cosh(r t) from the best word count, until S no longer dominates."""
    objective, params, plateau = at_the_best_word_count()
    r = SIGMA * plateau.rate * np.sqrt(2 * SIZE)
    times = jnp.linspace(0.0, 1.5, 4) / r
    law = dynamics.GramFlow(rtol=1e-6, atol=1e-12, solver="rkc2")
    probes = lambda params: {"G": params["G"][0]}  # noqa: E731
    path = jax.jit(law, static_argnums=3)(objective, params, times, probes, jax.random.key(0))
    g = np.asarray(path.probes["G"]) @ plateau.direction
    assert abs(plateau.offset) > 0.1
    assert (g + plateau.offset) / plateau.offset == pytest.approx(np.cosh(r * np.asarray(times)), rel=0.03)


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
    assert (true.inputs == other.inputs).all() and int(true.targets.sum()) == int(other.targets.sum()) == -20
    assert (true.targets != other.targets).any()
    assert (TASK.sample(key, 50).targets == shuffled.sample(key, 50).targets).all()


def test_fresh_error_counts_wrong_signs():
    """The constant output −1 is wrong on the third of the fresh samples with y = +1."""
    objective, params, _ = at_the_best_word_count()
    constant = {**params, "G": jnp.full((1, VOCABULARY), -1.0)}
    evaluation = TASK.evaluation_set(jax.random.key(0), TASK.evaluation)
    view = View(objective, Survey.of(TASK, objective.batch, evaluation), constant, VOCABULARY)
    positive = float((view.survey.evaluation.targets == 1).mean())
    assert float(evaluator(("fresh_error",), view)(constant)["fresh_error"]) == positive
    assert 0.28 < positive < 0.38
