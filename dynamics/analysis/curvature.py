"""The largest eigenvalue of the Hessian, from Hessian-vector products alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental.sparse.linalg import lobpcg_standard
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree


def top_eigenpair(
    loss: Callable[[PyTree], Float[Array, ""]], params: PyTree, near: PyTree | None = None
) -> tuple[Float[Array, ""], PyTree]:
    """The largest eigenvalue of ∇²L and its eigenvector of norm 1, by LOBPCG to rounding.

    Args:
        loss: L.
        params: the point at which the Hessian is taken.
        near: a guess of the eigenvector; if not given, a random vector.
    """
    flat, restore = ravel_pytree(params)
    # A random part, since an iteration that starts in an invariant subspace never leaves it.
    guess = jax.random.normal(jax.random.key(0), flat.shape, flat.dtype)
    if near is not None:
        guess = 0.01 * guess / jnp.linalg.norm(guess) + ravel_pytree(near)[0]
    _, product = jax.linearize(jax.grad(lambda x: loss(restore(x))), flat)
    values, vectors, _ = lobpcg_standard(jax.vmap(product, 1, 1), guess[:, None])
    return values[0], restore(vectors[:, 0])
