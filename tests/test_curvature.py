"""The largest eigenvalue of the Hessian against a dense eigendecomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from dynamics.analysis.curvature import top_eigenpair


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
    return jax.jit(lambda params, near: top_eigenpair(objective.loss, params, near))


def test_the_model(small, dense, top):
    """The search succeeds even from the eigenspace of another eigenvalue."""
    params, _ = small.start
    values, vectors = dense
    _, restore = ravel_pytree(params)
    assert values[-1] > values[-2] > 0 > values[0]
    for start in (-1, -2, 0):
        value, vector = top(params, restore(jnp.asarray(vectors[:, start])))
        np.testing.assert_allclose(value, values[-1], rtol=1e-9)
        np.testing.assert_allclose(abs(ravel_pytree(vector)[0] @ vectors[:, -1]), 1.0, rtol=1e-9)


@pytest.mark.slow
def test_from_anywhere(small, dense):
    params, objective = small.start
    value, _ = jax.jit(lambda params: top_eigenpair(objective.loss, params))(params)
    np.testing.assert_allclose(value, dense[0][-1], rtol=1e-9)
