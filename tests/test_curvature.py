"""Eigenvalues of the Hessian at both ends against a dense eigendecomposition, and searches that end too early."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import dynamics
from dynamics.analysis import curvature
from dynamics.analysis.curvature import hessian_eigenpairs
from dynamics.probes import View, evaluator

TOLERANCE = np.finfo(float).eps ** 0.5


@pytest.fixture(scope="module")
def dense(small):
    """All eigenvalues and eigenvectors of the dense Hessian."""
    params, objective = small.start
    flat, restore = ravel_pytree(params)
    slope = jax.grad(lambda x: objective.loss(restore(x)))
    columns = jax.jit(jax.vmap(lambda v: jax.jvp(slope, (flat,), (v,))[1]))(jnp.eye(flat.size))
    return np.linalg.eigh(np.asarray(columns))


@pytest.fixture(scope="module")
def top(small):
    _, objective = small.start
    return jax.jit(lambda params, near: hessian_eigenpairs(objective.loss, params, near))


def test_the_model(small, dense, top):
    """The search succeeds even from the eigenspace of another eigenvalue."""
    params, _ = small.start
    values, vectors = dense
    _, restore = ravel_pytree(params)
    assert values[-1] > values[-2] > 0 > values[0]
    for start in (-1, -2, 0):
        near = jax.tree.map(lambda leaf: leaf[None], restore(jnp.asarray(vectors[:, start])))
        pairs = top(params, near)
        np.testing.assert_allclose(pairs.values, values[-1:], rtol=1e-9)
        assert pairs.residuals[0] <= TOLERANCE * values[-1]
        vector = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], pairs.vectors))[0]
        np.testing.assert_allclose(abs(vector @ vectors[:, -1]), 1.0, rtol=1e-9)


@pytest.mark.parametrize("end", ["largest", "smallest"])
def test_three_pairs_at_both_ends(small, dense, end):
    params, objective = small.start
    pairs = jax.jit(lambda params: hessian_eigenpairs(objective.loss, params, None, 3, end))(params)
    outermost = dense[0][::-1] if end == "largest" else dense[0]
    np.testing.assert_allclose(pairs.values, outermost[:3], rtol=1e-9)
    vectors = jax.vmap(lambda v: ravel_pytree(v)[0])(pairs.vectors)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-9)
    images = vectors @ (dense[1] * dense[0]) @ dense[1].T
    residuals = np.linalg.norm(images - pairs.values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(pairs.residuals, residuals, atol=1e-11)
    assert (residuals <= TOLERANCE * np.abs(outermost[:3])).all()


def test_repeated_eigenvalues():
    """L = ½ Σ c_i x_i² with two equal largest and three zero smallest c_i: the block finds each copy."""
    c = jnp.array([5.0, 5.0, *np.linspace(1, 4, 30), 0.0, 0.0, 0.0])

    def loss(x):
        return 0.5 * jnp.sum(c * x**2)

    largest = hessian_eigenpairs(loss, jnp.ones(c.size), count=3)
    np.testing.assert_allclose(largest.values, [5.0, 5.0, 4.0], rtol=1e-9)
    smallest = hessian_eigenpairs(loss, jnp.ones(c.size), count=3, end="smallest")
    np.testing.assert_allclose(smallest.values, [0.0, 0.0, 0.0], atol=1e-9)


@pytest.mark.slow
def test_a_search_that_ends_too_early_is_seen(small, dense, monkeypatch):
    """After two iterations the value is wrong: it is nan, and the residual says how far an eigenvalue may be."""
    params, objective = small.start
    monkeypatch.setattr(curvature, "ITERATIONS", 2)
    pairs = hessian_eigenpairs(objective.loss, params)
    assert np.isnan(pairs.values).all() and pairs.residuals[0] > TOLERANCE * dense[0][-1]
    view = View(objective, small.drawn[2], params, small.words)
    recorded = evaluator(("sharpness", "starting_sharpness"), view)(params)
    for name in ("sharpness", "starting_sharpness"):
        value, residual = recorded[name]
        assert np.isnan(value) and residual > TOLERANCE * dense[0][-1]


def test_too_many_pairs():
    with pytest.raises(dynamics.ConfigError, match=r"count = 4: must be positive and below a fifth .* 20"):
        hessian_eigenpairs(lambda x: jnp.sum(x**4), jnp.ones(20), count=4)


@pytest.mark.slow
def test_from_anywhere(small, dense):
    params, objective = small.start
    pairs = jax.jit(lambda params: hessian_eigenpairs(objective.loss, params))(params)
    np.testing.assert_allclose(pairs.values, dense[0][-1:], rtol=1e-9)
