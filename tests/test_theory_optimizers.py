"""The limits of every descent: orders in the step, exact equalities, and the noise of minibatches."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config
from jax.flatten_util import ravel_pytree

import dynamics
from dynamics.laws import (
    Adam,
    GradientDescent,
    GradientFlow,
    HeavyBall,
    Law,
    ModifiedFlow,
    PreconditionedFlow,
    RMSProp,
    StochasticModifiedEquation,
)
from dynamics.laws.flow import modified_velocity
from dynamics.objectives.parameters import Trained
from experiments.cooccurrence.controls import ALL_BUT_ATTENTION, FixedTimeAdam, FixedTimeRMSProp, WrongSign

EXACT = ("dopri8", 1e-11, 1e-13)
EPSILON = 0.05


def distance(a, b):
    return float(jnp.linalg.norm(ravel_pytree(a)[0] - ravel_pytree(b)[0]))


def ratios(small, follow, law, limit, etas, end=1.0):
    """The factors by which the distance between the law and its limit falls when the step is halved."""
    gaps = []
    for eta in etas:
        exact = limit if isinstance(limit, Law) else limit(eta)
        gaps.append(distance(follow(law(eta), small, [0.0, end]).params, follow(exact, small, [0.0, end]).params))
    return np.divide(gaps[:-1], gaps[1:])


def test_the_modified_flow_is_a_gradient(small):
    """-∇(L + (η/4)|∇L|²) is -∇L - (η/2) ∇²L ∇L."""
    params, objective = small.start
    slope = jax.grad(objective.loss)(params)
    _, change = jax.jvp(jax.grad(objective.loss), (params,), (slope,))
    expected = jax.tree.map(lambda g, h: -g - 0.1 / 2 * h, slope, change)
    velocity = ModifiedFlow(learning_rate=0.1).velocity(objective, params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-14), velocity, expected)


def test_descent_follows_the_modified_flow_at_second_order(small, follow):
    factors = ratios(
        small, follow, GradientDescent, lambda eta: ModifiedFlow(*EXACT, learning_rate=eta), (0.02, 0.01, 0.005)
    )
    assert ((factors > 3.8) & (factors < 4.2)).all(), factors


@pytest.mark.slow
def test_the_wrong_sign_leaves_first_order(small, follow):
    factors = ratios(
        small, follow, GradientDescent, lambda eta: WrongSign(*EXACT, learning_rate=eta), (0.02, 0.01, 0.005)
    )
    assert ((factors > 1.9) & (factors < 2.1)).all(), factors


def test_heavy_ball_follows_the_flow_in_its_own_time(small, follow):
    def law(step):
        return HeavyBall(1.0, momentum=0.5).at_step(step)

    assert float(law(0.02).step) == 0.02 and np.isclose(law(0.02).learning_rate, 0.01)
    factors = ratios(small, follow, law, GradientFlow(*EXACT), (0.01, 0.005, 0.0025))
    assert ((factors > 1.9) & (factors < 2.1)).all(), factors


class WithoutDelay(ModifiedFlow):
    delay = 0.0


class WithoutTheFactor(ModifiedFlow):
    """The correction of gradient descent with the same time per step."""

    def velocity(self, objective, params):
        return modified_velocity(objective, params, self.learning_rate / (1 - self.momentum))


HEAVY_BALLS = {0.5: (0.02, 0.01, 0.005), 0.9: (0.002, 0.001, 0.0005)}


@pytest.mark.parametrize("flow", [ModifiedFlow, WithoutDelay, WithoutTheFactor, pytest.param("plain")])
@pytest.mark.parametrize("momentum", HEAVY_BALLS)
def test_heavy_ball_follows_its_modified_flow_at_second_order(small, follow, momentum, flow):
    """The order is 2 with the factor (1 + β)/(1 − β) and with the delay, and 1 without either of them."""
    steps, gaps = HEAVY_BALLS[momentum], []
    for step in steps:
        descent = HeavyBall(1.0, momentum=momentum).at_step(step)
        if flow == "plain":
            modified = ModifiedFlow(*EXACT, learning_rate=step)
        else:
            modified = flow(*EXACT, learning_rate=1.0, momentum=momentum).at_step(step)
        one, other = (follow(law, small, [0.0, 1.0]) for law in (descent, modified))
        gaps.append(distance(one.params, other.params))
    fitted = dynamics.analysis.fits.exponent(steps, gaps).slope
    low, high = (1.9, 2.1) if flow is ModifiedFlow else (0.9, 1.1)
    assert low < fitted < high, (fitted, gaps)


@pytest.mark.parametrize("solver", ["tsit5", "auto"])
def test_the_modified_flow_of_heavy_ball_waits(small, follow, solver):
    """Up to the delay it stays at the start; later it is the undelayed flow at t − τ, whatever the checkpoints."""
    settings = {"learning_rate": 0.01, "momentum": 0.8, "rtol": 1e-11, "atol": 1e-13}
    law = ModifiedFlow(solver, **settings)
    np.testing.assert_allclose(law.delay, 0.01 * 0.8 / 0.2**2, rtol=1e-14)
    late = follow(law, small, [0.0, 0.1, 0.5, 1.0])
    undelayed = follow(WithoutDelay("tsit5", **settings), small, [0.0, 0.3, 0.8])
    expected = [undelayed.probes["loss"][i] for i in (0, 0, 1, 2)]
    np.testing.assert_allclose(late.probes["loss"], expected, rtol=1e-9)
    assert float(late.end) == 1.0 and np.asarray(late.valid).all()
    laws = {"law": {"name": "modified_flow", "solver": solver, **settings}}
    ends = [
        dynamics.solve(
            dynamics.Experiment.from_config({**small_config(checkpoints=n), "laws": laws, "probes": ("loss",)}), "law"
        )
        for n in (1, 4)
    ]
    np.testing.assert_allclose(ends[0].probes["loss"], ends[1].probes["loss"], rtol=1e-9)


def test_heavy_ball_without_momentum_is_descent(small, follow):
    one, other = (follow(law, small, [0.0, 1.0]) for law in (HeavyBall(0.05, momentum=0.0), GradientDescent(0.05)))
    assert distance(one.params, other.params) < 1e-14


@pytest.mark.parametrize("law", [RMSProp, pytest.param(Adam, marks=pytest.mark.slow)])
def test_adaptive_laws_follow_the_preconditioned_flow(small, follow, law):
    settings = {"decay": 0.5} if law is RMSProp else {"beta1": 0.5, "beta2": 0.5}
    factors = ratios(
        small,
        follow,
        lambda eta: law(eta, **settings, epsilon=EPSILON),
        PreconditionedFlow(*EXACT, epsilon=EPSILON),
        (0.002, 0.001, 0.0005),
        end=0.5,
    )
    assert ((factors > 1.85) & (factors < 2.15)).all(), factors


@pytest.mark.parametrize(
    ("law", "settings"), [(FixedTimeRMSProp, {"decay": 0.5}), (FixedTimeAdam, {"beta1": 0.5, "beta2": 0.5})]
)
def test_means_over_a_fixed_time_have_another_limit(small, follow, law, settings):
    """The control of the limits of Adam and RMSProp: with the same ε, the distance from the flow does not vanish."""
    coarse = law(0.1, **settings, epsilon=EPSILON)
    for name, decay in settings.items():
        np.testing.assert_allclose(getattr(coarse.at_step(0.025), name), decay**0.25, rtol=1e-14)
    factors = ratios(
        small, follow, coarse.at_step, PreconditionedFlow(*EXACT, epsilon=EPSILON), (0.02, 0.01, 0.005), end=0.5
    )
    assert ((factors > 0.7) & (factors < 1.4)).all(), factors


@pytest.mark.parametrize("law", [Adam, RMSProp])
def test_frozen_attention(small, follow, law):
    """W_K and W_Q stay bit for bit, W_V and W move as if they were all there is to move."""
    frozen = dataclasses.replace(small, trained=Trained(only=ALL_BUT_ATTENTION))
    one, other = (follow(law(0.01), experiment, [0.0, 0.5]).params for experiment in (frozen, small))
    start, objective = small.start
    for name in ("W_K", "W_Q"):
        np.testing.assert_array_equal(one[name], start[name])
        assert np.abs(other[name] - start[name]).max() > 1e-2
    optimizer, alone = law(0.01).optimizer, {name: start[name] for name in ("W", "W_V")}
    state = optimizer.init(alone)
    for _ in range(50):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jax.grad(lambda p: objective.loss({**start, **p}))(alone), state, alone)
        alone = jax.tree.map(jnp.add, alone, updates)
    np.testing.assert_allclose(one["W_V"], alone["W_V"], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(one["W"], alone["W"], rtol=1e-10, atol=1e-13)


def test_with_a_huge_epsilon_the_preconditioned_flow_is_slow_gradient_flow(small):
    params, objective = small.start
    slow = PreconditionedFlow(epsilon=1e9).velocity(objective, params)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(1e9 * x, y, rtol=1e-8), slow, GradientFlow().velocity(objective, params)
    )


@pytest.mark.parametrize("name", ["heavy_ball", "gram_heavy_ball", "adam", "rmsprop"])
def test_memory_survives_a_checkpoint(name):
    """Three segments equal one."""
    ends = []
    for checkpoints in (1, 3):
        laws = {"law": {"name": name, "learning_rate": 0.005 if "heavy_ball" in name else 0.05}}
        config = {**small_config(checkpoints=checkpoints), "laws": laws, "probes": ("loss",)}
        experiment = dynamics.Experiment.from_config(config)
        assert len(experiment.segments) == checkpoints
        ends.append(dynamics.solve(experiment, "law"))
    np.testing.assert_allclose(ends[0].probes["loss"], ends[1].probes["loss"], rtol=1e-12)
    assert distance(ends[0].params, ends[1].params) < 1e-12


def covariance(small, size, replacement):
    """The covariance of the gradient over all minibatches, and that of the noise of the modified equation."""
    params, objective = small.start
    n = objective.batch.targets.shape[0]
    rows = jax.jacrev(objective.losses)(params)
    per_sample = np.concatenate([np.reshape(rows[name], (n, -1)) for name in sorted(rows)], axis=1)
    draws = itertools.product(range(n), repeat=size) if replacement else itertools.combinations(range(n), size)
    gradients = np.stack([per_sample[list(draw)].mean(axis=0) for draw in draws])
    law = StochasticModifiedEquation(0.3, size, replacement)
    kicks = np.stack([ravel_pytree(law.kick(objective, params, row))[0] for row in jnp.eye(n)])
    return np.cov(gradients.T, bias=True), kicks.T @ kicks


@pytest.mark.parametrize(("size", "replacement"), [(1, True), (2, True), (2, False), (3, False)])
def test_the_noise_has_the_covariance_of_minibatches(small, size, replacement):
    of_minibatches, of_noise = covariance(small, size, replacement)
    assert np.abs(of_minibatches).max() > 1e-3
    np.testing.assert_allclose(of_noise, 0.3 * of_minibatches, rtol=1e-9, atol=1e-12)


def test_without_noise_the_modified_equation_is_the_modified_flow(small, follow):
    """With all samples in every minibatch, one substep is gradient descent and two follow the modified flow."""

    def equation(eta, substeps):
        return follow(StochasticModifiedEquation(eta, 12, False, substeps), small, [0.0, 1.0]).params

    assert distance(equation(0.04, 1), follow(GradientDescent(0.04), small, [0.0, 1.0]).params) < 1e-13
    etas = (0.04, 0.02, 0.01)
    exact = [follow(ModifiedFlow(*EXACT, learning_rate=eta), small, [0.0, 1.0]).params for eta in etas]
    gaps = [distance(equation(eta, 2), params) for eta, params in zip(etas, exact, strict=True)]
    orders = np.divide(gaps[:-1], gaps[1:])
    assert ((orders > 3.7) & (orders < 4.3)).all(), gaps


def test_paths_of_the_modified_equation_follow_the_key(small, follow):
    law = StochasticModifiedEquation(0.05, 4)
    one, again, other = (follow(law, small, [0.0, 0.5, 1.0], seed) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one.params, again.params)
    assert distance(one.params, other.params) > 1e-3
    assert int(one.steps) == 40 and one.outcome == 0 and np.asarray(one.valid).all()


@pytest.mark.parametrize("law", [GradientDescent(0.05), HeavyBall(0.05), Adam(0.05), RMSProp(0.05)])
def test_a_step_is_a_statement_of_time(law):
    other = law.at_step(0.02)
    assert np.isclose(float(other.step), 0.02, rtol=1e-15) and type(other) is type(law)
    assert GradientFlow().at_step(0.02).step is None


BAD = {
    "heavy_ball momentum": (HeavyBall, {"learning_rate": 0.1, "momentum": 1.0}, "momentum = 1.0: must be at least 0"),
    "adam beta2": (Adam, {"learning_rate": 0.1, "beta2": -0.1}, "beta2 = -0.1: must be at least 0 and below 1"),
    "adam epsilon": (Adam, {"learning_rate": 0.1, "epsilon": 0.0}, "epsilon = 0.0: must be positive"),
    "rmsprop decay": (RMSProp, {"learning_rate": 0.1, "decay": 1.5}, "decay = 1.5: must be at least 0 and below 1"),
    "modified flow momentum": (
        ModifiedFlow,
        {"learning_rate": 0.1, "momentum": 1.0},
        "momentum = 1.0: must be at least 0 and below 1",
    ),
    "modified flow": (ModifiedFlow, {"learning_rate": 0.0}, "learning_rate = 0.0: must be positive"),
    "substeps": (StochasticModifiedEquation, {"learning_rate": 0.1, "batch_size": 2, "substeps": 0}, "substeps = 0"),
    "batch": (
        StochasticModifiedEquation,
        {"learning_rate": 0.1, "batch_size": 0},
        "batch_size = 0: must be at least 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_impossible_values(case):
    law, settings, message = BAD[case]
    with pytest.raises(dynamics.ConfigError, match=message):
        law(**settings)


def test_a_minibatch_that_does_not_fit(small):
    params, objective = small.start
    law = StochasticModifiedEquation(0.05, 13)
    with pytest.raises(dynamics.ConfigError, match="batch_size = 13: must be at most the 12 samples"):
        law(objective, params, jnp.array([0.0, 0.1]), lambda p: {}, jax.random.key(0))
