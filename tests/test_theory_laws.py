"""Fitted orders and exact equalities between the laws, and conserved quantities of the flow."""

import inspect

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.analysis.invariants import relative_drift
from dynamics.laws import LAWS, Law
from dynamics.laws.law import observer
from dynamics.models import gram_invariants
from experiments.cooccurrence import controls  # noqa: F401  (two more laws)


def distance(a, b):
    return float(jnp.sqrt(sum(jnp.sum((x - y) ** 2) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))))


ETAS = (0.02, 0.01, 0.005)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_inherits_from_abstract_classes_only(name):
    assert not inspect.isabstract(LAWS[name])
    for parent in LAWS[name].__mro__[1:]:
        assert not issubclass(parent, Law) or inspect.isabstract(parent), parent


@pytest.fixture(scope="module")
def flow(small, follow):
    return follow(dynamics.GradientFlow("dopri8", 1e-12, 1e-14), small, [0.0, 1.0])


@pytest.fixture(scope="module")
def descents(small, follow):
    return {eta: follow(dynamics.GradientDescent(eta), small, [0.0, 1.0]) for eta in ETAS}


def test_descent_leaves_the_flow_at_first_order(flow, descents):
    errors = [distance(descents[eta].params, flow.params) for eta in ETAS]
    ratios = np.divide(errors[:-1], errors[1:])
    assert ((ratios > 1.9) & (ratios < 2.1)).all(), ratios


def conserved(experiment, params):
    _, objective = experiment.start
    return objective.apply(params, method="conserved")


def drift(experiment, params):
    return np.asarray(relative_drift(conserved(experiment, params), conserved(experiment, experiment.start[0])))


def test_flow_conserves(small, flow):
    assert (drift(small, flow.params) < 1e-11).all()


def test_descent_drifts_at_first_order(small, descents):
    first, second, third = (drift(small, descents[eta].params) for eta in ETAS)
    for ratio in (first[:2] / second[:2], second[:2] / third[:2]):
        assert ((ratio > 1.9) & (ratio < 2.1)).all(), ratio
    # The gradient of W is along a: no law changes the part of W orthogonal to a.
    assert (third[2] < 1e-14) and (first[2] < 1e-14)


def test_gram_invariants_are_those_of_the_weights(small, descents):
    """The four numbers from the Gram matrices equal traces and norms of the m × m matrices, at any parameters."""
    params = descents[ETAS[0]].params
    _, objective = small.start
    a = objective.constants["a"]
    value, attention, orthogonal = (balance.term - balance.other for balance in conserved(small, params))
    along = value - orthogonal.T @ orthogonal  # WᵀW = uuᵀ/m1 + the orthogonal part's Gram matrix
    m1 = len(a)
    expected = [m1 * jnp.trace(along), jnp.sum(along**2), jnp.trace(attention[0]), jnp.sum(attention[0] ** 2)]
    measured = gram_invariants(objective.apply(params, method="gram"), m1)
    np.testing.assert_allclose(measured, expected, rtol=1e-10)


def test_euler_is_descent(small, descents):
    params, objective = small.start
    velocity = diffrax.ODETerm(lambda t, p, args: jax.tree.map(jnp.negative, jax.grad(objective.loss)(p)))
    euler = diffrax.diffeqsolve(velocity, diffrax.Euler(), 0.0, 1.0, ETAS[0], params)
    assert distance(jax.tree.map(lambda x: x[-1], euler.ys), descents[ETAS[0]].params) < 1e-13


def test_sgd_with_every_sample_is_gd(small, follow):
    times = [0.0, 0.5, 2.0]
    sgd = follow(dynamics.StochasticGradientDescent(0.05, 12), small, times)
    gd = follow(dynamics.GradientDescent(0.05), small, times)
    jax.tree.map(np.testing.assert_array_equal, sgd.params, gd.params)


def test_minibatches_follow_the_key(small, follow):
    times = [0.0, 0.5, 2.0]
    law = dynamics.StochasticGradientDescent(0.05, 4)
    one, again, other = (follow(law, small, times, seed) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one.params, again.params)
    assert distance(one.params, other.params) > 1e-3


