"""What is recorded of the head: its overlaps with positions and with the teacher, losses per dimension, errors."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy import stats

import dynamics
from experiments.positional_semantic.parts import SHIFT, attention, mixture, position, teacher

POINTS = 14  # 2^14 points stand for the distribution of new samples


@functools.cache
def normal_points(dimensions: int) -> Float[np.ndarray, "points k"]:
    """Independent normal variables at the points of Sobol's sequence, scrambled with a fixed seed."""
    return stats.norm.ppf(stats.qmc.Sobol(dimensions, seed=0).random_base2(POINTS))


@dynamics.probe(needs=("mixed_teacher",))
def m(params: PyTree, view: dynamics.View) -> Array:
    """The overlap with the positions, m = |Q·1|/d."""
    del view
    return jnp.abs(params["q"] @ position(len(params["q"])))


@dynamics.probe(needs=("mixed_teacher",))
def theta(params: PyTree, view: dynamics.View) -> Array:
    """The overlap with the teacher, θ/σ² = |Q·Q*|/d."""
    del view
    return jnp.abs(params["q"] @ teacher(len(params["q"])))


@dynamics.probe(needs=("mixed_teacher",))
def size(params: PyTree, view: dynamics.View) -> Array:
    """‖Q‖²/d."""
    del view
    return jnp.sum(params["q"] ** 2)


@dynamics.probe(needs=("mixed_teacher",))
def slope(params: PyTree, view: dynamics.View) -> Array:
    """‖∇L‖."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(view.objective.slope(params))))


def _error(view: dynamics.View, mixed: Callable[[Array], tuple[Array, Array]]) -> Array:
    """E ‖F − y‖²/(2d) over new samples, exact in d up to the quadrature.

    Attention and teacher see three coordinates of z, along p, u and a third direction, in which the error is computed
    as it is. In the d − 3 others, independent of these, E ‖(S − T) z‖² = σ² ‖S − T‖² each.

    Args:
        view: of the probe.
        mixed: the three coordinates of z [points, 2, 3] -> S and F.
    """
    source, d = view.objective.batch.source, view.objective.batch.inputs["tokens"].shape[-1]
    z_NxLxA = source["sigma"] * jnp.asarray(normal_points(6).reshape(-1, 2, 3))
    T_NxLxL = mixture(z_NxLxA[:, :, 1], source["omega"])
    S_NxLxL, F_NxLxA = mixed(z_NxLxA)
    inside = jnp.sum((F_NxLxA - jnp.einsum("nlk,nka->nla", T_NxLxL, z_NxLxA)) ** 2, axis=(1, 2))
    outside = (d - 3) * source["sigma"] ** 2 * jnp.sum((S_NxLxL - T_NxLxL) ** 2, axis=(1, 2))
    return jnp.mean(inside + outside) / (2 * d)


@dynamics.probe(needs=("mixed_teacher",))
def generalisation_error(params: PyTree, view: dynamics.View) -> Array:
    """ε_g = E ‖F − y‖²/(2d); of an untied head, with its vector for the keys in the span of p, u and q."""
    q = params["q"]
    p, u = position(len(q)), teacher(len(q))
    beside = q - (q @ p) * p - (q @ u) * u
    basis = jnp.stack([p, u, beside / jnp.maximum(jnp.linalg.norm(beside), jnp.finfo(q.dtype).tiny)])

    def mixed(z_NxLxA: Array) -> tuple[Array, Array]:
        x_NxLxA = z_NxLxA + SHIFT
        S_NxLxL = attention(x_NxLxA @ (basis @ q), x_NxLxA @ (basis @ params.get("k", q)))
        return S_NxLxL, jnp.einsum("nlk,nka->nla", S_NxLxL, x_NxLxA)

    return _error(view, mixed)


@dynamics.probe(needs=("mixed_teacher",))
def linear_error(params: PyTree, view: dynamics.View) -> Array:
    """ε of ŷ = B z on new samples, with the B that fits the training set best; the same at all times."""
    del params
    batch = view.objective.batch
    n, _, d = batch.inputs["tokens"].shape
    z_NxLxA = batch.inputs["values"] - SHIFT * n**0.5 / d
    # Solved by hand for two tokens: a decomposition inside a program of many members can wait for ever.
    (a, b), (_, c) = jnp.einsum("nla,nka->lk", z_NxLxA, z_NxLxA)
    inverse_LxL = jnp.array([[c, -b], [-b, a]]) / (a * c - b * b)
    B_LxL = jnp.einsum("nla,nka->lk", batch.targets, z_NxLxA) @ inverse_LxL
    return _error(view, lambda new_NxLxA: (B_LxL[None], jnp.einsum("lk,nka->nla", B_LxL, new_NxLxA)))
