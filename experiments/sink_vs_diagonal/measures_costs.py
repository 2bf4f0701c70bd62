"""What patterns cost: numerical optima over tokens of two kinds, and what the claims measure in them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from dynamics.analysis import margins
from dynamics.studies.claims import Data, Finding, all_of
from dynamics.studies.evidence import Evidence
from experiments.sink_vs_diagonal import theory_geometry as theory

Measure = Callable[[Data, str], Finding]

PATTERNS = ("sink", "diagonal")
SEPARATES = 1e-6  # a distance or a margin above it is not 0; the solver's tolerance is 1e-9
RELATIVE = 1e-6  # error of a closed form


def aligned(sizes: Sequence[int], alignments: Sequence[float], norms: Sequence[margins.Norm]) -> Evidence:
    """The smallest norms [n, alignment, pattern, norm] of aligned tokens: solved numerically, and by closed forms."""
    solved = np.empty((len(sizes), len(alignments), len(PATTERNS), len(norms)))
    stated = np.empty_like(solved)
    for i, n in enumerate(sizes):
        for j, alignment in enumerate(alignments):
            of = theory.Aligned(n, alignment)
            for k, target_Q in enumerate((np.zeros(n, int), np.arange(n))):
                solved[i, j, k] = [margins.hard_margin(of.X, target_Q, norm).cost for norm in norms]
            diagonal = {"frobenius": of.diagonal_frobenius, "nuclear": of.diagonal_nuclear}
            stated[i, j] = [[of.sink for _ in norms], [diagonal[norm] for norm in norms]]
    dims = ("tokens", "alignment", "pattern", "norm")
    labels = {"tokens": list(sizes), "alignment": list(alignments), "pattern": list(PATTERNS), "norm": list(norms)}
    return {"solved": (dims, solved), "stated": (dims, stated)}, labels, {}


def hulls(tokens: int, dimension: int, draws: int, seeds: Sequence[int]) -> Evidence:
    """Gaussian tokens [seed, draw]: γ_q, γ_k, and the largest margin of a sink at the first token for ‖W‖_F ≤ 1."""
    rows = np.empty((len(seeds), draws, 3))
    for row, seed in zip(rows, seeds, strict=True):
        sets = np.random.default_rng(seed).normal(size=(draws, tokens, dimension))
        row[:] = [(*_distances(X), margins.largest_margin(X, np.zeros(tokens, int))) for X in sets]
    names = ("query_distance", "key_distance", "largest_margin")
    arrays: Any = {name: (("seed", "draw"), rows[..., i]) for i, name in enumerate(names)}
    return arrays, {"seed": list(seeds), "draw": list(range(draws))}, {}


def _distances(X: Float[np.ndarray, "n d"]) -> tuple[float, float]:
    """γ_q and γ_k of a sink at the first token."""
    of_queries = margins.nearest_in_hull(X, np.zeros(X.shape[1]))
    return of_queries.distance, margins.nearest_in_hull(X[1:], X[0]).distance


def embeddings(tokens: int, dimensions: Sequence[int], alignments: Sequence[float], seeds: Sequence[int]) -> Evidence:
    """Costs [d, alignment, seed] of random tokens of unit length, x_i ∝ α c + √(1 − α²) g_i.

    c is a unit vector, and g_i is drawn from N(0, I/d). Tokens of one length always have a diagonal, by W ∝ I.

    "distances" is 1/(γ_q γ_k) and "distances_centred" that of the tokens without their mean, ∞ where there is no sink.
    "cost" has the dimensions pattern and norm, and is ∞ for a sink that does not exist; "top" is the share of the
    largest singular value in the sum, of the matrix of least nuclear norm. "bound" is theory_geometry.diagonal_bounds.
    """
    norms: tuple[margins.Norm, ...] = ("operator", "frobenius", "nuclear")
    shape = (len(dimensions), len(alignments), len(seeds))
    distances, centred, bound = np.empty(shape), np.empty(shape), np.empty((*shape, 2))
    cost, top = np.full((*shape, len(PATTERNS), len(norms)), math.inf), np.full((*shape, len(PATTERNS)), math.nan)
    for place in np.ndindex(shape):
        dimension, alignment, seed = dimensions[place[0]], alignments[place[1]], seeds[place[2]]
        # The same draw for every alignment, so that alignments are compared on the same g and c.
        X = _draw(np.random.default_rng([seed, dimension]), tokens, dimension, alignment)
        distances[place], centred[place], bound[place] = _sink(X), _sink(X - X.mean(axis=0)), theory.diagonal_bounds(X)
        for k, target_Q in enumerate((np.zeros(tokens, int), np.arange(tokens))):
            if k or math.isfinite(distances[place]):
                solved = {norm: margins.hard_margin(X, target_Q, norm) for norm in norms}
                cost[*place, k] = [solved[norm].cost for norm in norms]
                top[*place, k] = margins.norm_of(solved["nuclear"].W, "operator") / solved["nuclear"].cost
    dims = ("dimension", "alignment", "seed")
    labels = dict(zip(dims, (list(dimensions), list(alignments), list(seeds)), strict=True))
    arrays = {
        "distances": (dims, distances),
        "distances_centred": (dims, centred),
        "cost": ((*dims, "pattern", "norm"), cost),
        "top": ((*dims, "pattern"), top),
        "bound": ((*dims, "bounded"), bound),
    }
    labels |= {"pattern": list(PATTERNS), "norm": list(norms), "bounded": list(norms[1:])}
    return arrays, labels, {"tokens": tokens}


def _draw(rng: np.random.Generator, tokens: int, dimension: int, alignment: float) -> Float[np.ndarray, "n d"]:
    direction = rng.normal(size=dimension)
    own = rng.normal(size=(tokens, dimension)) / math.sqrt(dimension)
    X = alignment * direction / np.linalg.norm(direction) + math.sqrt(1 - alignment**2) * own
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def _sink(X: Float[np.ndarray, "n d"]) -> float:
    """1/(γ_q γ_k), ∞ where one of them is 0."""
    distances = _distances(X)
    return 1 / math.prod(distances) if min(distances) > SEPARATES else math.inf


def representable(*conditions: str) -> Measure:
    """Whether a sink has a positive margin exactly where all these distances are positive."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case]
        stated = np.all([one[name].values > SEPARATES for name in conditions], axis=0)
        separates = one.largest_margin.values > SEPARATES
        wrong = int(np.sum(stated != separates))
        return Finding(
            wrong == 0, f"wrong in {wrong} of {stated.size} sets, {int(separates.sum())} of which have a sink"
        )

    return measured


