"""What attention smooths: tokens under given attention, over layers, and what the claims measure of them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import stats

from dynamics.analysis.attention import similarity
from dynamics.analysis.fits import Interval, mean_interval
from dynamics.studies.claims import Data, Finding, above, all_inside, all_of, inside
from dynamics.studies.evidence import Evidence
from experiments.sink_vs_diagonal import theory_geometry as theory

Measure = Callable[[Data, str], Finding]

SPARSE = (1, 2, 4, 16)  # keys of a query
PATTERNS = {
    "uniform": "every key evenly",
    "dense": "softmax of N(0, 1)",
    "peaked": "softmax of N(0, 9)",
    **{f"{k} own": f"{k} keys that each query draws" for k in SPARSE},
    "4 shared": "4 keys for all queries",
    "neighbours": "the 4 keys from the query on",
    "sink": "the first key",
    "diagonal": "itself",
}
LAYERED = ("uniform", "4 own", "sink", "switch", "diagonal")  # "switch": a sink whose value is 0


def attention(pattern: str, tokens: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    """A [query, key] of one of PATTERNS."""
    places, eye = np.arange(tokens), np.eye(tokens)
    if pattern == "uniform":
        return np.full((tokens, tokens), 1 / tokens)
    if pattern in ("dense", "peaked"):
        weights = np.exp(rng.normal(scale={"dense": 1.0, "peaked": 3.0}[pattern], size=(tokens, tokens)))
        return weights / weights.sum(axis=1, keepdims=True)
    if pattern.endswith("own"):
        k = int(pattern.split(maxsplit=1)[0])
        keys_QxK = np.argsort(rng.random((tokens, tokens)), axis=1)[:, :k]
        return eye[keys_QxK].sum(axis=1) / k
    if pattern == "4 shared":
        return np.tile(eye[rng.permutation(tokens)[:4]].sum(axis=0) / 4, (tokens, 1))
    if pattern == "neighbours":
        return eye[(places[:, None] + np.arange(4)) % tokens].sum(axis=1) / 4
    return eye if pattern == "diagonal" else np.tile(eye[0], (tokens, 1))


def spread(X: Float[np.ndarray, "*draws n d"]) -> Float[np.ndarray, "*draws"]:
    """μ² = ‖(I − J) X‖_F²."""
    return np.sum((X - X.mean(axis=-2, keepdims=True)) ** 2, axis=(-2, -1))


def orthogonal(rng: np.random.Generator, dimension: int) -> Float[np.ndarray, "d d"]:
    """A random orthogonal matrix, all of them alike probable.

    Q of a QR decomposition alone is not: its columns have signs that the algorithm chose, and its mean trace is not 0.
    """
    Q, R = np.linalg.qr(rng.normal(size=(dimension, dimension)))
    return Q * np.sign(np.diag(R))


def one_layer(tokens: int, dimension: int, draws: int, seeds: Sequence[int], correlation: float = 0.0) -> Evidence:
    """[seed, pattern]: the mean of μ²(AX) over that of μ²(X), S(A), and ‖A‖_F²/n, all over draws of A and X.

    Token i + 1 is `correlation` times token i plus an independent part, so that every token is N(0, I).
    """
    names = ("measured", "smoothing", "without_the_mean")
    rows = np.empty((len(seeds), len(PATTERNS), len(names)))
    for row, seed in zip(rows, seeds, strict=True):
        rng = np.random.default_rng(seed)
        X_NxLxD = rng.normal(size=(draws, tokens, dimension))
        for i in range(1, tokens):
            X_NxLxD[:, i] = correlation * X_NxLxD[:, i - 1] + math.sqrt(1 - correlation**2) * X_NxLxD[:, i]
        for one, pattern in zip(row, PATTERNS, strict=True):
            A_NxQxK = np.stack([attention(pattern, tokens, rng) for _ in range(draws)])
            read_NxQxD = np.einsum("nqk,nkd->nqd", A_NxQxK, X_NxLxD)
            differs = np.mean([theory.smoothing(A_QxK) for A_QxK in A_NxQxK])
            one[:] = spread(read_NxQxD).mean() / spread(X_NxLxD).mean(), differs, np.mean(A_NxQxK**2) * tokens
    labels = {"seed": list(seeds), "pattern": list(PATTERNS)}
    return {name: (("seed", "pattern"), rows[..., i]) for i, name in enumerate(names)}, labels, {"tokens": tokens}


def layers(tokens: int, dimension: int, depth: int, draws: int, seeds: Sequence[int]) -> Evidence:
    """The mean cosine of two tokens [seed, path, pattern, layer], and its prediction [path, pattern, layer].

    x_q ← x_q + V Σ_k A_qk x_k, without the first term on the path "replaced". V is a new random orthogonal matrix in
    every layer, and "4 own" draws new keys. Tokens are independent at the start.
    """
    cosines = np.empty((len(seeds), 2, len(LAYERED), depth + 1))
    for by_path, seed in zip(cosines, seeds, strict=True):
        rng = np.random.default_rng(seed)
        for residual in (0, 1):
            for row, pattern in zip(by_path[residual], LAYERED, strict=True):
                states = [_states(pattern, (tokens, dimension), depth, bool(residual), rng) for _ in range(draws)]
                row[:] = np.mean(similarity(jnp.asarray(states)), axis=0)
    stated = np.full((2, len(LAYERED), depth + 1), np.nan)
    for residual in (0, 1):
        for row, pattern in zip(stated[residual], LAYERED, strict=True):
            if pattern == "4 own":  # S and R on average over what queries draw
                row[:] = theory.similarity_over_layers(
                    depth, theory.sparse_smoothing(tokens, 4), 1 / tokens, bool(residual)
                )
            elif pattern != "switch":
                A_QxK = attention(pattern, tokens, np.random.default_rng())
                of = theory.smoothing(A_QxK), theory.overlap(A_QxK)
                row[:] = theory.similarity_over_layers(depth, *of, bool(residual))
    dims = ("path", "pattern", "layer")
    labels = {"seed": list(seeds), "path": ["replaced", "residual"], "pattern": list(LAYERED)}
    arrays: Any = {"similarity": (("seed", *dims), cosines), "stated": (dims, stated)}
    return arrays, {**labels, "layer": list(range(depth + 1))}, {"tokens": tokens}


def _states(
    pattern: str, shape: tuple[int, int], depth: int, residual: bool, rng: np.random.Generator
) -> list[Float[np.ndarray, "n d"]]:
    """The tokens before and after every layer, scaled to the size of those at the start, which changes no cosine."""
    X = rng.normal(size=shape)
    states = [X]
    for _ in range(depth):
        V = orthogonal(rng, shape[1])
        read = np.zeros(shape) if pattern == "switch" else attention(pattern, shape[0], rng) @ X @ V
        X = X + read if residual else read
        if X.any():
            X = X * math.sqrt(X.size) / np.linalg.norm(X)
        states.append(X)
    return states


def value_norms(tokens: int, dimension: int, norms: Sequence[float], draws: int, seeds: Sequence[int]) -> Evidence:
    """The mean cosine of two tokens after one residual layer: of a sink by its value's norm, and of even attention.

    All values are V x with an orthogonal V; that of the sink is multiplied by a number from `norms`, so that this is
    the quotient of its norm and the others', on average.
    """
    sink, even = np.empty((len(seeds), len(norms))), np.empty(len(seeds))
    for i, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        X_NxLxD = rng.normal(size=(draws, tokens, dimension))
        V_NxDxD = np.stack([orthogonal(rng, dimension) for _ in range(draws)])
        values_NxLxD = np.einsum("nld,nde->nle", X_NxLxD, V_NxDxD)
        even[i] = np.mean(similarity(jnp.asarray(X_NxLxD + values_NxLxD.mean(axis=1, keepdims=True))))
        sink[i] = [np.mean(similarity(jnp.asarray(X_NxLxD + norm * values_NxLxD[:, :1]))) for norm in norms]
    labels = {"seed": list(seeds), "value_norm": list(norms)}
    return {"sink": (("seed", "value_norm"), sink), "even": (("seed",), even)}, labels, {"tokens": tokens}


def on_the_line(stated: str, slope_within: float, least_r2: float) -> Measure:
    """Whether measured against stated smoothing, over all patterns, has slope 1 and a large R² by least squares."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case]
        fits = [stats.linregress(one[stated].sel(seed=seed), one.measured.sel(seed=seed)) for seed in one.seed.values]
        slope, r2 = mean_interval([fit.slope for fit in fits]), mean_interval([fit.rvalue**2 for fit in fits])
        return all_inside({"slope": (slope, 1 - slope_within, 1 + slope_within), "R²": (r2, least_r2, np.inf)})

    return measured


