"""Two tokens, a teacher that mixes them by position and by meaning, and a head of rank one that learns it.

A sample is two tokens z_l ~ N(0, σ² I) in d dimensions. The student reads x_l = z_l + μ_l p with μ = (1, −1) and the
position p, all of whose entries are 1/√d. With q = Q/√d and u = Q*/√d, vectors whose size is of order one,

    y = T z,  T = (1 − ω) softmax((z u)(z u)ᵀ) + ω A,    F = S x,  S = softmax((x q)(x q)ᵀ),
    L = (1/d) Σ_i ‖F_i − y_i‖²/(2d) + λ ‖q‖²/2,    a sum over n = αd samples,

which is the training loss per dimension of arXiv:2402.03902. Time is that of the paper, too: a step η of GD on q is a
step η on Q of Σ_i ‖F_i − y_i‖²/(2d) + (λ/2) ‖Q‖². The law of z is the same in every rotated frame, so that only ‖u‖ and
u·p of the teacher matter. Here u has entries ±1/√d of alternating signs: ‖u‖ = 1 and u·p = 0 at every d.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

import dynamics
from dynamics.config import require

SIGNS = np.array([1.0, -1.0])  # μ
SHIFT = SIGNS[:, None] * np.eye(3)[:1][None]  # μ p in coordinates of which the first is along p [1, 2, 3]
MIXING = np.array([[0.6, 0.4], [0.4, 0.6]])  # A


def position(dimension: int) -> Float[Array, " d"]:
    """The position p."""
    return jnp.full(dimension, dimension**-0.5)


def teacher(dimension: int) -> Float[Array, " d"]:
    """The teacher's u."""
    return position(dimension) * jnp.where(jnp.arange(dimension) % 2 == 0, 1.0, -1.0)


def attention(query_NxL: Float[Array, "n L"], key_NxL: Float[Array, "n L"]) -> Float[Array, "n L L"]:
    """softmax(query keyᵀ), by rows."""
    return jax.nn.softmax(query_NxL[:, :, None] * key_NxL[:, None, :], axis=-1)


def mixture(field_NxL: Float[Array, "n L"], omega: float) -> Float[Array, "n L L"]:
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
        sigma: σ.
        shuffled: whether T is that of another sample, so that y says nothing about the meaning of its own tokens.
    """

    dimension: int
    omega: float = 0.3
    sigma: float = 0.5
    shuffled: bool = False

    loss: ClassVar[str] = "squared"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **{"tokens": ("token", "coordinate"), "values": ("token", "axis"), "targets": ("token", "axis")},
        **{"omega": (), "sigma": ()},
    }
    capabilities: ClassVar[frozenset[str]] = frozenset({"mixed_teacher"})

    def __post_init__(self):
        even = self.dimension >= 4 and self.dimension % 2 == 0
        require(even, "dimension", self.dimension, "must be an even number, at least 4")
        require(0 <= self.omega <= 1, "omega", self.omega, "must be from 0 to 1")
        require(self.sigma > 0, "sigma", self.sigma, "must be positive")

    @property
    def sizes(self) -> dict[str, int]:
        """The dimension d."""
        return {"dimension": self.dimension}

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> dynamics.Batch:
        """New samples; their source is ω and σ, for probes."""
        p, scale = position(self.dimension), self.samples**0.5 / self.dimension
        z_NxLxD = self.sigma * jax.random.normal(key, (n, 2, self.dimension))
        T_NxLxL = mixture(z_NxLxD @ teacher(self.dimension), self.omega)
        if self.shuffled:
            T_NxLxL = jnp.roll(T_NxLxL, 1, axis=0)
        own_NxLxA = in_basis(z_NxLxD, p) * scale
        inputs = {"tokens": z_NxLxD + SIGNS[None, :, None] * p[None, None], "values": own_NxLxA + SHIFT * scale}
        source = {"omega": jnp.asarray(self.omega), "sigma": jnp.asarray(self.sigma)}
        return dynamics.Batch(inputs, jnp.einsum("nlk,nka->nla", T_NxLxL, own_NxLxA), source=source)


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
        return jnp.einsum("nlk,nka->nla", S_NxLxL, inputs["values"]), {"S": S_NxLxL}

    def _drawn(self, key: PRNGKeyArray) -> Float[Array, " d"]:
        d, dtype = self.dimension, jnp.dtype(self.dtype)
        if self.start == "random":
            return jax.random.normal(key, (d,), dtype) * d**-0.5
        share = {"positional": 0, "semantic": 1}.get(self.start, jax.random.uniform(key, (), dtype))
        angle = jnp.asarray(share, dtype) * np.pi / 2
        return (jnp.cos(angle) * position(d) + jnp.sin(angle) * teacher(d)).astype(dtype)


dynamics.TASKS["mixed_teacher"] = MixedTeacher
dynamics.MODELS["rank_one_head"] = RankOneHead
