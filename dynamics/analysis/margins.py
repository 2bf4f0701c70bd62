"""Distances to convex hulls, and the smallest score matrix with which every query prefers a given key.

Solved by Clarabel through cvxpy, of the extra "convex".
"""

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dynamics.config import require

Norm = Literal["operator", "frobenius", "nuclear"]
TOLERANCE = 1e-9  # of the solver: the gap between its primal and dual values, and feasibility
SAME = 1e-10  # relative to the largest, below which a singular value of the tokens is 0


class Nearest(NamedTuple):
    """The point of a convex hull that is nearest to a place.

    Attributes:
        distance: to the place; about the solver's tolerance, not exactly 0, where the place lies in the hull.
        weights: of the points, not negative, with sum 1.
    """

    distance: float
    weights: Float[np.ndarray, " n"]


class HardMargin(NamedTuple):
    """The smallest matrix that separates.

    Attributes:
        cost: its norm.
        W: key × query.
    """

    cost: float
    W: Float[np.ndarray, "d d"]


def nearest_in_hull(points_NxD: Float[np.ndarray, "n d"], place_D: Float[np.ndarray, " d"]) -> Nearest:
    """Min ‖Σ_j p_j x_j − place‖ over p ≥ 0 with Σ p = 1."""
    import cvxpy

    p_N = cvxpy.Variable(len(points_NxD), nonneg=True)
    distance = cvxpy.norm(points_NxD.T @ p_N - place_D)
    _solve(cvxpy.Problem(cvxpy.Minimize(distance), [cvxpy.sum(p_N) == 1]), "points")
    weights_N = np.maximum(np.asarray(p_N.value), 0)
    weights_N = weights_N / weights_N.sum()
    return Nearest(float(np.linalg.norm(points_NxD.T @ weights_N - place_D)), weights_N)


def hard_margin(
    tokens_LxD: Float[np.ndarray, "L d"],
    target_Q: Int[np.ndarray, " L"],
    norm: Norm,
    shown_QxK: Bool[np.ndarray, "L L"] | None = None,
) -> HardMargin:
    """Min ‖W‖ such that (x_t − x_j)ᵀ W x_q ≥ 1 for every query q, its target key t, and every other key j.

    W is sought in the span of the tokens on both sides: projecting on it changes no score and raises none of the norms.

    Args:
        tokens_LxD: x, keys and queries alike.
        target_Q: t of every query.
        norm: which norm is smallest: of the singular values of W, the largest, the root of the sum of squares, or the
            sum. The sum is also the smallest ½(‖W_Q‖² + ‖W_K‖²) with W = W_Kᵀ W_Q.
        shown_QxK: the keys that a query sees; if not given, all. Other keys are no rivals of the target.

    Raises:
        ConfigError: when no W separates.
    """
    import cvxpy

    span_RxD = _span(tokens_LxD)
    within_LxR = tokens_LxD @ span_RxD.T
    W_RxR = cvxpy.Variable((len(span_RxD), len(span_RxD)))
    rivals_PxR, queries_PxR = _pairs(within_LxR, target_Q, shown_QxK)
    gaps_P = cvxpy.sum(cvxpy.multiply(rivals_PxR @ W_RxR, queries_PxR), axis=1)
    of = {"operator": cvxpy.sigma_max, "frobenius": lambda W: cvxpy.norm(W, "fro"), "nuclear": cvxpy.normNuc}
    _solve(cvxpy.Problem(cvxpy.Minimize(of[norm](W_RxR)), [gaps_P >= 1]), "target")
    # Divided by the smallest gap, which is 1 up to the solver's tolerance, so that the constraints hold exactly.
    found_RxR = np.asarray(W_RxR.value)
    separating_RxR = found_RxR / np.min(np.sum(rivals_PxR @ found_RxR * queries_PxR, axis=1))
    return HardMargin(norm_of(separating_RxR, norm), span_RxD.T @ separating_RxR @ span_RxD)


def largest_margin(tokens_LxD: Float[np.ndarray, "L d"], target_Q: Int[np.ndarray, " L"]) -> float:
    """Max over ‖W‖_F ≤ 1 of the smallest (x_t − x_j)ᵀ W x_q; 0 when no W separates, else 1 / the smallest ‖W‖_F."""
    import cvxpy

    span_RxD = _span(tokens_LxD)
    W_RxR, margin = cvxpy.Variable((len(span_RxD), len(span_RxD))), cvxpy.Variable()
    rivals_PxR, queries_PxR = _pairs(tokens_LxD @ span_RxD.T, target_Q, None)
    gaps_P = cvxpy.sum(cvxpy.multiply(rivals_PxR @ W_RxR, queries_PxR), axis=1)
    _solve(cvxpy.Problem(cvxpy.Maximize(margin), [gaps_P >= margin, cvxpy.norm(W_RxR, "fro") <= 1]), "target")
    return float(np.asarray(margin.value))


def margins(
    scores_QxK: Float[np.ndarray, "L L"],
    target_Q: Int[np.ndarray, " L"],
    shown_QxK: Bool[np.ndarray, "L L"] | None = None,
) -> Float[np.ndarray, " pairs"]:
    """s_{q,t} − s_{q,j} of every query q, its target t and every other key j that it sees."""
    queries_P, keys_P = _rivals(target_Q, shown_QxK)
    return scores_QxK[queries_P, target_Q[queries_P]] - scores_QxK[queries_P, keys_P]


def norm_of(W: Float[np.ndarray, "d d"], norm: Norm) -> float:
    """The largest singular value, the root of the sum of their squares, or their sum."""
    s = np.linalg.svd(W, compute_uv=False)
    return float({"operator": s.max(), "frobenius": np.sqrt(np.sum(s**2)), "nuclear": s.sum()}[norm])


def _rivals(
    target_Q: Int[np.ndarray, " L"], shown_QxK: Bool[np.ndarray, "L L"] | None
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """(query, key) of all pairs in which the key is a rival of the query's target."""
    length = len(target_Q)
    rival_QxK = np.ones((length, length), bool) if shown_QxK is None else np.array(shown_QxK)
    rival_QxK[np.arange(length), target_Q] = False
    queries_P, keys_P = np.nonzero(rival_QxK)
    return queries_P, keys_P


def _pairs(
    tokens_LxR: Float[np.ndarray, "L r"],
    target_Q: Int[np.ndarray, " L"],
    shown_QxK: Bool[np.ndarray, "L L"] | None,
) -> tuple[Float[np.ndarray, "pairs r"], Float[np.ndarray, "pairs r"]]:
    """x_t − x_j and x_q of all pairs."""
    queries_P, keys_P = _rivals(target_Q, shown_QxK)
    return tokens_LxR[target_Q[queries_P]] - tokens_LxR[keys_P], tokens_LxR[queries_P]


def _span(tokens_LxD: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "r d"]:
    """An orthonormal basis of the span of the tokens."""
    _, s_R, basis_RxD = np.linalg.svd(tokens_LxD, full_matrices=False)
    return basis_RxD[s_R > SAME * s_R[0]]


def _solve(problem: Any, key: str) -> None:
    import cvxpy

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate", UserWarning)  # its status says so as well
        problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=TOLERANCE, tol_gap_rel=TOLERANCE, tol_feas=TOLERANCE)
    solved = problem.status in (cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE)
    require(solved, key, problem.status, "must be such that some matrix separates the target of every query")
