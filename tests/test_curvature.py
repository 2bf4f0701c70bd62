"""The top of the Hessian against a dense one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dynamics.curvature import top_eigenpair


def dense(loss, params):
    flat, restore = ravel_pytree(params)
    return jnp.linalg.eigh(jax.hessian(lambda x: loss(restore(x)))(flat))


def test_the_model(small):
    params, objective = small.start
    values, vectors = dense(objective.loss, params)
    value, vector = jax.jit(lambda p: top_eigenpair(objective.loss, p))(params)
    np.testing.assert_allclose(value, values[-1], rtol=1e-9)
    assert values[-1] > values[-2] > 0 > values[0]
    overlap = abs(float(ravel_pytree(vector)[0] @ vectors[:, -1]))
    np.testing.assert_allclose(overlap, 1.0, rtol=1e-9)


def test_a_start_in_another_eigenspace_does_not_hold_it(small):
    params, objective = small.start
    values, vectors = dense(objective.loss, params)
    _, restore = ravel_pytree(params)
    for other in (-2, 0):
        value, _ = jax.jit(lambda p, v: top_eigenpair(objective.loss, p, restore(v)))(params, vectors[:, other])
        np.testing.assert_allclose(value, values[-1], rtol=1e-9)
