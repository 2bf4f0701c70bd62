"""Attention as score ∘ mask ∘ normaliser ∘ value: masks and normalisers, and one head on orthonormal words.

With orthonormal words a bilinear form or a linear functional of the word vectors is a look-up in its table over the
vocabulary, so that the cost of the products does not grow with the number of samples. The samples are the last axis
of every array: on a CPU the softmax over five keys then runs along contiguous memory, and a training step costs what
its matrix products cost.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def causal_mask(length: int) -> Bool[Array, "Q K"]:
    """Keys at or before the query."""
    return jnp.tril(jnp.ones((length, length), bool))


def full_mask(length: int) -> Bool[Array, "Q K"]:
    """All keys."""
    return jnp.ones((length, length), bool)


def _like(mask: Bool[Array, "Q K"], scores: Float[Array, "... Q K"]) -> Bool[Array, "... Q K"]:
    return jnp.expand_dims(mask, tuple(range(scores.ndim - 2)))


def masked_softmax(scores: Float[Array, "... Q K"], mask: Bool[Array, "Q K"]) -> Float[Array, "... Q K"]:
    """Exp s_k / Σ exp s_j over the keys that the mask shows; exactly 0 for the others."""
    return jax.nn.softmax(jnp.where(_like(mask, scores), scores, -jnp.inf), axis=-1)


def masked_relu(scores: Float[Array, "... Q K"], mask: Bool[Array, "Q K"]) -> Float[Array, "... Q K"]:
    """max(s_k, 0) / (number of keys that the mask shows)."""
    return masked_linear(jax.nn.relu(scores), mask)


def masked_linear(scores: Float[Array, "... Q K"], mask: Bool[Array, "Q K"]) -> Float[Array, "... Q K"]:
    """s_k / (number of keys that the mask shows)."""
    shown = _like(mask, scores)
    return jnp.where(shown, scores, 0) / shown.sum(axis=-1, keepdims=True).astype(scores.dtype)


MASKS: dict[str, Callable[[int], Array]] = {"causal": causal_mask, "full": full_mask}
NORMALISERS: dict[str, Callable[[Array, Array], Array]] = {
    "softmax": masked_softmax,
    "relu": masked_relu,
    "linear": masked_linear,
}


def look_up_scores(table: Float[Array, "d d"], tokens: Int[Array, "n L"]) -> Float[Array, "K Q n"]:
    """score(key k, query q) = x_kᵀ T x_q for every pair of positions, from the table T over (key, query) words."""
    tokens_LxN = tokens.T
    return table[tokens_LxN[:, None], tokens_LxN[None, :]]


def look_up_values(table: Float[Array, " d"], tokens: Int[Array, "n L"]) -> Float[Array, "K n"]:
    """value(k) = G(x_k), from the table G over words."""
    return table[tokens.T]


def attend(
    scores: Float[Array, "K Q n"], values: Float[Array, "K n"]
) -> tuple[Float[Array, "Q n"], Float[Array, "K Q n"]]:
    """o_q = Σ_k p_{k,q} v_k with p_q = softmax over the keys of the scores of query q.

    Returns:
        The output at every query, and the attention p.
    """
    attention = jax.nn.softmax(scores, axis=0)
    return jnp.sum(attention * values[:, None], axis=0), attention
