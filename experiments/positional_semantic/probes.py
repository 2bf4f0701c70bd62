"""What is recorded of the head: its overlaps with positions and with the teacher, losses per dimension, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy import stats

import dynamics
from experiments.positional_semantic.parts import SIGNS, attention, mixture, position, teacher

POINTS = 14  # 2^14 points stand for the distribution of new samples


@functools.cache
def normal_points(dimensions: int) -> Float[np.ndarray, "points k"]:
    """Independent normal variables at the points of Sobol's sequence, scrambled with a fixed seed."""
    return stats.norm.ppf(stats.qmc.Sobol(dimensions, seed=0).random_base2(POINTS))


@dynamics.probe()
def m(params: PyTree, view: dynamics.View) -> Array:
    """m = |Q·1|/d, the overlap with the positions."""
    del view
    return jnp.abs(params["q"] @ position(len(params["q"])))


@dynamics.probe()
def theta(params: PyTree, view: dynamics.View) -> Array:
    """θ/σ² = |Q·Q*|/d, the overlap with the teacher."""
    del view
    return jnp.abs(params["q"] @ teacher(len(params["q"])))


@dynamics.probe()
def size(params: PyTree, view: dynamics.View) -> Array:
    """‖Q‖²/d."""
    del view
    return jnp.sum(params["q"] ** 2)


@dynamics.probe()
def slope(params: PyTree, view: dynamics.View) -> Array:
    """‖∇L‖."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(view.objective.slope(params))))


def _new_samples(view: dynamics.View) -> tuple[Float[Array, "points 2 3"], Float[Array, "points 2 2"]]:
    """Coordinates of z along p, u and a third direction, and T. The d − 3 other coordinates depend on none of these."""
    source = view.objective.batch.source
    z_NxLxA = source["sigma"] * jnp.asarray(normal_points(6).reshape(-1, 2, 3))
    return z_NxLxA, mixture(z_NxLxA[:, :, 1], source["omega"])


def _error(view: dynamics.View, mixed_NxLxL: Array, read_NxLxA: Array, targets: tuple[Array, Array]) -> Array:
    """E ‖F − y‖²/(2d), of the three coordinates and of the others, in which E ‖(S − T) z‖² = σ² ‖S − T‖² each."""
    z_NxLxA, T_NxLxL = targets
    d, variance = view.objective.batch.inputs["tokens"].shape[-1], view.objective.batch.source["sigma"] ** 2
    inside = jnp.sum((read_NxLxA - jnp.einsum("nlk,nka->nla", T_NxLxL, z_NxLxA)) ** 2, axis=(1, 2))
    outside = (d - 3) * variance * jnp.sum((mixed_NxLxL - T_NxLxL) ** 2, axis=(1, 2))
    return jnp.mean(inside + outside) / (2 * d)


@dynamics.probe()
def generalisation_error(params: PyTree, view: dynamics.View) -> Array:
    """ε_g = E ‖F − y‖²/(2d) over new samples, exact in d, by 2^14 points for the coordinates that attention sees."""
    targets = z_NxLxA, _ = _new_samples(view)
    p, u = position(len(params["q"])), teacher(len(params["q"]))
    x_NxLxA = z_NxLxA + SIGNS[:, None] * np.eye(3)[:1]
    fields = []
    for name in ("q", "k" if "k" in params else "q"):
        # An untied head has a fourth direction; its part of k beside p and u is taken along that of q.
        vector = params[name]
        beside = params["q"] - (params["q"] @ p) * p - (params["q"] @ u) * u
        third = beside / jnp.maximum(jnp.linalg.norm(beside), jnp.finfo(vector.dtype).tiny)
        fields.append(x_NxLxA @ jnp.stack([vector @ p, vector @ u, vector @ third]))
    S_NxLxL = attention(*fields)
    return _error(view, S_NxLxL, jnp.einsum("nlk,nka->nla", S_NxLxL, x_NxLxA), targets)


@dynamics.probe()
def linear_error(params: PyTree, view: dynamics.View) -> Array:
    """ε of ŷ = B z on new samples, with the B that fits the training set best; the same at all times."""
    del params
    batch = view.objective.batch
    n, _, d = batch.inputs["tokens"].shape
    z_NxLxA = batch.inputs["values"] - SIGNS[:, None] * np.eye(3)[:1] * n**0.5 / d
    gram_LxL, with_targets_LxL = (
        jnp.einsum("nla,nka->lk", one, z_NxLxA) for one in (z_NxLxA, batch.targets)
    )
    # Solved by hand for two tokens: a decomposition inside a program of many members can wait for ever.
    (a, b), (_, c) = gram_LxL
    B_LxL = with_targets_LxL @ jnp.array([[c, -b], [-b, a]]) / (a * c - b * b)
    targets = new_NxLxA, _ = _new_samples(view)
    return _error(view, B_LxL[None], jnp.einsum("lk,nka->nla", B_LxL, new_NxLxA), targets)