def sparse_law(tolerance: float, shared: bool = False) -> Measure:
    """Whether k keys of every query leave 1/k − 1/n of the spread; `shared`: of 4 keys that all queries share."""

    def measured(data: Data, case: str) -> Finding:
        one, parts = data[case].measured, {}
        for k in (4,) if shared else SPARSE:
            quotient = mean_interval(
                one.sel(pattern=f"{k} shared" if shared else f"{k} own")
                / theory.sparse_smoothing(data[case].attrs["tokens"], k)
            )
            parts[f"k = {k}"] = Finding(inside(quotient, 1 - tolerance, 1 + tolerance), f"k = {k}: {quotient}")
        return Finding(all_of(parts).holds, all_of(parts).measured)

    return measured


def smooths_less(pattern: str, than: str, least: float) -> Measure:
    """Whether a pattern leaves more of the spread than another one does, by more than `least`."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case].measured
        left = mean_interval(one.sel(pattern=pattern) - one.sel(pattern=than))
        return Finding(above(left, least), f"leaves {left} more")

    return measured


def last_similarity(data: Data, case: str, pattern: str, path: str) -> Any:
    """The mean cosine after the last layer [seed]."""
    return data[case].similarity.sel(pattern=pattern, path=path).isel(layer=-1)


def alike(pattern: str, path: str, low: float, high: float) -> Measure:
    """Whether the mean cosine after the last layer is between two numbers."""

    def measured(data: Data, case: str) -> Finding:
        cosine = mean_interval(last_similarity(data, case, pattern, path))
        return Finding(inside(cosine, low, high), f"mean cosine {cosine}")

    return measured


def more_alike(pattern: str, than: str, least: float) -> Measure:
    """Whether tokens are more alike under a pattern than under another after the last residual layer."""

    def measured(data: Data, case: str) -> Finding:
        one, other = (last_similarity(data, case, name, "residual") for name in (pattern, than))
        gap = mean_interval(one - other)
        return Finding(
            above(gap, least), f"mean cosine {float(one.mean()):.3f} against {float(other.mean()):.3f}, {gap}"
        )

    return measured


def as_predicted(tolerance: float, shift: int = 0) -> Measure:
    """Whether the mean cosine is that of the prediction at every layer; `shift`: of so many layers later."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case]
        stated = one.stated.shift(layer=-shift)
        worst = Interval(0.0, 0.0, 0.0)
        for path in one.path.values:
            for pattern in one.pattern.values:
                for layer in one.layer.values[1:]:
                    place = {"path": path, "pattern": pattern, "layer": layer}
                    if np.isfinite(float(stated.sel(place))):
                        off = mean_interval(one.similarity.sel(place) - float(stated.sel(place)))
                        worst = max(worst, off, key=lambda one: max(-one.low, one.high))
        return Finding(inside(worst, -tolerance, tolerance), f"furthest {worst}")

    return measured


def equal_at(factor: float, tolerance: float) -> Measure:
    """Whether a sink smooths as much as even attention where its value's norm is `factor` of the others'."""

    def measured(data: Data, case: str) -> Finding:
        crossing = mean_interval(crossings(data[case]) / factor)
        return Finding(inside(crossing, 1 - tolerance, 1 + tolerance), f"over {factor:.4g}: {crossing}")

    return measured


def crossings(one: Any) -> Float[np.ndarray, " seed"]:
    """The norm of the sink's value at which it smooths as much as even attention, linear between the measured norms."""
    norms = one.value_norm.values
    return np.array([np.interp(one.even.sel(seed=s), one.sink.sel(seed=s), norms) for s in one.seed.values])
