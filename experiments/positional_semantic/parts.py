"""Two tokens, a teacher that mixes them by position and by meaning, and a head of rank one that learns it; its probes.

A sample is two tokens z_l ~ N(0, σ² I) in d dimensions. The student reads x_l = z_l + μ_l p with μ = (1, −1) and the
position p, all of whose entries are 1/√d. With q = Q/√d and u = Q*/√d, vectors whose size is of order one,

    y = T z,  T = (1 − ω) softmax((z u)(z u)ᵀ) + ω A,    F = S x,  S = softmax((x q)(x q)ᵀ),
    L = (1/d) Σ_i ‖F_i − y_i‖²/(2d) + λ ‖q‖²/2,    a sum over n = αd samples,

which is the training loss per dimension of arXiv:2402.03902. Time is that of the paper, too: a step η of GD on q is a
step η on Q of Σ_i ‖F_i − y_i‖²/(2d) + (λ/2) ‖Q‖². The law of z is the same in every rotated frame, so that only ‖u‖ and
u·p of the teacher matter. Here u has entries ±1/√d of alternating signs: ‖u‖ = 1 and u·p = 0 at every d.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

import dynamics
from dynamics.config import require
from experiments.positional_semantic.theory import MIXED, RHO, normal_points

SIGMA = RHO**0.5
SIGNS = np.array([1.0, -1.0])  # μ
SHIFT = SIGNS[:, None] * np.eye(3)[:1][None]  # μ p in coordinates of which the first is along p [1, 2, 3]
MIXING = np.array([[MIXED, 1 - MIXED], [1 - MIXED, MIXED]])  # A
POINTS = 14  # 2^14 points stand for the distribution of new samples


def position(dimension: int) -> Float[Array, " d"]:
    """The position p."""
    return jnp.full(dimension, dimension**-0.5)


def teacher(dimension: int) -> Float[Array, " d"]:
    """The teacher's u."""
    return position(dimension) * jnp.where(jnp.arange(dimension) % 2 == 0, 1.0, -1.0)


def attention(query_NxL: Float[Array, "n L"], key_NxL: Float[Array, "n L"]) -> Float[Array, "n L L"]:
    """softmax(query keyᵀ), by rows."""
    return jax.nn.softmax(query_NxL[:, :, None] * key_NxL[:, None, :], axis=-1)


def mixture(field_NxL: Float[Array, "n L"], omega: Any) -> Float[Array, "n L L"]:
    """T, from the fields z u."""
    return (1 - omega) * attention(field_NxL, field_NxL) + omega * MIXING[None]


@dataclass(frozen=True)
class MixedTeacher(dynamics.Task):
    """Pairs of tokens that a teacher mixes by meaning, with the weight 1 − ω, and by position.

    The squared loss sees coordinates of a sample's vectors in an orthonormal basis of the span of p, z_1 and z_2, times
    √n/d: distances are those in d dimensions, and the mean over samples is L.

    Attributes:
        samples: n = αd.
        dimension: d, even.
        omega: ω.
        shuffled: whether T is that of another sample, so that y says nothing about the meaning of its own tokens.
    """

    dimension: int
    omega: float = 0.3
    shuffled: bool = False

    loss: ClassVar[str] = "squared"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **{"tokens": ("token", "coordinate"), "values": ("token", "axis"), "targets": ("token", "axis"), "omega": ()}
    }
    capabilities: ClassVar[frozenset[str]] = frozenset({"mixed_teacher"})

    def __post_init__(self):
        even = self.dimension >= 4 and self.dimension % 2 == 0
        require(even, "dimension", self.dimension, "must be an even number, at least 4")
        require(0 <= self.omega <= 1, "omega", self.omega, "must be from 0 to 1")

    @property
    def sizes(self) -> dict[str, int]:
        """The dimension d."""
        return {"dimension": self.dimension}

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> dynamics.Batch:
        """New samples; their source is ω, for probes."""
        p, scale = position(self.dimension), self.samples**0.5 / self.dimension
        z_NxLxD = SIGMA * jax.random.normal(key, (n, 2, self.dimension))
        T_NxLxL = mixture(z_NxLxD @ teacher(self.dimension), self.omega)
        if self.shuffled:
            T_NxLxL = jnp.roll(T_NxLxL, 1, axis=0)
        own_NxLxA = in_basis(z_NxLxD, p) * scale
        inputs = {"tokens": z_NxLxD + SIGNS[None, :, None] * p[None, None], "values": own_NxLxA + SHIFT * scale}
        return dynamics.Batch(inputs, T_NxLxL @ own_NxLxA, source={"omega": jnp.asarray(self.omega)})


