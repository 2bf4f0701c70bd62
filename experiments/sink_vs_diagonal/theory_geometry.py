"""What a sink and a diagonal cost, and what attention smooths. Derived here, no theorem of arXiv:2605.08453.

A head has scores s_{qk} = x_kᵀ W x_q of n tokens. A target key t of every query q is preferred with the gap Δ when
(x_t − x_k)ᵀ W x_q ≥ Δ for all other k. A sink has one target for all queries, a diagonal t = q. All norms of W scale
with Δ, which is 1 here. ‖W‖_* is the sum of the singular values, and the smallest ½(‖W_Q‖² + ‖W_K‖²) with
W = W_Kᵀ W_Q: what weight decay of the two factors pays.

A1. Some W has the sink s iff 0 ∉ conv{x_q} and s ∉ conv{x_k: k ≠ s}. If Σ p_q x_q = 0, then Σ p_q (s − x_k)ᵀ W x_q = 0
    is not positive; likewise for s = Σ p_k x_k. Otherwise take W ∝ b aᵀ with the two separating directions.
A2. With γ_q = dist(0, conv{x_q}) and γ_k = dist(s, conv{x_k: k ≠ s}), the smallest norm is 1/(γ_q γ_k) in every
    Schatten norm, by a W of rank one: the nearest points u of the first hull and s − v of the second give
    1 ≤ (s − v)ᵀ W u ≤ γ_k γ_q ‖W‖_op, and W = (s − v) uᵀ / (γ_q γ_k)² has equality.
A3, A4. Tokens x_i = α c + √(1 − α²) r_i with orthonormal c, r_1, ..., r_n: see Aligned.
    For a diagonal and any tokens, adding the constraints up gives tr(W X_cᵀ X_c) ≥ n − 1 for the centred tokens X_c,
    and therefore ‖W‖_* ≥ (n − 1)/σ_max(X_c)² and ‖W‖_F ≥ (n − 1)/‖X_cᵀ X_c‖_F: see diagonal_bounds.
A7. For tokens that are independent of each other and of the attention A, with a common mean and variance,
    E ‖(I − J) A X‖² / E ‖(I − J) X‖² = ‖(I − J) A‖_F² / (n − 1) = S(A), J = 11ᵀ/n: how much the rows of A differ.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dynamics.config import require


@dataclass(frozen=True)
class Aligned:
    """Tokens x_i = α c + √(1 − α²) r_i of unit length, and what they cost (A3, A4).

    Attributes:
        tokens: n.
        alignment: α from 0 to below 1, the cosine of every token with c; α² is that of two tokens.
    """

    tokens: int
    alignment: float = 0.0

    def __post_init__(self):
        require(self.tokens >= 2, "tokens", self.tokens, "must be at least 2")
        require(0 <= self.alignment < 1, "alignment", self.alignment, "must be at least 0 and below 1")

    @property
    def X(self) -> Float[np.ndarray, "n n+1"]:
        """The tokens; c is the first coordinate."""
        own = math.sqrt(1 - self.alignment**2) * np.eye(self.tokens)
        return np.concatenate([np.full((self.tokens, 1), self.alignment), own], axis=1)

    @property
    def query_distance(self) -> float:
        """γ_q = √(α² + (1 − α²)/n)."""
        square = self.alignment**2
        return math.sqrt(square + (1 - square) / self.tokens)

    @property
    def key_distance(self) -> float:
        """γ_k = √((1 − α²) n/(n − 1))."""
        return math.sqrt((1 - self.alignment**2) * self.tokens / (self.tokens - 1))

    @property
    def sink(self) -> float:
        """1/(γ_q γ_k), in every norm; √(n − 1) at α = 0."""
        return 1 / (self.query_distance * self.key_distance)

    @property
    def diagonal_frobenius(self) -> float:
        """√(n − 1)/(1 − α²)."""
        return math.sqrt(self.tokens - 1) / (1 - self.alignment**2)

    @property
    def diagonal_nuclear(self) -> float:
        """(n − 1)/(1 − α²)."""
        return (self.tokens - 1) / (1 - self.alignment**2)

    @property
    def cheapest_alignment(self) -> float:
        """The α at which the sink is cheapest, α² = (n − 2)/(2(n − 1)), where it costs 2 (n − 1)/n."""
        return math.sqrt((self.tokens - 2) / (2 * (self.tokens - 1)))


def diagonal_bounds(X: Float[np.ndarray, "n d"]) -> tuple[float, float]:
    """Lower bounds of a diagonal's Frobenius and nuclear norm, (n − 1)/‖X_cᵀ X_c‖_F and (n − 1)/σ_max(X_c)²."""
    squares = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
    return (len(X) - 1) / float(np.linalg.norm(squares)), (len(X) - 1) / float(squares.max())


