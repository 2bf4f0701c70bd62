"""What word counts can do for exactly-one, and how attention leaves the best of them.

With uniform attention F(X) = Σ_h G(x_h) is linear in the counts of the words. The best such G is the minimum of a
convex function; near it the loss waits, on the plateau. Write A = W_KᵀW_Q, B = A/√m for what softmax sees,
M̃ = −√m ∂L/∂A at B = 0, and C_K = C_Q = σ0² m for a wide random start.

One direction of G moves no output while attention is uniform, because every sample holds μ3 once and L − 1 other words:
e ∝ 1 on every word but μ3, 1 − L on μ3. It is free to move, and g = ⟨e, G⟩ changes M̃ = M̃0 + g N, with

    N = e ∘ (1/(nL)) Σ_i g_i y_i counts_i counts_iᵀ        (row k times e_k).

The second derivatives of L are symmetric, so that scores B push g by ⟨N, B⟩. To first order in B

    d/dt ⟨N, B⟩ = 2σ0² (⟨N, M̃0⟩ + g ‖N‖²),    ġ = S ⟨N, B⟩,    and therefore
    g(t) + g* = (g(0) + g*) cosh(r t),    r = σ0 ‖N‖ √(2S),    g* = ⟨N, M̃0⟩ / ‖N‖².

Values and scores drive each other at a rate without m and m1. (Scores alone, with fixed values, grow at 2‖M̃‖/√m only,
which is slower where σ0² √m is not tiny.) It ends when C_V, which grows like g² e eᵀ/S, drives G as much as S does: at
m1 g² of the order of S², from where on the growth is faster than exponential. The plateau therefore ends at

    t = (1/r) (log(S/√m1) + a number that depends on the data)    for σ0 → 0.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import special

from dynamics.runs.starts import named_keys
from dynamics.tasks.cooccurrence import COMMON
from experiments.cooccurrence.xor import ExactlyOne

# (number of targets in a sample, probability, y) of exactly-one.
OUTCOMES = ((0, 1 / 6, -1.0), (1, 1 / 3, 1.0), (2, 1 / 2, -1.0))
NEWTON_STEPS, SMALLEST = 100, 1e-6  # of a loss that has a minimum


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


class Escape(NamedTuple):
    """What the growth of the scores on the plateau depends on.

    Attributes:
        direction: e, the direction of G that moves no output.
        rate: ‖N‖ = r / (σ0 √(2S)).
        offset: g*.
        slope: M̃0, key × query.
    """

    direction: Float[np.ndarray, " d"]
    rate: float
    offset: float
    slope: Float[np.ndarray, "d d"]


def best_word_count(
    counts: Float[np.ndarray, "n d"], label: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"]
) -> WordCount:
    """The minimum over G of Σ_i w_i log(1 + exp(−y_i Σ_k counts_ik G_k)); of all minima the shortest G.

    Newton's method from G = 0, whose steps stay in the span of the samples, halved until the loss falls.

    Args:
        counts: how often each word occurs in each sample.
        label: ±1.
        weight: w_i, 1/n for a training set.

    Raises:
        ValueError: when there is no minimum, because word counts separate the labels.
    """

    def loss(G):
        return float(np.sum(weight * np.logaddexp(0, -label * (counts @ G))))

    G = np.zeros(counts.shape[1])
    for _ in range(NEWTON_STEPS):
        output = counts @ G
        slope = counts.T @ (weight * label * special.expit(-label * output))
        if loss(G) < SMALLEST:
            break
        if np.abs(slope).max() < 1e-9:
            return WordCount(G, loss(G), float(np.sum(weight * (label * output <= 0))))
        curvature = weight * special.expit(output) * special.expit(-output)
        step = np.linalg.pinv(counts.T @ (curvature[:, None] * counts), rcond=1e-10, hermitian=True) @ slope
        while loss(G + step) > loss(G) + 1e-15:
            step = step / 2
        G = G + step
    raise ValueError(f"word counts have no best G: their loss falls to {loss(G):.3g} and further")


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


def escape(counts: Float[np.ndarray, "n d"], label: Float[np.ndarray, " n"], G: Float[np.ndarray, " d"]) -> Escape:
    """The numbers of the plateau at the best word count G.

    M̃0 = (1/(nL)) Σ_i g_i y_i (counts_i ∘ (G − Ḡ_i)) counts_iᵀ, key × query, with Ḡ_i = F_i/L.
    """
    (n, d), length = counts.shape, counts[0].sum()
    output_N = counts @ G
    c_N = label * special.expit(-label * output_N) / (n * length)
    slope_KxQ = np.einsum("n,nk,nq->kq", c_N, counts * (G - output_N[:, None] / length), counts)
    direction = np.ones(d)
    direction[COMMON] = 1 - length
    direction /= np.linalg.norm(direction)
    change_KxQ = direction[:, None] * np.einsum("n,nk,nq->kq", c_N, counts, counts)
    rate = float(np.linalg.norm(change_KxQ))
    return Escape(direction, rate, float(np.sum(change_KxQ * slope_KxQ)) / rate**2, slope_KxQ)


def training_counts(task: ExactlyOne, seed: int) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """The word counts and the labels of the training set of an experiment with this seed."""
    batch = task.training_set(named_keys(seed)["data"])
    tokens, label = jax.device_get((batch.inputs, batch.targets))
    return word_counts(tokens, len(task.word_names)), label.astype(float)
