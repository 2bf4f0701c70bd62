"""Scores of Gaussian tokens: their mean and variance, which key wins, and the entropy, in closed form and by sampling.

Everything is derived here from first principles; nothing is a numbered theorem of arXiv:2402.02098, whose statements
were not available. The scores are z_t = x_tᵀ W x_T, and the query is the last token. Put

    g = tr(WΣ),   a = tr((WΣ)²),   b = tr(WΣWᵀΣ) = ‖Σ^½ W Σ^½‖_F².

* random walk, x_0 = 0, x_{t+1} = x_t + N(0, Σ), t ≤ T:   E z_t = t g,   Var z_t = t² a + t T b,
  E[z_T − z_t] = (T − t) g,   Var[z_T − z_t] = (T − t)² a + (T − t) T b,   P(z_T > z_t) → Φ(SNR_t) as d → ∞,
  SNR_t = g / √(a + b T/(T − t)).
* independent x_t ~ N(0, Σ):   E z_t = 0 and Var z_t = b for t < T,   E z_T = g and Var z_T = a + b.
* eigenvalues without variance, d → ∞ at fixed g: p_t ∝ exp(g t), t = 1, ..., T, a truncated geometric distribution.

At any d, P(z_T > z_t) is the probability that a quadratic form of Gaussian variables is positive: Imhof's integral.

The hypothesis of the limit. z_T − z_t = Σ λ_i ξ_i² with independent N(0, 1) variables ξ_i, and its cumulants of order
k ≥ 3, in units of its standard deviation, are at most 2^(k/2) (k − 1)!/2 times (max |λ_i| / √Σ λ_i²)^(k−2). So the
distribution tends to a normal one if max |λ_i| / √Σ λ_i² → 0, which holds at a fixed t/T if and only if

    ‖Σ^½ W Σ^½‖_op / ‖Σ^½ W Σ^½‖_F → 0.

This needs a growing rank, since the ratio is at least 1/√rank, and a trained W_QK has at most the rank d_head. At rank
1 the ratio is 1: there, for W = aaᵀ and t = T/2, the probability is ¾ at any d, and Φ(SNR_t) = Φ(1/√3) = 0.718.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from dynamics.analysis import attention as measures

CHUNK = 250  # sequences sampled at a time, to bound memory
FIRST, LAST, STEP = -45.0, 80.0, 1 / 32  # of s in Imhof's integral


class Moments(NamedTuple):
    """Mean and variance of z_t, by t."""

    mean: np.ndarray
    variance: np.ndarray


class Cell(NamedTuple):
    """A matrix of scores, and the length of the sequences.

    Attributes:
        mean, variance: of the eigenvalues of the symmetric part of W; below full rank, of those that are not 0.
        dimension: d.
        length: T.
        skew: size of the antisymmetric part, ‖W − Wᵀ‖_F / (2√d).
        rank: of the symmetric part.
    """

    mean: float
    variance: float
    dimension: int
    length: int
    skew: float
    rank: int

    @classmethod
    def of(
        cls, mean: float, variance: float, dimension: float, length: float, skew: float = 0.0, rank: float = 0
    ) -> "Cell":
        """A cell from plain numbers; a rank of 0 stands for the full one."""
        return cls(float(mean), float(variance), int(dimension), int(length), float(skew), int(rank or dimension))


def matrix(cell: Cell, seed: int) -> np.ndarray:
    """W: eigenvectors uniformly random, eigenvalues with exactly this mean and variance, and the antisymmetric part."""
    random = np.random.default_rng(seed)
    d = cell.dimension
    normal = random.normal(size=cell.rank)
    eigenvalues = np.full(cell.rank, cell.mean)
    if cell.variance > 0:
        eigenvalues += np.sqrt(cell.variance) * (normal - normal.mean()) / normal.std()
    basis = np.linalg.qr(random.normal(size=(d, d)))[0][:, : cell.rank]
    skew = np.tril(random.normal(size=(d, d)), -1)
    skew -= skew.T
    return (basis * eigenvalues) @ basis.T + cell.skew * np.sqrt(d) * skew / np.linalg.norm(skew)


def traces(W: np.ndarray, covariance: np.ndarray) -> tuple[float, float, float]:
    """g, a and b."""
    product = W @ covariance
    return np.trace(product), np.trace(product @ product), np.trace(product @ W.T @ covariance)


def walk(W: np.ndarray, covariance: np.ndarray, T: int) -> Moments:
    """The moments for a random walk, t = 1, ..., T."""
    g, a, b = traces(W, covariance)
    t = np.arange(1, T + 1)
    return Moments(t * g, t**2 * a + t * T * b)


def independent(W: np.ndarray, covariance: np.ndarray, T: int) -> Moments:
    """The moments for independent tokens, t = 1, ..., T."""
    g, a, b = traces(W, covariance)
    last = np.arange(1, T + 1) == T
    return Moments(np.where(last, g, 0.0), b + np.where(last, a, 0.0))


def crossing_limit(W: np.ndarray, covariance: np.ndarray, T: int) -> np.ndarray:
    """Φ(SNR_t), t = 1, ..., T − 1."""
    g, a, b = traces(W, covariance)
    t = np.arange(1, T)
    return stats.norm.cdf(g / np.sqrt(a + b * T / (T - t)))


def operator_share(W: np.ndarray, covariance: np.ndarray) -> float:
    """‖Σ^½ W Σ^½‖_op / ‖Σ^½ W Σ^½‖_F, between 1/√rank and 1; Φ(SNR_t) is the limit as it goes to 0."""
    root = np.linalg.cholesky(covariance)
    sizes = np.linalg.svd(root.T @ W @ root, compute_uv=False)
    return float(sizes[0] / np.linalg.norm(sizes))


def crossing(W: np.ndarray, covariance: np.ndarray, T: int, t: int) -> float:
    """P(z_T > z_t) of a random walk, exactly: z_T − z_t = δᵀ W (x_t + δ) with δ = x_T − x_t independent of x_t."""
    root = np.linalg.cholesky(covariance)
    of_walk, of_step = np.sqrt(t) * root, np.sqrt(T - t) * root
    upper = of_step.T @ W @ of_walk
    square = of_step.T @ W @ of_step
    form = np.block([[np.zeros_like(square), upper.T / 2], [upper / 2, (square + square.T) / 2]])
    return positive(np.linalg.eigvalsh(form))


def positive(eigenvalues: np.ndarray) -> float:
    """P(Σ λ_i ξ_i² > 0) with independent N(0, 1) variables ξ_i, by Imhof's integral (1961).

    P = ½ + (1/π) ∫_0^∞ sin θ(u) / (u ρ(u)) du,   θ = ½ Σ arctan(λ_i u),   ρ = Π (1 + λ_i² u²)^¼.

    With u = e^s it is an integral of sin θ/ρ over all s. This is analytic for |Im s| < π/2 and decays exponentially on
    both sides at every rank: with max |λ_i| = 1 it is at most (n/2) e^s and at most e^(−s/2). So the trapezoidal rule
    converges exponentially in its step. With STEP, FIRST and LAST the error is below 1e-11 for up to 1000 eigenvalues.
    Eigenvalues below n ε of the largest, ε the rounding error, are taken as 0.
    """
    sizes = np.abs(eigenvalues)
    kept = eigenvalues[sizes > len(eigenvalues) * np.finfo(float).eps * sizes.max()] / sizes.max()
    total = 0.0
    for u in np.array_split(np.exp(np.arange(FIRST, LAST, STEP)), 32):
        angle = 0.5 * np.sum(np.arctan(kept * u[:, None]), axis=1)
        size = 0.25 * np.sum(np.log1p((kept * u[:, None]) ** 2), axis=1)
        total += float(np.sum(np.sin(angle) * np.exp(-size)))
    return 0.5 + STEP * total / np.pi


def geometric_entropy(g: float, T: int) -> float:
    """−Σ p log p of p_t ∝ exp(g t), t = 1, ..., T: from log T at g = 0 to 0."""
    log_p = jax.nn.log_softmax(g * jnp.arange(1.0, T + 1))
    return float(-jnp.sum(jnp.exp(log_p) * log_p))


@functools.partial(jax.jit, static_argnames=("T", "n", "walks"))
def _sampled(W: Any, root: Any, key: Any, *, T: int, n: int, walks: bool) -> tuple[Any, Any]:
    def chunk(key: Any) -> tuple[Any, Any]:
        steps = jax.random.normal(key, (CHUNK, T, W.shape[0]), W.dtype) @ root.T
        x_NxTxD = jnp.cumsum(steps, axis=1) if walks else steps
        query_NxD = x_NxTxD[:, -1] @ W.T
        z_NxT = jnp.einsum("ntd,nd->nt", x_NxTxD, query_NxD)
        # Attention of the last query alone, with scores over d.
        p = jax.nn.softmax(z_NxT / W.shape[0], axis=-1).T[:, None]
        last = jnp.stack([jnp.mean(jnp.sum(p[T - w :, 0], axis=0)) for w in (1, 4)])
        peak = jnp.mean(jnp.argmax(p[:, 0], axis=0) == T - 1)
        return z_NxT, jnp.stack([measures.entropy(p), *last, peak.astype(z_NxT.dtype)])

    z, seen = jax.lax.map(chunk, jax.random.split(key, n // CHUNK))
    return z.reshape(n, T), jnp.mean(seen, axis=0)


def sampled(W: np.ndarray, covariance: np.ndarray, T: int, n: int, key: Any, walks: bool = True) -> tuple[Any, Any]:
    """Scores z [n, t] of n sequences of T tokens, random walks or independent, and what the last query attends to.

    Returns:
        z, and the means of entropy, attention on the last token, on the last four, and whether the last wins; the
        attention is that of scores z/d.
    """
    root = np.linalg.cholesky(covariance)
    z, seen = _sampled(jnp.asarray(W), jnp.asarray(root), key, T=T, n=n, walks=walks)
    return np.asarray(z), np.asarray(seen)
