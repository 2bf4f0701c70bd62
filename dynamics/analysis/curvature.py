"""Eigenvalues at either end of the Hessian's spectrum, from Hessian-vector products alone, each with its residual."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from dynamics.config import require

ITERATIONS = 100  # after which the search ends, whatever the residuals are


class Eigenpairs(NamedTuple):
    """Eigenvalues and eigenvectors of ∇²L at one end of the spectrum, the outermost first.

    Attributes:
        values: λ_i [count]; nan where the residual is above the tolerance.
        vectors: v_i, of norm 1, as parameters with a first axis [count].
        residuals: ‖∇²L v_i − λ_i v_i‖ [count], in the units of λ. Some eigenvalue is within this distance of λ_i.
    """

    values: Float[Array, " count"]
    vectors: PyTree
    residuals: Float[Array, " count"]


def hessian_eigenpairs(
    loss: Callable[[PyTree], Float[Array, ""]],
    params: PyTree,
    near: PyTree | None = None,
    count: int = 1,
    end: Literal["largest", "smallest"] = "largest",
) -> Eigenpairs:
    """∇²L v_i = λ_i v_i for the `count` largest or smallest λ_i.

    The search is LOBPCG (Knyazev 2001) on ∇²L or −∇²L. Why not Lanczos, of which the package matfree has a version in
    JAX: LOBPCG stops when its residuals are small, so that a search from a good guess is short, and a block of vectors
    finds repeated eigenvalues, of which Lanczos from one vector finds one copy.

    LOBPCG gives no verdict, so every pair is checked. λ_i is nan unless its residual is at most √ε times the larger of
    |λ_i| and ‖∇²L g‖, where ε is the rounding error of the dtype and g a random vector of norm 1. A small residual says
    that λ_i is an eigenvalue. That it is the outermost one rests on the random part of the start.

    Args:
        loss: L.
        params: the point at which the Hessian is taken.
        near: guesses of the eigenvectors, as parameters with a first axis [count]; if not given, random vectors.
        count: the number of pairs.
        end: which end of the spectrum.

    Raises:
        ConfigError: if `count` is not positive, or not below a fifth of the number of parameters.
    """
    from jax.experimental.sparse.linalg import lobpcg_standard  # here, since it takes 0.3 s and few runs need it

    flat, restore = ravel_pytree(params)
    allowed = f"must be positive and below a fifth of the number of parameters, {flat.size}"
    require(0 < 5 * count < flat.size, "count", count, allowed)
    sign = {"largest": 1.0, "smallest": -1.0}[end]
    # A random part, since an iteration that starts in an invariant subspace never leaves it.
    random_KxP = jax.random.normal(jax.random.key(0), (count, flat.size), flat.dtype)
    random_KxP = random_KxP / jnp.linalg.norm(random_KxP, axis=1, keepdims=True)
    start_KxP = random_KxP if near is None else 0.01 * random_KxP + jax.vmap(lambda v: ravel_pytree(v)[0])(near)
    _, product = jax.linearize(jax.grad(lambda x: loss(restore(x))), flat)
    products = jax.vmap(product, 1, 1)
    tolerance = float(jnp.finfo(flat.dtype).eps) ** 0.5
    # LOBPCG stops at residuals of 10 n tol (λ + ‖∇²L v‖): here a tenth of the tolerance.
    stop = tolerance / (200 * flat.size)
    _, vectors_PxK, _ = lobpcg_standard(lambda x: sign * products(x), start_KxP.T, ITERATIONS, stop)
    images_PxK = products(vectors_PxK)
    values_K = jnp.sum(vectors_PxK * images_PxK, axis=0)
    residuals_K = jnp.linalg.norm(images_PxK - values_K[None] * vectors_PxK, axis=0)
    scale_K = jnp.maximum(jnp.abs(values_K), jnp.linalg.norm(product(random_KxP[0])))
    checked_K = jnp.where(residuals_K <= tolerance * scale_K, values_K, jnp.nan)
    return Eigenpairs(checked_K, jax.vmap(restore)(vectors_PxK.T), residuals_K)
