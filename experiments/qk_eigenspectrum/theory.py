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
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, stats

from dynamics.analysis import attention as measures

CHUNK = 250  # sequences sampled at a time, to bound memory


class Moments(NamedTuple):
    """Mean and variance of z_t, by t."""

    mean: np.ndarray
    variance: np.ndarray


class Cell(NamedTuple):
    """A matrix of scores, and the length of the sequences.

    Attributes:
        mean, variance: of the eigenvalues of the symmetric part of W.
        dimension: d.
        length: T.
        skew: size of the antisymmetric part, ‖W − Wᵀ‖_F / (2√d).
    """

    mean: float
    variance: float
    dimension: int
    length: int
    skew: float = 0.0


def matrix(cell: Cell, seed: int) -> np.ndarray:
    """W: eigenvectors uniformly random, eigenvalues with exactly this mean and variance, and the antisymmetric part."""
    random = np.random.default_rng(seed)
    d = cell.dimension
    normal = random.normal(size=d)
    eigenvalues = cell.mean + np.sqrt(cell.variance) * (normal - normal.mean()) / normal.std()
    basis, _ = np.linalg.qr(random.normal(size=(d, d)))
    skew = np.tril(random.normal(size=(d, d)), -1)
    skew -= skew.T
    return (basis * eigenvalues) @ basis.T + cell.skew * np.sqrt(d) * skew / np.linalg.norm(skew)


def _traces(W: np.ndarray, covariance: np.ndarray) -> tuple[float, float, float]:
    product = W @ covariance
    return np.trace(product), np.trace(product @ product), np.trace(product @ W.T @ covariance)


def walk(W: np.ndarray, covariance: np.ndarray, T: int) -> Moments:
    """The moments for a random walk, t = 1, ..., T."""
    g, a, b = _traces(W, covariance)
    t = np.arange(1, T + 1)
    return Moments(t * g, t**2 * a + t * T * b)


def independent(W: np.ndarray, covariance: np.ndarray, T: int) -> Moments:
    """The moments for independent tokens, t = 1, ..., T."""
    g, a, b = _traces(W, covariance)
    last = np.arange(1, T + 1) == T
    return Moments(np.where(last, g, 0.0), b + np.where(last, a, 0.0))


def crossing_limit(W: np.ndarray, covariance: np.ndarray, T: int) -> np.ndarray:
    """Φ(SNR_t), t = 1, ..., T − 1."""
    g, a, b = _traces(W, covariance)
    t = np.arange(1, T)
    return stats.norm.cdf(g / np.sqrt(a + b * T / (T - t)))


def crossing(W: np.ndarray, covariance: np.ndarray, T: int, t: int) -> float:
    """P(z_T > z_t) of a random walk, exactly: z_T − z_t = δᵀ W (x_t + δ) with δ = x_T − x_t independent of x_t.

    With λ the eigenvalues of this form in independent N(0, 1) variables, P = ½ + (1/π) ∫_0^∞ sin θ(u) / (u ρ(u)) du,
    θ = ½ Σ arctan(λu), ρ = Π (1 + λ²u²)^¼ (Imhof 1961).
    """
    root = np.linalg.cholesky(covariance)
    of_walk, of_step = np.sqrt(t) * root, np.sqrt(T - t) * root
    upper = of_step.T @ W @ of_walk
    square = of_step.T @ W @ of_step
    form = np.block([[np.zeros_like(square), upper.T / 2], [upper / 2, (square + square.T) / 2]])
    eigenvalues = np.linalg.eigvalsh(form)
    eigenvalues = eigenvalues / np.abs(eigenvalues).max()  # scaling does not change the sign of the form

    def integrand(u: float) -> float:
        angle = 0.5 * np.sum(np.arctan(eigenvalues * u))
        size = 0.25 * np.sum(np.log1p((eigenvalues * u) ** 2))
        return np.sin(angle) / u * np.exp(-size)

    # The integrand falls like exp(−Σλ²u²/4): beyond this u it is below 1e-12.
    last = max(10.0, 20 / np.sqrt(np.sum(eigenvalues**2)))
    integral, _ = integrate.quad(integrand, 0, last, limit=500, epsabs=1e-10)
    return 0.5 + integral / np.pi


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


def sampled(W: np.ndarray, covariance: np.ndarray, T: int, n: int, seed: int, walks: bool = True) -> tuple[Any, Any]:
    """Scores z [n, t] of n sequences of T tokens, random walks or independent, and what the last query attends to.

    Returns:
        z, and the means of entropy, attention on the last token, on the last four, and whether the last wins; the
        attention is that of scores z/d.
    """
    root = np.linalg.cholesky(covariance)
    z, seen = _sampled(jnp.asarray(W), jnp.asarray(root), jax.random.key(seed), T=T, n=n, walks=walks)
    return np.asarray(z), np.asarray(seen)
