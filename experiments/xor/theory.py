"""What word counts can do for exactly-one, and how fast attention leaves the best of them.

With uniform attention F(X) = Σ_h G(x_h) is linear in the counts of the words. The best such G is the minimum of a convex
function; the loss of a model that learns its values quickly waits there. It is left because the slope of the loss in
the scores, M = −∂L/∂A, does not vanish there. Write A = W_KᵀW_Q, B = A/√m for what softmax sees, and M̃ = √m M, which
depends on G and the data alone. While G and with it M̃ stand still,

    Ẇ_K = W_Q Mᵀ,  Ẇ_Q = W_K M,  so that for singular vectors k, q of M̃ with the singular value s:
    d/dt kᵀAq = (s/√m) (kᵀC_K k + qᵀC_Q q),    d/dt (kᵀC_K k + qᵀC_Q q) = (4s/√m) kᵀAq.

At a wide random start C_K and C_Q are σ0² m times the identity, and A is smaller by √m. Therefore

    kᵀBq = κ sinh(2 s t/√m),    κ = σ0² √m,

for the largest s. Attention leaves the plateau when kᵀBq is of order one: at t = (√m / 2s) arsinh(b/κ), with b a number
that depends on the data alone. Two limits follow: t ≈ (√m / 2s) log(2b/κ) for κ ≪ b, the escape from a saddle, and
t ∝ 1/σ0² at every width for κ ≫ b. The number of neurons m1 and the scale of the values drop out.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special

from dynamics.runs.starts import named_keys
from experiments.cooccurrence.xor import ExactlyOne

# (number of targets in a sample, probability, y) of exactly-one.
OUTCOMES = ((0, 1 / 6, -1.0), (1, 1 / 3, 1.0), (2, 1 / 2, -1.0))


class WordCount(NamedTuple):
    """The best function of word counts.

    Attributes:
        values: G, one number a word; for the distribution, the output at no, one and two targets.
        loss: its logistic loss.
        error: the share of samples that it classifies wrongly.
    """

    values: Float[np.ndarray, " d"]
    loss: float
    error: float


def best_word_count(
    counts: Float[np.ndarray, "n d"], label: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | float
) -> WordCount:
    """The minimum over G of Σ_i w_i log(1 + exp(−y_i Σ_k counts_ik G_k)); of all minima the shortest G.

    Args:
        counts: how often each word occurs in each sample.
        label: ±1.
        weight: w_i, 1/n for a training set.

    Raises:
        ValueError: when there is no minimum, because word counts separate the labels.
    """

    def value(G):
        signed = label * (counts @ G)
        return np.sum(weight * np.logaddexp(0, -signed)), -counts.T @ (weight * label * special.expit(-signed))

    def hessian(G):
        output = counts @ G
        return counts.T @ ((weight * special.expit(output) * special.expit(-output))[:, None] * counts)

    zero = np.zeros(counts.shape[1])  # steps stay in the span of the samples
    found = optimize.minimize(value, zero, jac=True, hess=hessian, method="trust-ncg", options={"gtol": 1e-9})
    if not found.success or found.fun < 1e-6:
        raise ValueError(f"word counts have no best G: {found.message}, loss {found.fun:.3g}")
    wrong = label * (counts @ found.x) <= 0
    return WordCount(found.x, float(found.fun), float(np.sum(np.broadcast_to(weight, wrong.shape) * wrong)))


def best_of_the_distribution() -> WordCount:
    """The best function of word counts for n → ∞, F = b + c · (number of targets); `values` is F at 0, 1 and 2.

    By convexity, averaging a word-count function over the exchange of μ1 and μ2 and over the random words does not
    raise its population loss, and what is left is a function of the number of targets, linear in it.
    """
    number, weight, label = np.array(OUTCOMES).T
    best = best_word_count(np.stack([np.ones(3), number], axis=1), label, weight)
    b, c = best.values
    return best._replace(values=b + c * number)


def word_counts(tokens: Int[np.ndarray, "n L"], vocabulary: int) -> Float[np.ndarray, "n d"]:
    """How often each word occurs in each sample."""
    return np.eye(vocabulary)[tokens].sum(axis=1)


def score_slope(
    counts: Float[np.ndarray, "n d"], label: Float[np.ndarray, " n"], G: Float[np.ndarray, " d"]
) -> Float[np.ndarray, "d d"]:
    """M̃ = −√m ∂L/∂A at A = 0: (1/(nL)) Σ_i g_i y_i (counts_i ∘ (G − Ḡ_i)) counts_iᵀ, key × query; Ḡ_i = F_i/L."""
    n, length = counts.shape[0], counts[0].sum()
    output_N = counts @ G
    c_N = label * special.expit(-label * output_N) / (n * length)
    centred_NxD = counts * (G - output_N[:, None] / length)
    return np.einsum("n,nk,nq->kq", c_N, centred_NxD, counts)


def training_counts(task: ExactlyOne, seed: int) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """The word counts and the labels of the training set of an experiment with this seed."""
    batch = task.training_set(named_keys(seed)["data"])
    tokens, label = jax.device_get((batch.tokens, batch.label))
    return word_counts(tokens, len(task.word_names)), label.astype(float)