def test_minibatch_gradient_is_unbiased(small):
    """The mean gradient over all minibatches of one sample is the full one; over many draws, to standard errors."""
    params, objective = small.start
    keys = jax.random.split(jax.random.key(0), 2000)
    for replacement in (False, True):
        losses = jax.vmap(lambda k, r=replacement: objective.minibatch_loss(params, k, 5, r))(keys)
        error = jnp.std(losses) / jnp.sqrt(2000.0)
        assert abs(float(losses.mean() - objective.loss(params))) < 4 * error
    variance = [
        jnp.var(jax.vmap(lambda k, r=r: objective.minibatch_loss(params, k, 5, r))(keys)) for r in (False, True)
    ]
    # Without replacement the variance has the factor (n - B)/(n - 1) = 7/11.
    np.testing.assert_allclose(variance[0] / variance[1], 7 / 11, rtol=0.1)


def test_steps_restart_where_they_stopped(small, follow):
    """Two segments equal one, since step k depends only on θ_k and k."""
    law = dynamics.StochasticGradientDescent(0.05, 4)
    whole = follow(law, small, [0.0, 1.0, 2.0])
    params, objective = small.start
    half = law(objective, params, jnp.array([0.0, 1.0]), lambda p: {}, jax.random.key(0))
    rest = law(objective, half.params, jnp.array([1.0, 2.0]), lambda p: {}, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, rest.params, whole.params)


@pytest.mark.parametrize("solver", ["tsit5", pytest.param("dopri8", marks=pytest.mark.slow)])
def test_default_tolerances_meet_the_bar(small, follow, solver):
    """The relative error of the loss is below 1e-5 at all times, interpolated ones included."""
    times = np.concatenate([[0.0], np.geomspace(0.01, 10.0, 60)])
    exact = follow(dynamics.GradientFlow("dopri8", 1e-11, 1e-13), small, times).probes["loss"]
    loss = follow(dynamics.GradientFlow(solver), small, times).probes["loss"]
    assert np.max(np.abs(loss / exact - 1)) < 1e-5


def test_jitted_or_not(small, follow):
    params, objective = small.start
    law = dynamics.GradientDescent(0.05)
    plain = law(objective, params, jnp.array([0.0, 0.5, 1.0]), lambda p: {"loss": objective.loss(p)}, jax.random.key(0))
    jitted = follow(law, small, [0.0, 0.5, 1.0])
    np.testing.assert_allclose(plain.probes["loss"], jitted.probes["loss"], rtol=1e-13)


def test_learning_rate_scale_and_seed_do_not_compile_again():
    compiled = []

    def listen(event, seconds, **_):
        del seconds
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for eta, sigma in ((0.05, 0.3), (0.025, 0.2)):
            seen = len(compiled)
            # No other test has a program with this number of times.
            changes = {"laws.gd.learning_rate": eta, "init.std": sigma, "seed": int(100 * eta), "times.count": 17}
            dynamics.solve(dynamics.Experiment.from_config(small_config(**changes)), "gd")
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert seen > 0 and len(compiled) == seen


def test_descent_that_diverges_says_when(small, follow):
    """Descent with a huge step ends at the first loss that is not finite, and keeps the values before."""
    trajectory = follow(dynamics.GradientDescent(1e200), small, np.array([0.0, 1.0, 2.0, 5.0, 9.0]) * 1e200)
    assert int(trajectory.outcome) == dynamics.trajectory.NON_FINITE
    assert np.asarray(trajectory.valid).tolist()[0] and not np.asarray(trajectory.valid).tolist()[-1]
    assert float(trajectory.end) == 1e200 * int(trajectory.steps) < 9e200


def test_flow_that_runs_out_of_steps_keeps_what_it_has(small, follow):
    trajectory = follow(dynamics.GradientFlow(max_steps=20), small, np.linspace(0.0, 1000.0, 11))
    assert int(trajectory.outcome) == dynamics.trajectory.OUT_OF_STEPS
    valid = np.asarray(trajectory.valid)
    assert valid[0] and not valid[-1]
    assert np.isfinite(np.asarray(trajectory.probes["loss"])[valid]).all()
    assert 0 < float(trajectory.end) < 1000


@pytest.mark.parametrize(("name", "computed"), [("loss", 0), ("other", 1)])
def test_a_loss_that_is_a_probe_is_not_computed_again(small, monkeypatch, name, computed):
    """Whether it is a probe or not, a loss that is not finite is seen."""
    params, objective = small.start
    infinite = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params)
    computed_losses, loss = [], dynamics.Objective.loss
    observe = observer(objective, lambda params: {name: loss(objective, params) if name == "loss" else jnp.zeros(2)})
    monkeypatch.setattr(dynamics.Objective, "loss", lambda *args: computed_losses.append(1) or loss(*args))
    assert bool(observe(params)[1]) and not bool(observe(infinite)[1])
    assert len(computed_losses) == 2 * computed
