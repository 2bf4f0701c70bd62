"""Minibatches and weight decay of every descent; Nesterov, normalised descent and flow, and Muon."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ALL
from jax.flatten_util import ravel_pytree

import dynamics
from dynamics.laws import (
    LAWS,
    Adam,
    Descent,
    GradientDescent,
    GradientFlow,
    GramGradientDescent,
    GramStochasticGradientDescent,
    HeavyBall,
    Muon,
    Nesterov,
    NormalisedFlow,
    NormalisedGradientDescent,
    Optimizer,
    RMSProp,
    StochasticGradientDescent,
)
from dynamics.laws.law import Stretch

DESCENTS = {name: law for name, law in LAWS.items() if issubclass(law, Descent) and law.__module__[:8] == "dynamics"}
OPTIMIZERS = {name: law for name, law in DESCENTS.items() if issubclass(law, Optimizer)}
NEEDS_BATCH = ("sgd", "gram_sgd")
EXACT = ("dopri8", 1e-11, 1e-13)


def distance(a, b):
    return float(jnp.linalg.norm(ravel_pytree(a)[0] - ravel_pytree(b)[0]))


def of(law, name, **settings):
    return law(0.1, **({"batch_size": 3} if name in NEEDS_BATCH else {}), **settings)


@pytest.mark.parametrize("name", DESCENTS)
def test_every_descent_takes_minibatches(name, small):
    """With a batch size it is random, and the loss of step k is that of the minibatch of fold_in(key, k)."""
    params, objective = small.start
    law, key = DESCENTS[name](0.1, batch_size=3), jax.random.key(5)
    assert law.is_random(small.model) and not StochasticGradientDescent(0.1, 12).replacement
    expected = objective.minibatch_loss(params, jax.random.fold_in(key, 7), 3, False)
    assert float(law.loss(objective, params, jnp.asarray(7), key)) == float(expected)
    assert float(law.loss(objective, params, jnp.asarray(8), key)) != float(expected)
    if name in NEEDS_BATCH:
        with pytest.raises(TypeError, match="batch_size"):
            DESCENTS[name](0.1)
    else:
        whole = DESCENTS[name](0.1)
        assert not whole.is_random(small.model)
        assert float(whole.loss(objective, params, jnp.asarray(7), key)) == float(objective.loss(params))


def test_sgd_is_gd_with_minibatches(small, follow):
    one, other = (
        follow(law(0.05, batch_size=4), small, [0.0, 1.0]) for law in (StochasticGradientDescent, GradientDescent)
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert GramStochasticGradientDescent.update is GramGradientDescent.update


def test_adam_with_minibatches(small, follow):
    """All samples in every minibatch are no minibatches; with smaller ones it follows the key."""
    laws = [Adam(0.05), Adam(0.05, batch_size=12), Adam(0.05, batch_size=4)]
    full, whole, random = (follow(law, small, [0.0, 1.0], seed=1).params for law in laws)
    assert distance(full, whole) < 1e-12
    again, other = (follow(laws[2], small, [0.0, 1.0], seed=seed).params for seed in (1, 2))
    jax.tree.map(np.testing.assert_array_equal, random, again)
    assert distance(random, other) > 1e-3


PARAMS = {"W": jax.random.normal(jax.random.key(0), (3, 2)), "b": jnp.arange(1.0, 4.0)}
SLOPE = jax.tree.map(jnp.cos, PARAMS)


def stepped(law, steps=1, scale=None):
    """The parameters after some steps with the same gradient."""
    params, memory = PARAMS, law.memory(PARAMS)
    for _ in range(steps):
        params, memory = law.update(ALL, SLOPE, params, memory, scale)
    return params


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay(name):
    """θ' = θ + s (u − η λ θ): decoupled, scaled by the schedule as well; without it nothing is traced."""
    plain, decayed = of(OPTIMIZERS[name], name), of(OPTIMIZERS[name], name, weight_decay=0.5)
    assert jax.tree.structure(plain) != jax.tree.structure(decayed)
    assert len(jax.tree.leaves(plain)) == len(jax.tree.leaves(decayed)) - 1
    moved = stepped(plain)
    expected = {name: moved[name] - 0.1 * 0.5 * PARAMS[name] for name in PARAMS}
    halved = {name: PARAMS[name] + 0.5 * (expected[name] - PARAMS[name]) for name in PARAMS}
    for seen, exact in ((stepped(decayed), expected), (stepped(decayed, scale=jnp.asarray(0.5)), halved)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-15), seen, exact)
    with pytest.raises(dynamics.ConfigError, match=r"weight_decay = -0\.1: must not be negative"):
        of(OPTIMIZERS[name], name, weight_decay=-0.1)


def test_adam_with_weight_decay_is_adamw():
    optimizer, params = optax.adamw(0.1, weight_decay=0.5), PARAMS
    state = optimizer.init(params)
    for _ in range(3):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(SLOPE, state, params)
        params = optax.apply_updates(params, updates)
    seen = stepped(Adam(0.1, weight_decay=0.5), steps=3)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13), seen, params)


