"""One head on orthonormal words, by look-up.

With orthonormal words a bilinear form or a linear functional of the word vectors is a look-up in its table over the
vocabulary, so that the cost of the products does not grow with the number of samples. The samples are the last axis
of every array: on a CPU the softmax over five keys then runs along contiguous memory, and a training step costs what
its matrix products cost.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


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