def causal_sink(tokens: int) -> dict[str, float]:
    """The costs of a sink at the first of n orthonormal tokens, when query q sees the keys 1 to q.

    Frobenius: every query by itself, w_q = e_1 − (e_1 + ... + e_q)/q with ‖w_q‖² = 1 − 1/q, so that the square is
    n − H_n with H_n = Σ 1/q. Nuclear: the last query's row e_1 − 1/n for every query but the first, which has no rival;
    rank one, √(n − 1) √(1 − 1/n) = (n − 1)/√n. So the two norms ask for different matrices.

    Returns:
        {"frobenius", "nuclear"}: the smallest of each; "nuclear of the smallest frobenius": of the other optimum.
    """
    counts = np.arange(1, tokens + 1)
    rows_QxK = -np.tril(np.ones((tokens, tokens))) / counts[:, None]
    rows_QxK[:, 0] += 1
    return {
        "frobenius": math.sqrt(tokens - float(np.sum(1 / counts))),
        "nuclear": (tokens - 1) / math.sqrt(tokens),
        "nuclear of the smallest frobenius": float(np.linalg.svd(rows_QxK, compute_uv=False).sum()),
    }


def gap_enough(tokens: int, miss: float) -> float:
    """Δ = log((n − 1)(1 − ε)/ε): with such gaps softmax gives the target at least 1 − ε."""
    return math.log((tokens - 1) * (1 - miss) / miss)


def gap_needed(miss: float) -> float:
    """log((1 − ε)/ε): without such gaps to all keys softmax cannot give the target 1 − ε."""
    return math.log((1 - miss) / miss)


def sparse_smoothing(tokens: int, keys: int) -> float:
    """E S = 1/k − 1/n when every query attends evenly to k different keys that it draws by itself."""
    return 1 / keys - 1 / tokens


def overlap(A_QxK: Float[np.ndarray, "n n"]) -> float:
    """R = Σ_{p≠q} A_p·A_q / (n(n − 1)): how much two queries attend to the same keys, on average over pairs."""
    n = len(A_QxK)
    return float(np.sum(A_QxK.sum(axis=0) ** 2) - np.sum(A_QxK**2)) / (n * (n - 1))


def smoothing(A_QxK: Float[np.ndarray, "n n"]) -> float:
    """S = ‖(I − J) A‖_F²/(n − 1)."""
    return float(np.sum((A_QxK - A_QxK.mean(axis=0)) ** 2)) / (len(A_QxK) - 1)


def similarity_over_layers(
    layers: int, smoothing: float, overlap: float, residual: bool
) -> Float[np.ndarray, " layer+1"]:
    """The mean cosine of two tokens before and after layers x_q ← x_q + V Σ_k A_qk x_k with random orthogonal V.

    Write x_q = μ + z_q, with z of variance Z and P = ‖μ‖²; at first Z = 1 and P = 0. Rows of A have sum 1, so that
    attention turns P into P + R Z and Z into S Z. V has no preferred direction: what a residual layer adds is
    orthogonal to what was there, on average. So

        P ← P + (P + R Z),  Z ← Z + S Z,  and without residual  P ← P + R Z,  Z ← S Z;  cosine P/(P + Z).

    After the first layer the z are taken for independent once more. That holds where S is 0 or attention is a
    diagonal, and is an approximation elsewhere.

    Args:
        layers: how many.
        smoothing: S(A), see `smoothing`.
        overlap: R(A), see `overlap`.
        residual: whether attention adds to the tokens or replaces them.
    """
    common, own, cosines = 0.0, 1.0, [0.0]
    for _ in range(layers):
        added, kept = common + overlap * own, smoothing * own
        common, own = (common + added, own + kept) if residual else (added, kept)
        cosines.append(common / (common + own))
    return np.array(cosines)