def largest_margin_is(*distances: str) -> Measure:
    """Whether the largest margin of the sinks that exist is the product of these distances."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case]
        ratio = (one.largest_margin / math.prod(one[name] for name in distances)).values
        error = np.abs(ratio[one.largest_margin.values > SEPARATES] - 1)
        return Finding(bool(error.max() <= RELATIVE), f"relative error at most {error.max():.1e} in {error.size} sets")

    return measured


def one_price(pattern: str) -> Measure:
    """Whether a matrix of rank one gives the pattern, with operator and nuclear norm both equal to 1/(γ_q γ_k)."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case]
        exists = np.isfinite(one.distances.values)
        ratio = (one.cost.sel(pattern=pattern, norm=["operator", "nuclear"]) / one.distances).transpose("norm", ...)
        error = float(np.abs(ratio.values[:, exists] - 1).max())
        top = float(one.top.sel(pattern=pattern).values[exists].min())
        parts = {
            "price": Finding(error <= RELATIVE, f"relative error at most {error:.1e} in {int(exists.sum())} sets"),
            "rank one": Finding(top >= 1 - RELATIVE, f"σ_1 at least {top:.6f} of the sum"),
        }
        return all_of(parts)

    return measured


def closed_forms(aligned: bool = True) -> Measure:
    """Whether every numerical optimum is the closed form; not `aligned`: that of α = 0 at every alignment."""

    def measured(data: Data, case: str) -> Finding:
        stated = data[case].stated
        error = abs(data[case].solved / (stated if aligned else stated.sel(alignment=0.0)) - 1)
        parts = {}
        for pattern in PATTERNS:
            for norm in error.norm.values:
                largest = float(error.sel(pattern=pattern, norm=norm).max())
                parts[f"{pattern}, {norm}"] = Finding(largest <= RELATIVE, f"{pattern}, {norm}: {largest:.1e}")
        return all_of(parts)

    return measured


def diagonal_over_sink(data: Data, case: str, norm: str) -> Any:
    """The cost of the diagonal over that of the sink; 0 where there is no sink."""
    cost = (data[case].cost if "cost" in data[case] else data[case].solved).sel(norm=norm)
    return cost.sel(pattern="diagonal") / cost.sel(pattern="sink")


def ratio_grows_from(norm: str, power: float) -> Measure:
    """Whether diagonal/sink is (n − 1)^power at α = 0, and larger at every other alignment."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case]
        tokens = one.tokens if "tokens" in one.coords else one.attrs["tokens"]
        ratio = diagonal_over_sink(data, case, norm) / (tokens - 1) ** power
        at_0, others = ratio.sel(alignment=0.0), ratio.where(ratio.alignment > 0)
        error, least = float(abs(at_0 - 1).max()), float(others.min())
        parts = {
            "equality": Finding(error <= RELATIVE, f"relative error at α = 0 at most {error:.1e}"),
            "larger": Finding(least > 1, f"over that at least {least:.3g} elsewhere"),
        }
        return all_of(parts)

    return measured


def bounded(pattern: str) -> Measure:
    """Whether the pattern costs at least the diagonal's lower bounds, in every set of tokens."""

    def measured(data: Data, case: str) -> Finding:
        bound = data[case].bound.rename(bounded="norm")
        ratio = data[case].cost.sel(pattern=pattern, norm=bound.norm) / bound
        parts = {}
        for norm in bound.norm.values:
            least = float(ratio.sel(norm=norm).min())
            parts[str(norm)] = Finding(least >= 1 - RELATIVE, f"{norm}: at least {least:.4f} of the bound")
        return all_of(parts)

    return measured


def sink_is_cheaper(alignment: float, dimensions: Sequence[int], centred: bool = False) -> Measure:
    """Whether diagonal/sink is above 1 in nuclear norm in every set with this alignment and one of these dimensions.

    `centred`: with the sink's cost for the same tokens without their mean; the diagonal's is then too large.
    """

    def measured(data: Data, case: str) -> Finding:
        one = data[case].sel(alignment=alignment, dimension=list(dimensions))
        sink = one.distances_centred if centred else one.distances
        ratio = one.cost.sel(pattern="diagonal", norm="nuclear") / sink
        low, high = float(ratio.min()), float(ratio.max())
        holds = True if low > 1 else False if high < 1 else None
        return Finding(holds, f"diagonal over sink {low:.3g} to {high:.3g} in {ratio.size} sets")

    return measured
