"""Scores: how much a key matters to a query, head by head. A config picks one by name: `model.scores = "bilinear"`."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.config import Chosen, require
from dynamics.models.balance import Balance


class Score(Chosen):
    """The scores s^h_{k,q} of key x_k for query x_q in every head h; abstract.

    A score is a frozen dataclass that states the shapes of its parameters and computes from them; its fields are its
    options. Heads stand side by side: rows h m/H to (h + 1) m/H of W_Q are those of head h.

    Attributes:
        bilinear: whether s = x_kᵀ W^h x_q, so that `matrices` gives W^h.
        conserved: the names of what `balances` gives.
    """

    choices: ClassVar[dict[str, type]] = {}
    bilinear: ClassVar[bool] = False
    conserved: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def shapes(self, width: int, heads: int) -> dict[str, tuple[int, ...]]:
        """{name of a parameter: its shape in one layer}."""

    @abc.abstractmethod
    def __call__(
        self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int
    ) -> Float[Array, "n H Q K"]:
        """The scores.

        Args:
            params: of one layer, by name.
            x_NxLxM: the tokens.
            heads: H.
        """

    def matrices(self, params: Mapping[str, Any], heads: int) -> Float[Array, "*layer H m m"]:
        """W^h, key × query, where `bilinear`; the parameters may have the layers in front."""
        del params, heads
        raise NotImplementedError(f"{type(self).__name__} has no score matrices")

    def balances(self, params: Mapping[str, Any], heads: int) -> tuple[Balance, ...]:
        """What gradient flow conserves of the parameters of all layers; nothing by default."""
        del params, heads
        return ()


def times(W_PxM: Float[Array, "p m"], x_NxLxM: Float[Array, "n L m"]) -> Float[Array, "n L p"]:
    """W x of every token.

    All tokens are the rows of one matrix: with two axes of tokens XLA would write the gradient of W x transposed before
    it takes that of W from it, which is a third of a training step at p = 1024.
    """
    x_TxM = x_NxLxM.reshape(-1, x_NxLxM.shape[-1])
    return jnp.einsum("tm,pm->tp", x_TxM, W_PxM).reshape(*x_NxLxM.shape[:-1], -1)


def projected(x_NxLxM: Float[Array, "n L m"], W_PxM: Float[Array, "p m"], heads: int) -> Float[Array, "n L H e"]:
    """W x of every head, e = p/H."""
    return times(W_PxM, x_NxLxM).reshape(*x_NxLxM.shape[:2], heads, -1)


def by_head(W_XxPxM: Float[Array, "*layer p m"], heads: int) -> Float[Array, "*layer H e m"]:
    """The rows of every head, e = p/H."""
    *layers, _, width = W_XxPxM.shape
    return W_XxPxM.reshape(*layers, heads, -1, width)


def row_gram(W_XxHxExM: Float[Array, "*layer H e m"]) -> Float[Array, "*layer H e e"]:
    """W Wᵀ of every head."""
    return jnp.einsum("...hem,...hfm->...hef", W_XxHxExM, W_XxHxExM)


def _scaled(scores: Array, scale: float | None, summed: int) -> Array:
    """Scores times the scale; if none is given, divided by the root of the number of products that they sum."""
    if scale is None:
        return scores / jnp.sqrt(jnp.array(summed, scores.dtype))
    return scores * jnp.array(scale, scores.dtype)


@dataclass(frozen=True)
class Factored(Score):
    """s = scale · (W_K^h x_k)·(W_Q^h x_q), with W_Q and W_K [m, m].

    Conserved: W_Q W_Qᵀ − W_K W_Kᵀ of every head, since s depends on them only through W_Kᵀ W_Q.

    Attributes:
        scale: if not given, 1/√(m/H).
    """

    scale: float | None = None

    bilinear: ClassVar[bool] = True
    conserved: ClassVar[tuple[str, ...]] = ("W_Q W_Qᵀ − W_K W_Kᵀ",)

    def shapes(self, width: int, heads: int) -> dict[str, tuple[int, ...]]:
        """See Score."""
        del heads
        return {"W_Q": (width, width), "W_K": (width, width)}

    def __call__(
        self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int
    ) -> Float[Array, "n H Q K"]:
        """See Score."""
        keys_NxKxHxE = projected(x_NxLxM, params["W_K"], heads)
        queries_NxQxHxE = projected(x_NxLxM, params["W_Q"], heads)
        scores_NxHxQxK = jnp.einsum("nkhe,nqhe->nhqk", keys_NxKxHxE, queries_NxQxHxE)
        return _scaled(scores_NxHxQxK, self.scale, keys_NxKxHxE.shape[-1])

    def matrices(self, params: Mapping[str, Any], heads: int) -> Float[Array, "*layer H m m"]:
        """W_Kᵀ W_Q of every head, times the scale."""
        W_K_XxHxExM, W_Q_XxHxExM = by_head(params["W_K"], heads), by_head(params["W_Q"], heads)
        matrices_XxHxMxM = jnp.einsum("...hek,...heq->...hkq", W_K_XxHxExM, W_Q_XxHxExM)
        return _scaled(matrices_XxHxMxM, self.scale, W_K_XxHxExM.shape[-2])

    def balances(self, params: Mapping[str, Any], heads: int) -> tuple[Balance, ...]:
        """W_Q W_Qᵀ and W_K W_Kᵀ [layer, H, m/H, m/H]."""
        queries, keys = (row_gram(by_head(params[name], heads)) for name in ("W_Q", "W_K"))
        return (Balance(self.conserved[0], ("W_Q", "W_K"), queries, keys),)


@dataclass(frozen=True)
class Bilinear(Score):
    """s = scale · x_kᵀ W_QK^h x_q, with W_QK [H, m, m].

    Attributes:
        scale: if not given, 1/√m.
    """

    scale: float | None = None

    bilinear: ClassVar[bool] = True

    def shapes(self, width: int, heads: int) -> dict[str, tuple[int, ...]]:
        """See Score."""
        return {"W_QK": (heads, width, width)}

    def __call__(
        self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int
    ) -> Float[Array, "n H Q K"]:
        """See Score."""
        del heads
        scores_NxHxQxK = jnp.einsum("nkm,hmp,nqp->nhqk", x_NxLxM, params["W_QK"], x_NxLxM)
        return _scaled(scores_NxHxQxK, self.scale, x_NxLxM.shape[-1])

    def matrices(self, params: Mapping[str, Any], heads: int) -> Float[Array, "*layer H m m"]:
        """W_QK, times the scale."""
        del heads
        return _scaled(params["W_QK"], self.scale, params["W_QK"].shape[-1])


@dataclass(frozen=True)
class Tied(Score):
    """s = scale · (W^h x_k)·(W^h x_q): one matrix W [H r, m] for keys and queries, symmetric scores of rank r.

    Nothing is conserved if r ≤ m: Ẇ = W S with symmetric S, whose products reach every direction of W.

    Attributes:
        rank: r.
        scale: if not given, 1/√r.
    """

    rank: int = 1
    scale: float | None = None

    bilinear: ClassVar[bool] = True

    def __post_init__(self):
        require(self.rank >= 1, "rank", self.rank, "must be at least 1")

    def shapes(self, width: int, heads: int) -> dict[str, tuple[int, ...]]:
        """See Score."""
        return {"W": (heads * self.rank, width)}

    def __call__(
        self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int
    ) -> Float[Array, "n H Q K"]:
        """See Score."""
        both_NxLxHxE = projected(x_NxLxM, params["W"], heads)
        return _scaled(jnp.einsum("nkhe,nqhe->nhqk", both_NxLxHxE, both_NxLxHxE), self.scale, self.rank)

    def matrices(self, params: Mapping[str, Any], heads: int) -> Float[Array, "*layer H m m"]:
        """Wᵀ W of every head, times the scale."""
        W_XxHxExM = by_head(params["W"], heads)
        return _scaled(jnp.einsum("...hek,...heq->...hkq", W_XxHxExM, W_XxHxExM), self.scale, self.rank)


@dataclass(frozen=True)
class Additive(Score):
    """s = scale · v^hᵀ tanh(W_K^h x_k + W_Q^h x_q), with W_Q and W_K [m, m] and v [H, m/H].

    Nothing is conserved, since no continuous change of the parameters leaves all scores as they are.

    Attributes:
        scale: 1 if not given.
    """

    scale: float | None = None

    def shapes(self, width: int, heads: int) -> dict[str, tuple[int, ...]]:
        """See Score."""
        return {"W_Q": (width, width), "W_K": (width, width), "v": (heads, width // heads)}

    def __call__(
        self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int
    ) -> Float[Array, "n H Q K"]:
        """See Score."""
        keys_NxKxHxE = projected(x_NxLxM, params["W_K"], heads)
        queries_NxQxHxE = projected(x_NxLxM, params["W_Q"], heads)
        hidden_NxQxKxHxE = jnp.tanh(keys_NxKxHxE[:, None] + queries_NxQxHxE[:, :, None])
        v_HxE = params["v"]
        return _scaled(jnp.einsum("nqkhe,he->nhqk", hidden_NxQxKxHxE, v_HxE), self.scale, 1)


@dataclass(frozen=True)
class Constant(Score):
    """s = scale · (W_K^h x_k)·c^h: a learned query c [H, m/H] in the place of W_Q x_q, with W_K [m, m].

    Conserved: c cᵀ − W_K W_Kᵀ of every head, since s depends on them only through W_Kᵀ c.

    Attributes:
        scale: if not given, 1/√(m/H).
    """

    scale: float | None = None

    conserved: ClassVar[tuple[str, ...]] = ("c cᵀ − W_K W_Kᵀ",)

    def shapes(self, width: int, heads: int) -> dict[str, tuple[int, ...]]:
        """See Score."""
        return {"W_K": (width, width), "c": (heads, width // heads)}

    def __call__(
        self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int
    ) -> Float[Array, "n H Q K"]:
        """See Score."""
        keys_NxKxHxE, c_HxE = projected(x_NxLxM, params["W_K"], heads), params["c"]
        scores_NxHxK = _scaled(jnp.einsum("nkhe,he->nhk", keys_NxKxHxE, c_HxE), self.scale, c_HxE.shape[-1])
        length = x_NxLxM.shape[1]
        return jnp.broadcast_to(scores_NxHxK[:, :, None], (*scores_NxHxK.shape[:2], length, length))

    def balances(self, params: Mapping[str, Any], heads: int) -> tuple[Balance, ...]:
        """The matrices c cᵀ and W_K W_Kᵀ [layer, H, m/H, m/H]."""
        c_XxHxExM = params["c"][..., None]
        return (Balance(self.conserved[0], ("c", "W_K"), row_gram(c_XxHxExM), row_gram(by_head(params["W_K"], heads))),)


SCORES: dict[str, type[Score]] = Score.choices
SCORES |= {
    "factored": Factored,
    "bilinear": Bilinear,
    "tied": Tied,
    "additive": Additive,
    "constant": Constant,
}
