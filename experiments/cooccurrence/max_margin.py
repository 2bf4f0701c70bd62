"""The max-margin law of word counts: what the balancing lemmas of arXiv:2410.09605 tend to, in closed form.

While attention is uniform, F(X) = Σ_l G(x_l), and gradient flow of a wide model is Ġ = S z with a slowly varying S. Its
late direction is that of the hard margin: min ‖G‖² with y_i F(X_i) ≥ 1. By Kuhn and Tucker G = Σ_i λ_i y_i Σ_l x_{i,l},
and λ_i is the limit of g_i over a common factor. In a training set of n samples of L words, in which every random word
occurs once, all samples of a type have the same λ: λ1 for I1, λ2 for I2 and I3. Samples of I4 are no support vectors
(see `applies`). Then G(μ1) = G(μ2) = a, G(μ3) = −c, and G = y_i λ_i for the random words of sample i:

    a = (n/2) λ1 − (n/6) λ2        2a − c + (L − 3) λ1 = 1    (I1)
    c = (n/3) λ2 − (n/2) λ1        c − a + (L − 2) λ2 = 1     (I2, I3)

With D = n²/12 + n (2L − 9/2) + (L − 2)(L − 3) the solution is

    λ1 = (7n/6 + L − 2) / D     λ2 = (5n/2 + L − 3) / D     a = n (n + 2L − 3) / 6D     c = n (3n − 2L) / 12D

At late times −Ġ(μ3)/Ġ(μ1) and R(t) tend to c/a, so that Lemmas 4.3 and 4.5 hold with known constants. All of it was
derived here.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.integrate import solve_ivp

from dynamics.config import require
from dynamics.tasks.cooccurrence import SIGNALS


@dataclass(frozen=True)
class MaxMargin:
    """The hard margin of word counts, y_i Σ_l G(x_{i,l}) ≥ 1 with the smallest ‖G‖; see the top of this module.

    Attributes:
        samples: n, a multiple of 6 in a training set; the formulas take any positive number.
        length: L, words per sample.
    """

    samples: float
    length: int

    def __post_init__(self):
        require(self.samples > 0, "samples", self.samples, "must be positive")
        require(self.length >= 3, "length", self.length, "must be at least 3 (μ1, μ2 and μ3 share a sample)")

    @property
    def _determinant(self) -> float:
        n, L = self.samples, self.length
        return n**2 / 12 + n * (2 * L - 9 / 2) + (L - 2) * (L - 3)

    @property
    def multipliers(self) -> tuple[float, float]:
        """λ1 of every sample of I1, λ2 of every sample of I2 and I3."""
        n, L = self.samples, self.length
        return (7 * n / 6 + L - 2) / self._determinant, (5 * n / 2 + L - 3) / self._determinant

    @property
    def target(self) -> float:
        """G(μ1) = G(μ2) = a."""
        n, L = self.samples, self.length
        return n * (n + 2 * L - 3) / (6 * self._determinant)

    @property
    def common(self) -> float:
        """−G(μ3) = c."""
        n, L = self.samples, self.length
        return n * (3 * n - 2 * L) / (12 * self._determinant)

    @property
    def applies(self) -> bool:
        """Whether the samples of I4 are no support vectors: c > 1, or n² − (13L − 27) n − 6 (L − 2)(L − 3) > 0.

        The smallest such n is 13, 26, 39, 53, 80, 187 for L = 3, 4, 5, 6, 8, 16.
        """
        n, L = self.samples, self.length
        return n**2 - (13 * L - 27) * n - 6 * (L - 2) * (L - 3) > 0

    @property
    def ratio(self) -> float:
        """R∞ = c/a = (3n − 2L) / (2n + 4L − 6), the limit of R(t) of Lemma 4.5; 3/2 for n → ∞."""
        return self.common / self.target

    @property
    def gradient_ratio(self) -> float:
        """(n λ1/2 + n λ2/3) / min(a, c): the limit of the larger of the two ratios of Lemma 4.5."""
        n, (first, second) = self.samples, self.multipliers
        return (n * first / 2 + n * second / 3) / min(self.target, self.common)

    @property
    def constant(self) -> float:
        """C∞ = min(c/a − 1, 1 − c/2a): the limit of the largest C with which Lemma 4.3 holds."""
        return min(self.ratio - 1, 1 - self.ratio / 2)

    @property
    def fresh_margin(self) -> float:
        """The smallest y F of a fresh sample in this limit, over all words of the training set; the bound is reached.

        The random words of the fresh sample may all come from training samples of the other label:
        2a − c − (L − 3) λ2 (I1), c − a − (L − 2) λ1 (I2, I3), c − (L − 1) λ1 (I4).

        Where it is positive, the population loss tends to be ∝ (training loss)^fresh_margin: margins grow as
        log(1/loss), and a fixed share of the fresh samples has the smallest. Where it is negative, these samples stay
        wrong, and the population loss grows as log(1/loss) in the end.
        """
        L, a, c, (first, second) = self.length, self.target, self.common, self.multipliers
        return min(2 * a - c - (L - 3) * second, c - a - (L - 2) * first, c - (L - 1) * first)


def generalising_samples(length: int) -> int:
    """n_c(L): the smallest n from which on every fresh sample is classified in the limit of late times.

    The samples of I2 and I3 decide: c − a > (L − 2) λ1, or n² − (20L − 34) n − 12 (L − 2)² > 0. As 20L − 34 > 13L − 27
    and 12 (L − 2)² > 6 (L − 2)(L − 3), the law applies there. n_c is linear in L, (10 + √112) L for large L.
    """
    require(length >= 3, "length", length, "must be at least 3 (μ1, μ2 and μ3 share a sample)")
    half = 10 * length - 17
    return math.floor(half + math.sqrt(half**2 + 12 * (length - 2) ** 2)) + 1


class HardMargin(NamedTuple):
    """The solution of min ‖G‖²/2 with y_i Σ_l G(x_{i,l}) ≥ 1.

    Attributes:
        G: of every word.
        multipliers: λ_i of every sample, 0 where it is no support vector; G = Σ_i λ_i y_i Σ_l x_{i,l}.
    """

    G: Float[np.ndarray, " d"]
    multipliers: Float[np.ndarray, " n"]


def hard_margin(tokens: Int[np.ndarray, "n L"], label: Int[np.ndarray, " n"], vocabulary: int) -> HardMargin:
    """The smallest ‖G‖ with y_i Σ_l G(x_{i,l}) ≥ 1, for any training set, by the interior-point method of Clarabel.

    Raises:
        ConfigError: if no G classifies all samples.
    """
    import cvxpy  # of the extra "convex"

    counts_NxD = np.stack([np.bincount(row, minlength=vocabulary) for row in np.asarray(tokens)])
    G_D = cvxpy.Variable(vocabulary)
    separated = cvxpy.multiply(np.asarray(label), counts_NxD @ G_D) >= 1
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(G_D) / 2), [separated])
    problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    solved = problem.status in (cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE)
    require(solved, "label", problem.status, "must be the labels of samples that some G classifies")
    return HardMargin(np.asarray(G_D.value), np.asarray(separated.dual_value))


def word_counts(
    samples: int, length: int, vocabulary: int | None, losses: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T d"]:
    """G of every word when the training loss has these values, on the flow Ġ = S z from G = 0 with uniform attention.

    All samples of a type move alike. Let α1, α2, α4 be ∫ S g dt / n of a sample of I1, of I2 or I3, and of I4. Then
    G(μ1) = G(μ2) = (n/2) α1 − (n/6) α2, G(μ3) = (n/2) α1 − (n/3) α2 − (n/6) α4, G = y α for the random words of a
    sample, and with y F = K α

        dα/dτ = 1 / (1 + exp(K α))     τ = ∫ S dt / n

    is a closed flow of three numbers, exact in the limit of large m and of a small start. S only sets its pace, so that
    G at a given loss does not depend on S. Late in τ, α tends to (λ1, λ2, 0) log τ.

    Args:
        samples: n.
        length: L.
        vocabulary: d; every random word is at most once in the training set, and words that are not there keep G = 0.
            None for the smallest d that fits.
        losses: below log 2, decreasing.

    Returns:
        G [loss, word]: μ1, μ2, μ3, then the random words of I1, of I2 and I3, of I4, then the others.
    """
    losses = np.asarray(losses, float)
    below = bool((losses < math.log(2)).all() and (np.diff(losses) < 0).all())
    require(below, "losses", losses.tolist(), "must decrease, and be below log 2, the loss of G = 0")
    n, L = samples, length
    share_S = np.array([1 / 2, 1 / 3, 1 / 6])
    K_SxS = np.array(
        [
            [3 * n / 2 + L - 3, -2 * n / 3, -n / 6],
            [-n, n / 2 + L - 2, n / 6],
            [-n / 2, n / 3, n / 6 + L - 1],
        ]
    )

    def loss_of(alpha_S):
        return share_S @ np.logaddexp(0, -K_SxS @ alpha_S)

    def velocity(log_tau, alpha_S):
        return np.exp(log_tau - np.logaddexp(0, K_SxS @ alpha_S))

    def reach(loss):
        def event(log_tau, alpha_S):
            del log_tau
            return math.log(loss_of(alpha_S) / loss)

        return event

    events = [reach(loss) for loss in losses]
    events[-1].terminal = True
    # From τ = 1e-9 on, where α = τ/2 to 9 digits. Late, the loss falls as 1/τ or sooner.
    span, start_S = (math.log(1e-9), 5 - math.log(losses[-1])), np.full(3, 5e-10)
    solved = solve_ivp(velocity, span, start_S, "LSODA", events=events, rtol=1e-10, atol=1e-12)
    alpha_TxS = np.array([states[0] for states in solved.y_events])
    words_S = np.array([n // 2 * (L - 3), n // 3 * (L - 2), n // 6 * (L - 1)])
    smallest = SIGNALS + int(words_S.sum())
    d = smallest if vocabulary is None else vocabulary
    require(d >= smallest, "vocabulary", d, f"must be at least {smallest}: no random word occurs twice")
    signal_SxG = np.array([[n / 2, n / 2, n / 2], [-n / 6, -n / 6, -n / 3], [0, 0, -n / 6]])
    random_TxW = np.repeat(np.array([1, -1, -1]) * alpha_TxS, words_S, axis=1)
    return np.concatenate([alpha_TxS @ signal_SxG, random_TxW, np.zeros((len(losses), d - smallest))], axis=1)
