"""One head on orthonormal words, by look-up.

With orthonormal words a bilinear form or a linear functional of the word vectors is a look-up in its table over the
vocabulary, so that the cost of the products does not grow with the number of samples. Where samples look at few of
all pairs of words, the columns of their words are multiplied instead, and the cost does not grow with the square of
the vocabulary. The samples are the last axis of every array: on a CPU the softmax over five keys then runs along
contiguous memory, and a training step costs what its matrix products cost.
"""

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float, Int


def look_up_scores(table: Float[Array, "d d"], tokens: Int[Array, "n L"]) -> Float[Array, "K Q n"]:
    """score(key k, query q) = x_kᵀ T x_q for every pair of positions, from the table T over (key, query) words."""
    tokens_LxN = tokens.T
    return table[tokens_LxN[:, None], tokens_LxN[None, :]]


@jax.custom_jvp
def table_of_products(W_K_MxD: Float[Array, "m d"], W_Q_MxD: Float[Array, "m d"]) -> Float[Array, "d d"]:
    """W_Kᵀ W_Q, for every (key, query) pair of words."""
    # The barrier keeps the transposed matrix apart from the product, which XLA otherwise takes along the rows of both,
    # in twice the time. Derivatives have no use for the transposed one.
    return jnp.matmul(jax.lax.optimization_barrier(W_K_MxD.T), W_Q_MxD)


@table_of_products.defjvp
def _table_of_products_jvp(weights, moves):
    (W_K_MxD, W_Q_MxD), (V_K_MxD, V_Q_MxD) = weights, moves
    moved = jnp.einsum("mk,mq->kq", V_K_MxD, W_Q_MxD) + jnp.einsum("mk,mq->kq", W_K_MxD, V_Q_MxD)
    return table_of_products(W_K_MxD, W_Q_MxD), moved


def multiply_columns(
    W_K_MxD: Float[Array, "m d"], W_Q_MxD: Float[Array, "m d"], tokens: Int[Array, "n L"]
) -> Float[Array, "K Q n"]:
    """look_up_scores(W_Kᵀ W_Q, tokens) without the table: n L² m multiplications instead of d² m."""
    keys_NxKxM, queries_NxQxM = (_columns(W_MxD, tokens) for W_MxD in (W_K_MxD, W_Q_MxD))
    return jnp.einsum("nkm,nqm->kqn", keys_NxKxM, queries_NxQxM)


def _columns(W_MxD: Float[Array, "m d"], tokens: Int[Array, "n L"]) -> Float[Array, "n L m"]:
    """The column of every word."""
    # Transposed in memory before it is read, so that a column lies in one piece, and the gradient transposed back
    # before it is used, which is what the first constraint does: otherwise XLA goes through the matrix as it is, column
    # by column, and takes 3 to 5 times as long.
    as_it_is, by_columns = Layout((0, 1)), Layout((1, 0))
    return with_layout_constraint(with_layout_constraint(W_MxD, as_it_is), by_columns).T[tokens]


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
