"""Named initialisations have the spread and the support that they promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics

WORD = jnp.zeros((1, 1), jnp.int32)
MODEL = {"vocabulary": 64, "width": 128, "neurons": 256}


@pytest.mark.parametrize(
    ("init", "variance", "bound"),
    [
        (dynamics.Initialisation("kaiming_normal"), lambda fan_in: 2 / fan_in, None),
        (dynamics.Initialisation("kaiming_uniform"), lambda fan_in: 2 / fan_in, lambda fan_in: (6 / fan_in) ** 0.5),
        (dynamics.Initialisation("torch_linear"), lambda fan_in: 1 / (3 * fan_in), lambda fan_in: fan_in**-0.5),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_spread_by_fan_in(init, variance, bound):
    model = dynamics.OneLayerTransformer(**MODEL, distribution=init.distribution)
    params, constants = jax.tree.map(np.asarray, init(model, jax.random.key(0), WORD))
    for weights in params.values():
        expected = variance(weights.shape[1])
        assert abs(weights.var() / expected - 1) < 5 * (2 / weights.size) ** 0.5
        assert abs(weights.mean()) < 5 * (expected / weights.size) ** 0.5
        if bound:
            assert 0.99 < np.abs(weights).max() / bound(weights.shape[1]) <= 1
    assert set(constants["a"].tolist()) == {1.0, -1.0}


def test_standard_deviations_by_name():
    model = dynamics.OneLayerTransformer(**MODEL)
    init = dynamics.Initialisation("normal", 0.1, {"W": 0.02})
    params, _ = jax.tree.map(np.asarray, init(model, jax.random.key(0), WORD))
    for name, weights in params.items():
        sigma = 0.02 if name == "W" else 0.1
        assert abs(weights.std() / sigma - 1) < 5 * (0.5 / weights.size) ** 0.5


def test_matrices_are_independent():
    """Different matrices have different random numbers."""
    model = dynamics.OneLayerTransformer(**MODEL)
    params, _ = dynamics.Initialisation("kaiming_normal")(model, jax.random.key(0), WORD)
    columns = np.stack([np.asarray(params[name]).ravel() for name in ("W_Q", "W_K", "W_V")])
    correlation = np.corrcoef(columns) - np.eye(3)
    assert np.abs(correlation).max() < 5 * columns.shape[1] ** -0.5


@pytest.mark.parametrize("draw", ["weights", "gram"])
def test_a_wrong_matrix_name(draw):
    """Refused in a config and in a call, for weights and for Gram matrices."""
    message = "std_of.W_X = 0.1: unknown key; did you mean '.*allowed: W, W_K, W_Q, W_V"
    config = small_config(**{"init.draw": draw, "init.std_of": {"W_X": 0.1}})
    config["laws"] = {"flow": {"name": "flow" if draw == "weights" else "gram_flow"}}
    with pytest.raises(dynamics.ConfigError, match=f"init.{message}"):
        dynamics.Experiment.from_config(config)
    init = dynamics.Initialisation("normal", 0.1, {"W_X": 0.1}, draw)
    model = dynamics.OneLayerTransformer(**MODEL)
    with pytest.raises(dynamics.ConfigError, match=message):
        init(model, jax.random.key(0), WORD) if draw == "weights" else init.gram(model, 8, jax.random.key(0))


def test_every_matrix_has_its_own_scale_in_gram_variables():
    """Gram matrices scale with the standard deviations of their factors."""
    model, key = dynamics.OneLayerTransformer(**MODEL), jax.random.key(0)
    one, _ = dynamics.Initialisation("normal", 1.0, {}, "gram").gram(model, 128, key)
    s = {"W": 2.0, "W_V": 3.0, "W_K": 5.0, "W_Q": 7.0}
    other, _ = dynamics.Initialisation("normal", 1.0, s, "gram").gram(model, 128, key)
    for name, factor in {"A": 35.0, "G": 6.0, "S": 4.0, "C_V": 9.0, "C_K": 25.0, "C_Q": 49.0}.items():
        np.testing.assert_allclose(other[name], factor * one[name], rtol=1e-12)