def ratios(small, follow, law, limit, etas, end=1.0):
    gaps = [
        distance(follow(law(eta), small, [0.0, end]).params, follow(limit, small, [0.0, end]).params) for eta in etas
    ]
    return np.divide(gaps[:-1], gaps[1:])


def test_nesterov_follows_the_flow_in_its_own_time(small, follow):
    def law(step):
        return Nesterov(1.0, momentum=0.5).at_step(step)

    assert float(law(0.02).step) == 0.02 and np.isclose(law(0.02).learning_rate, 0.01)
    factors = ratios(small, follow, law, GradientFlow(*EXACT), (0.01, 0.005, 0.0025))
    assert ((factors > 1.9) & (factors < 2.1)).all(), factors


def test_nesterov_in_its_two_forms():
    """θ_{k+1} = x_{k+1} + β (x_{k+1} − x_k) with x_{k+1} = θ_k − η ∇L(θ_k), x_0 = θ_0, on a quadratic loss."""
    A, eta, beta = np.diag([1.0, 4.0, 9.0]), 0.05, 0.8
    law, theta = Nesterov(eta, momentum=beta), np.array([1.0, -2.0, 0.5])
    x, params = theta, {"x": jnp.asarray(theta)}
    memory, heavy = law.memory(params), HeavyBall(eta, momentum=beta)
    heavy_params, heavy_memory = params, heavy.memory(params)
    for _ in range(8):
        new = theta - eta * A @ theta
        theta, x = new + beta * (new - x), new
        params, memory = law.update(ALL, {"x": A @ params["x"]}, params, memory, None)
        heavy_params, heavy_memory = heavy.update(ALL, {"x": A @ heavy_params["x"]}, heavy_params, heavy_memory, None)
        np.testing.assert_allclose(params["x"], theta, rtol=1e-13, atol=1e-15)
    assert distance(params, heavy_params) > 1e-2


def test_the_length_of_a_normalised_step():
    norm = distance(SLOPE, jax.tree.map(jnp.zeros_like, SLOPE))
    for epsilon in (1e-6, 1.0):
        moved = stepped(NormalisedGradientDescent(0.1, epsilon=epsilon))
        np.testing.assert_allclose(distance(moved, PARAMS), 0.1 * norm / (norm + epsilon), rtol=1e-12)
        direction = jax.tree.map(lambda new, old, slope: (old - new) / slope, moved, PARAMS, SLOPE)
        np.testing.assert_allclose(ravel_pytree(direction)[0], 0.1 / (norm + epsilon), rtol=1e-9)


def test_normalised_descent_follows_the_normalised_flow(small, follow):
    law, limit = NormalisedGradientDescent, NormalisedFlow(*EXACT)
    factors = ratios(small, follow, law, limit, (0.02, 0.01, 0.005))
    assert ((factors > 1.9) & (factors < 2.1)).all(), factors


class Valley(dynamics.Objective):
    """L = x²/2 + y²: gradient flow from (1, c) goes along the parabola y = c x²."""

    def loss(self, params):
        return params["w"][0] ** 2 / 2 + params["w"][1] ** 2


@pytest.fixture(scope="module")
def valley(small):
    _, objective = small.start
    return Valley(**{field.name: getattr(objective, field.name) for field in dataclasses.fields(objective)})


def arc(x, c):
    """The length of the parabola y = c u² from u = x to u = 1."""

    def length(u):
        return u / 2 * np.sqrt(1 + 4 * c**2 * u**2) + np.arcsinh(2 * c * u) / (4 * c)

    return length(1.0) - length(x)


def in_turns(law, objective, start, times):
    """The states of a flow at these times, its last trajectory, and how many turns were taken before it."""
    state, turn, seen = {"w": jnp.asarray(start)}, 0, np.full((len(times), 2), np.nan)
    stretch = Stretch.whole(law, state, times[0])
    while True:
        taking = law.turns[turn % len(law.turns)]
        path = taking(objective, state, times, lambda params: params, jax.random.key(0), stretch)
        seen = np.where(np.isnan(seen) & np.asarray(path.valid)[:, None], path.probes["w"], seen)
        if int(path.outcome) != dynamics.trajectory.HANDED_OVER:
            return seen, path, turn
        state, turn = path.params, turn + 1
        stretch = Stretch.whole(law.turns[turn % len(law.turns)], state, path.end)
        stretch = stretch._replace(memory=path.memory, row=jnp.sum(times <= path.end))


@pytest.mark.parametrize("epsilon", [1e-12, 0.1])
@pytest.mark.parametrize("solver", ["dopri8", "auto"])
def test_the_time_of_the_normalised_flow(valley, solver, epsilon):
    """It is at (x, c x²) at t = arc(x) + ε s, where gradient flow is at its time s = −log x."""
    c, x = 2.0, np.array([1.0, 0.8, 0.5, 0.2, 0.05])
    s, expected = -np.log(x), np.stack([x, c * x**2], axis=1)
    law = NormalisedFlow(solver, 1e-10, 1e-12, epsilon=epsilon)
    seen, _, _ = in_turns(law, valley, [1.0, c], jnp.asarray(arc(x, c) + epsilon * s))
    np.testing.assert_allclose(seen, expected, rtol=1e-7)
    same, _, _ = in_turns(GradientFlow("dopri8", 1e-10, 1e-12), valley, [1.0, c], jnp.asarray(s))
    np.testing.assert_allclose(seen, same, rtol=1e-7)


