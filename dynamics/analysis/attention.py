"""Measures of attention, of score matrices and of token vectors, which probes report.

Attention p is [..., key, query, n], and zero at keys that are masked for a query; means are over queries and samples.
Values v are [..., key, e, n], with e entries.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

MOMENTS = ("mean", "variance", "normality", "size")


def entropy(p: Float[Array, "*heads K Q n"]) -> Float[Array, "*heads"]:
    """The mean of −Σ_k p log p in nats: 0 for attention to one key, log K for uniform attention."""
    plogp = jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0)
    return -jnp.mean(jnp.sum(plogp, axis=-3), axis=(-2, -1))


def smoothing(p: Float[Array, "*heads K Q n"]) -> Float[Array, "*heads"]:
    """S = Σ_kq (p_kq − p̄_k)² / (Q − 1), p̄_k the mean over queries, the mean over samples.

    What attention leaves of the differences between independent tokens x_k with a common mean and variance:
    E Σ_q ‖y_q − ȳ‖² = S E Σ_k ‖x_k − x̄‖² for y_q = Σ_k p_kq x_k with as many queries as keys, if attention does not
    depend on the tokens. 0 where all queries attend alike, 1 where each attends to one key of its own.
    """
    differences = p - jnp.mean(p, axis=-2, keepdims=True)
    return jnp.mean(jnp.sum(differences**2, axis=(-3, -2)), axis=-1) / (p.shape[-2] - 1)


def on_key(p: Float[Array, "*heads K Q n"], key: int) -> Float[Array, "*heads Q n"]:
    """p_{key,q}, the attention of every query to one position: its mass as a sink."""
    return p[..., key, :, :]


def on_self(p_KxQxN: Float[Array, "*heads K Q n"]) -> Float[Array, "*heads Q n"]:
    """p_{q,q}, the attention of every query to itself: the diagonal."""
    return jnp.einsum("...qqn->...qn", p_KxQxN)


def unspent(p: Float[Array, "*heads K Q n"]) -> Float[Array, "*heads Q n"]:
    """1 − Σ_k p_k: with a learned sink its mass; 0 for softmax without one."""
    return 1 - jnp.sum(p, axis=-3)


def shares(p: Float[Array, "*heads K Q n"]) -> Float[Array, "*heads K Q n"]:
    """p_k / Σ_j p_j, for attention that does not add up to 1; 0 where all p are 0."""
    total = jnp.sum(p, axis=-3, keepdims=True)
    return p / jnp.where(total == 0, 1, total)


def reads(p_KxQxN: Float[Array, "*heads K Q n"], v_KxExN: Float[Array, "*heads K e n"]) -> Float[Array, "*heads Q e n"]:
    """o_q = Σ_k p_{k,q} v_k, what a head reads."""
    return jnp.einsum("...kqn,...ken->...qen", p_KxQxN, v_KxExN)


def norm_ratio(v: Float[Array, "*heads K e n"], key: int) -> Float[Array, "*heads"]:
    """The mean ‖v_key‖ over samples, divided by the median of ‖v_k‖ over all other keys and samples."""
    norms = jnp.linalg.norm(v, axis=-2)
    others = jnp.delete(norms, key, axis=-2)
    return jnp.mean(norms[..., key, :], axis=-1) / jnp.median(others, axis=(-2, -1))


def _near(keys: int, window: int) -> Bool[Array, "K Q"]:
    distance = jnp.arange(keys)[None, :] - jnp.arange(keys)[:, None]  # from the key forward to the query
    return (distance >= 0) & (distance < window)


def within(p_KxQxN: Float[Array, "*heads K Q n"], window: int) -> Float[Array, "*heads"]:
    """The mean attention to the last `window` positions up to the query; window 1 is the query itself."""
    near_KxQ = _near(p_KxQxN.shape[-3], window).astype(p_KxQxN.dtype)
    return jnp.mean(jnp.einsum("...kqn,kq->...qn", p_KxQxN, near_KxQ), axis=(-2, -1))


def peak_within(p: Float[Array, "*heads K Q n"], window: int) -> Float[Array, "*heads"]:
    """The share of queries that attend most to one of the last `window` positions up to the query."""
    peak = jax.nn.one_hot(jnp.argmax(p, axis=-3), p.shape[-3], axis=-3, dtype=p.dtype)
    return within(peak, window)


def mean_distance(p_KxQxN: Float[Array, "*heads K Q n"]) -> Float[Array, "*heads"]:
    """The mean of Σ_k p_k |q − k|, the average distance between a query and the keys that it attends to."""
    keys = jnp.arange(p_KxQxN.shape[-3])
    distance_KxQ = jnp.abs(keys[None, :] - keys[:, None]).astype(p_KxQxN.dtype)
    return jnp.mean(jnp.einsum("...kqn,kq->...qn", p_KxQxN, distance_KxQ), axis=(-2, -1))


def _of_each(function: Callable[[Array], Array], X: Float[Array, "*matrices r c"]) -> Array:
    """Decompose every matrix, one after another.

    On CPUs a batched decomposition occupies a thread of XLA's pool while it waits for others: with two at once all
    threads may wait, and the program never ends (jaxlib 0.10, ParallelBatchMap; as in PyAutoLabs/PyAutoFit#1530).
    """
    decomposed = jax.lax.map(function, X.reshape(-1, *X.shape[-2:]))
    return decomposed.reshape(*X.shape[:-2], *decomposed.shape[1:])


def spectrum(W: Float[np.ndarray, "*heads d d"]) -> Float[np.ndarray, "*heads d 2"]:
    """The eigenvalues, by decreasing real part: (real part, imaginary part); nan for a matrix that is not finite.

    By numpy, on the host.
    """
    finite = np.isfinite(W).all((-2, -1), keepdims=True)
    eigenvalues = np.linalg.eigvals(np.where(finite, W, 0))
    # The small term orders conjugate pairs, whose real parts are equal: the one with negative imaginary part is first.
    order = np.argsort(-eigenvalues.real + 1e-12 * eigenvalues.imag, axis=-1)
    ordered = np.take_along_axis(eigenvalues, order, axis=-1)
    parts = np.stack([ordered.real, ordered.imag], axis=-1).astype(W.dtype)
    return np.where(finite, parts, np.nan)


def moments(W: Float[Array, "*heads d d"]) -> Float[Array, "*heads 4"]:
    """Moments of the eigenvalues λ by traces, in the order of MOMENTS.

    Mean m = tr W / d; variance tr W² / d − m², the mean of (λ − m)², real and possibly negative; normality
    tr W² / ‖W‖_F² in [−1, 1], 1 for symmetric and −1 for antisymmetric W; size ‖W‖_F² / d.
    """
    d = W.shape[-1]
    mean = jnp.trace(W, axis1=-2, axis2=-1) / d
    squares = jnp.sum(W * jnp.swapaxes(W, -1, -2), axis=(-2, -1))
    norm = jnp.sum(W * W, axis=(-2, -1))
    return jnp.stack([mean, squares / d - mean**2, squares / norm, norm / d], axis=-1)


def numerical_rank(X: Float[Array, "*matrices r c"]) -> Float[Array, "*matrices"]:
    """The number of singular values above max(r, c) ε times the largest, where ε is the machine epsilon."""
    return _of_each(jnp.linalg.matrix_rank, X).astype(X.dtype)


def singular_values(X: Float[Array, "*matrices r c"]) -> Float[Array, "*matrices s"]:
    """By decreasing size. Their sum is the nuclear norm, the root of the sum of their squares the Frobenius norm."""
    return _of_each(lambda matrix: jnp.linalg.svd(matrix, compute_uv=False), X)


def effective_rank(X: Float[Array, "*matrices r c"]) -> Float[Array, "*matrices"]:
    """Exp of the entropy of s / Σ s for the singular values s: between 1 and min(r, c)."""
    s = singular_values(X)
    share = s / jnp.sum(s, axis=-1, keepdims=True)
    return jnp.exp(-jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1)), 0), axis=-1))


def similarity(X: Float[Array, "*matrices L m"]) -> Float[Array, "*matrices"]:
    """The mean cosine between different rows."""
    unit = X / jnp.linalg.norm(X, axis=-1, keepdims=True)
    L = X.shape[-2]
    total = jnp.sum(jnp.sum(unit, axis=-2) ** 2, axis=-1)
    return (total - L) / (L * (L - 1))