def in_basis(z_NxLxD: Float[Array, "n 2 d"], p_D: Float[Array, " d"]) -> Float[Array, "n 2 3"]:
    """Coordinates of z_1 and z_2 in the orthonormal basis that Gram and Schmidt make of p, z_1, z_2 in each sample."""
    first, other = (z_NxLxD @ p_D).T
    gram_NxLxL = jnp.einsum("nld,nkd->nlk", z_NxLxD, z_NxLxD)
    second = jnp.sqrt(gram_NxLxL[:, 0, 0] - first**2)
    shared = (gram_NxLxL[:, 0, 1] - first * other) / second
    third = jnp.sqrt(gram_NxLxL[:, 1, 1] - other**2 - shared**2)
    return jnp.stack([first, second, jnp.zeros_like(third), other, shared, third], axis=-1).reshape(-1, 2, 3)


class RankOneHead(dynamics.Model):
    """F = S x with S = softmax((x q)(x q)ᵀ); one vector makes queries and keys.

    Attributes:
        dimension: d.
        start: q at t = 0. "positional": p; "semantic": u; "random": N(0, 1/d) in every entry; "between": from p to u
            on the quarter of a circle, at an angle that is uniform.
        tied: whether keys have the vector of the queries; else S = softmax((x q)(x k)ᵀ), with k = q at t = 0.
    """

    dimension: int
    start: Literal["positional", "semantic", "random", "between"] = "random"
    tied: bool = True
    dtype: Literal["float64", "float32"] = "float64"

    @nn.compact
    def __call__(self, inputs: Mapping[str, Array]) -> tuple[Float[Array, "n 2 3"], dict[str, Any]]:
        """F in the coordinates of the sample, and S."""
        q_D = self.param("q", self._drawn)
        query_NxL = inputs["tokens"] @ q_D
        key_NxL = query_NxL if self.tied else inputs["tokens"] @ self.param("k", lambda key: q_D)
        S_NxLxL = attention(query_NxL, key_NxL)
        return S_NxLxL @ inputs["values"], {"S": S_NxLxL}

    def _drawn(self, key: PRNGKeyArray) -> Float[Array, " d"]:
        d, dtype = self.dimension, jnp.dtype(self.dtype)
        if self.start == "random":
            return jax.random.normal(key, (d,), dtype) * d**-0.5
        share = {"positional": 0, "semantic": 1}.get(self.start, jax.random.uniform(key, (), dtype))
        angle = jnp.asarray(share, dtype) * np.pi / 2
        return (jnp.cos(angle) * position(d) + jnp.sin(angle) * teacher(d)).astype(dtype)


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


def _error(view: dynamics.View, mixed: Callable[[Array], tuple[Array, Array]]) -> Array:
    """E ‖F − y‖²/(2d) over new samples, exact in d up to the quadrature.

    Attention and teacher see three coordinates of z, along p, u and a third direction, in which the error is computed
    as it is. In the d − 3 others, independent of these, E ‖(S − T) z‖² = σ² ‖S − T‖² each.

    Args:
        view: of the probe.
        mixed: the three coordinates of z [points, 2, 3] -> S and F.
    """
    d = view.objective.batch.inputs["tokens"].shape[-1]
    z_NxLxA = SIGMA * jnp.asarray(normal_points(6, POINTS).reshape(-1, 2, 3))
    T_NxLxL = mixture(z_NxLxA[:, :, 1], view.objective.batch.source["omega"])
    S_NxLxL, F_NxLxA = mixed(z_NxLxA)
    inside = jnp.sum((F_NxLxA - T_NxLxL @ z_NxLxA) ** 2, axis=(1, 2))
    outside = (d - 3) * SIGMA**2 * jnp.sum((S_NxLxL - T_NxLxL) ** 2, axis=(1, 2))
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
        return S_NxLxL, S_NxLxL @ x_NxLxA

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
    return _error(view, lambda new_NxLxA: (B_LxL[None], B_LxL[None] @ new_NxLxA))


dynamics.TASKS["mixed_teacher"] = MixedTeacher
dynamics.MODELS["rank_one_head"] = RankOneHead