@pytest.mark.parametrize("epsilon", [1e-6, 0.3])
def test_the_speed_of_the_normalised_flow(small, epsilon):
    params, objective = small.start
    slope, velocity = (
        GradientFlow().velocity(objective, params),
        NormalisedFlow(epsilon=epsilon).velocity(objective, params),
    )
    zero = jax.tree.map(jnp.zeros_like, params)
    norm = distance(slope, zero)
    np.testing.assert_allclose(distance(velocity, zero), norm / (norm + epsilon), rtol=1e-12)
    jax.tree.map(lambda v, s: np.testing.assert_allclose(v * (norm + epsilon), s, rtol=1e-12), velocity, slope)


def test_the_normalised_flow_stays_at_a_minimum(valley):
    """It arrives near t = arc(0); the stabilised method goes on from there, where rates are 1/ε and 2/ε."""
    law = NormalisedFlow(epsilon=1e-3, rtol=1e-6, atol=1e-8)
    _, path, turns = in_turns(law, valley, [1.0, 2.0], jnp.array([0.0, 2.0, 20.0]))
    assert int(path.outcome) == dynamics.trajectory.COMPLETED and turns > 0
    assert np.abs(path.params["w"]).max() < 1e-6 and int(path.notes["evaluations"][-1]) < 5000


def newton_schulz(sigma):
    for _ in range(5):
        sigma = 3.4445 * sigma - 4.7750 * sigma**3 + 2.0315 * sigma**5
    return sigma


def orthogonalised(matrix):
    """U p(σ/‖·‖) Vᵀ and the new singular values."""
    U, sigma, V_T = np.linalg.svd(matrix, full_matrices=False)
    values = newton_schulz(sigma / (np.linalg.norm(matrix) + 1e-8))
    return (U * values) @ V_T, values


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 4, 3), (2, 2, 3, 3)])
def test_muon_against_singular_values(shape):
    """Two steps: every matrix of a stack by itself, of Nesterov's mean, times √max(1, rows/columns)."""
    eta, beta, keys = 0.1, 0.8, jax.random.split(jax.random.key(3), 3)
    params, *slopes = (jax.random.normal(key, shape) for key in keys)
    law = Muon(eta, beta=beta)
    moved, memory, mean = {"W": params}, law.memory({"W": params}), np.zeros(shape)
    for k, slope in enumerate(slopes, 1):
        before = np.asarray(moved["W"])
        moved, memory = law.update(ALL, {"W": slope}, moved, memory, None)
        mean = beta * mean + (1 - beta) * np.asarray(slope)
        nesterov = beta * mean / (1 - beta ** (k + 1)) + (1 - beta) * np.asarray(slope) / (1 - beta**k)
        step = (before - np.asarray(moved["W"])) / (eta * np.sqrt(max(1, shape[-2] / shape[-1])))
        for index in itertools.product(*map(range, shape[:-2])):
            expected, values = orthogonalised(nesterov[index])
            np.testing.assert_allclose(step[index], expected, rtol=1e-9, atol=1e-11)
            assert ((values > 0.68) & (values < 1.21)).all(), values


def test_what_muon_leaves_to_adam():
    """Vectors and numbers go by Adam with Nesterov's momentum, at the same rate."""
    params = {"W": jnp.eye(2), "b": jnp.array([1.0, -2.0]), "c": jnp.asarray(3.0)}
    slope, law, optimizer = jax.tree.map(jnp.sin, params), Muon(0.1), optax.nadam(0.1)
    state, memory = optimizer.init(params), law.memory(params)
    ours, theirs = params, params
    for _ in range(2):
        ours, memory = law.update(ALL, slope, ours, memory, None)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(slope, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    for name in ("b", "c"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-13)
    assert np.abs(ours["W"] - theirs["W"]).max() > 1e-2


@pytest.mark.parametrize(
    ("law", "settings", "message"),
    [
        (Nesterov, {"momentum": 1.0}, "momentum = 1.0: must be at least 0 and below 1"),
        (NormalisedGradientDescent, {"epsilon": 0.0}, "epsilon = 0.0: must be positive"),
        (Muon, {"beta": 1.0}, "beta = 1.0: must be at least 0 and below 1"),
        (RMSProp, {"batch_size": 0}, "batch_size = 0: must be at least 1"),
    ],
)
def test_impossible_values(law, settings, message):
    with pytest.raises(dynamics.ConfigError, match=message):
        law(0.1, **settings)
    with pytest.raises(dynamics.ConfigError, match=r"epsilon = 0\.0: must be positive"):
        NormalisedFlow(epsilon=0.0)
