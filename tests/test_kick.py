"""The kick to G(μ1): its Gram matrices are those of kicked weights; it decays as the linearised equations say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from conftest import small_config

import dynamics
from dynamics.laws import GramFlow
from dynamics.tasks.cooccurrence import COMMON, FIRST_TARGET, SECOND_TARGET
from experiments.cooccurrence import claims, kick

N, LENGTH, S = 12, 4, 3.0
R = 6 * (LENGTH - 2) / N


@pytest.fixture(scope="module")
def weights():
    """The small model's weights and objective; every random word occurs once."""
    config = small_config()
    config["task"].update(samples=N, length=LENGTH, words="distinct", vocabulary=None)
    return dynamics.Experiment.from_config(config).start


def test_the_gram_matrices_of_a_kick_are_those_of_kicked_weights(weights):
    params, objective = weights
    u_m = params["W"].T @ objective.constants["a"]
    delta, kicked_D = 0.7, jnp.zeros(params["W_V"].shape[1]).at[FIRST_TARGET].set(1)
    moved = {**params, "W_V": params["W_V"] + delta / (u_m @ u_m) * jnp.outer(u_m, kicked_D)}
    expected, _ = GramFlow.variables(moved, objective)
    before, _ = GramFlow.variables(params, objective)
    after = kick.kicked(before, delta)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12), after, expected)
    np.testing.assert_allclose(after["G"][0] - before["G"][0], delta * kicked_D, atol=1e-14)


@pytest.fixture(scope="module")
def balanced(weights):
    """Gram matrices with uniform attention and G(μ1) = G(μ2), in the limit of large m, and the objective."""
    gram, objective = GramFlow.variables(*weights)
    gram = {name: jnp.zeros_like(value) for name, value in gram.items()}
    G_D = jnp.full(gram["G"].shape[-1], -0.1).at[jnp.array([FIRST_TARGET, SECOND_TARGET])].set(1.5).at[COMMON].set(-2.0)
    return {**gram, "G": G_D[None], "S": jnp.asarray(S)}, objective


def test_the_velocities_after_a_kick_are_those_of_the_linearised_equations(balanced):
    gram, objective = balanced
    delta = 1e-4
    after = kick.kicked(gram, delta)
    after["C_V"] = jnp.zeros_like(gram["C_V"])  # m1 C_V is much smaller than S
    seen, velocity = jax.jvp(lambda state: kick._seen(objective, state), (after,), (objective.velocity(after),))
    rate = (1 + R) * seen["rate_of_words"]
    assert rate > 0.1
    g = jax.nn.sigmoid(gram["G"][0] @ jnp.zeros(gram["G"].shape[-1]).at[FIRST_TARGET].set(1) - 2.0 - 0.2)
    np.testing.assert_allclose(seen["outputs"], delta, rtol=1e-9)
    np.testing.assert_allclose(seen["log_ratio"], delta * (1 - g), rtol=1e-3)
    np.testing.assert_allclose(velocity["outputs"], -rate * delta, rtol=1e-3)
    # The words have the share 1 / (1 + r) of the change of the outputs.
    np.testing.assert_allclose(velocity["difference"] * (1 + R), velocity["outputs"], rtol=1e-9)


def synthetic(power=2.0, kept=R / (1 + R), late=0.1):
    """λ = 2/t, f = δ t^−power, the share of δ that stays, and the gap at the end after the large kick."""
    t = np.geomspace(1.0, 10.0, 400)
    kicks = np.array(kick.KICKS)[None, :, None]
    outputs = kicks * t**-power
    ratio = np.where(t == t[-1], np.log1p(late), outputs)
    difference = kicks * (kept + (1 - kept) * t**-4.0)
    arrays = {"outputs": outputs, "log_ratio": ratio, "difference": difference}
    arrays["rate_of_words"] = 2 / t / (1 + R) + 0 * outputs
    dims = ("seed", "kick", "t")
    dataset = xr.Dataset({name: (dims, values) for name, values in arrays.items()}, {"t": t, "kick": list(kick.KICKS)})
    return {"kick": dataset.assign_attrs(samples=N, length=LENGTH)}


def test_what_is_measured_after_a_kick():
    held = kick.decays(synthetic(), "kick")
    assert held.holds is True and "rate over λ: 1.0000 to 1.0000 " in held.measured
    assert kick.decays(synthetic(power=2.1), "kick").parts == {"rate": False, "share": True}
    assert kick.decays(synthetic(kept=R), "kick").parts == {"rate": True, "share": False}
    assert kick.decays_without_random_words(synthetic(), "kick").parts == {"rate": False, "share": False}
    assert kick.balances_again(synthetic(), "kick").holds is True
    assert kick.balances_again(synthetic(late=0.6), "kick").holds is False
    assert kick.balance_when_kicked(synthetic(), "kick").holds is False


def test_a_slow_feedback_is_the_control(balanced):
    """The control changes the rate of W_V, and with it Ġ, alone."""
    gram, objective = balanced
    rate = claims.CASES["kick, slow W_V"].settings["rate"]
    velocities = [kick._at_rate(objective, r).velocity(gram) for r in (1.0, rate)]
    np.testing.assert_allclose(velocities[1]["G"], rate * velocities[0]["G"], rtol=1e-12)
    plain = objective.velocity(gram)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-15), velocities[0], plain)
