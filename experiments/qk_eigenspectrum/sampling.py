"""Random walks and independent tokens of given moments, sampled, beside what the theory says of them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from dynamics.models.attention import Causal, Softmax
from dynamics.studies.evidence import Evidence
from experiments.qk_eigenspectrum import theory
from experiments.qk_eigenspectrum.theory import Cell

SEEN = ("entropy", "last", "last 4", "peak")  # what theory.sampled measures of the last query's attention


def sampling(cells: Sequence[Sequence[float]], samples: int, seeds: Sequence[int], walks: bool) -> Evidence:
    """Sample random walks, or independent tokens, with unit covariance: `samples` from every seed for every cell.

    The matrix of a cell is the same for all seeds.

    Returns:
        Over seed, cell and t (up to the longest T, nan beyond T): the sampled mean, variance and fourth central moment
        of z, and `crossings`, in how many samples z_T > z_t. Over cell and t: `mean_formula`, `variance_formula`, and
        `limit`, Φ(SNR_t). Over cell: the parameters of the cell, `exact`, the exact crossing probability at t = T/2,
        `without_b`, Φ(g/√a), and `operator_share`. Over seed and cell: measures of the attention.
    """
    stated = [Cell.of(*cell) for cell in cells]
    longest = max(cell.length for cell in stated)
    drawn: dict[str, list[list[np.ndarray]]] = {name: [] for name in ("mean", "variance", "fourth", "crossings")}
    formulas: dict[str, list[np.ndarray]] = {name: [] for name in ("mean_formula", "variance_formula", "limit")}
    attention, exact, shares, without_b = [], [], [], []
    for number, cell in enumerate(stated):
        W, covariance, T = theory.matrix(cell, seeds[0] + number), np.eye(cell.dimension), cell.length
        formula = (theory.walk if walks else theory.independent)(W, covariance, T)
        limit = np.append(theory.crossing_limit(W, covariance, T), np.nan)
        for name, row in zip(formulas, (formula.mean, formula.variance, limit), strict=True):
            formulas[name].append(_padded(row, longest))
        rows: dict[str, list[np.ndarray]] = {name: [] for name in drawn}
        looks = []
        for seed in seeds:
            key = jax.random.fold_in(jax.random.key(seed), number)
            z, seen = theory.sampled(W, covariance, T, samples, key, walks)
            centred = z - z.mean(axis=0)
            crossings = np.append((z[:, -1:] > z[:, :-1]).sum(axis=0).astype(float), np.nan)
            found = (z.mean(axis=0), z.var(axis=0, ddof=1), (centred**4).mean(axis=0), crossings)
            for name, row in zip(drawn, found, strict=True):
                rows[name].append(_padded(row, longest))
            looks.append(seen)
        for name, of_seeds in rows.items():
            drawn[name].append(of_seeds)
        attention.append(looks)
        exact.append(theory.crossing(W, covariance, T, T // 2) if walks else np.nan)
        shares.append(theory.operator_share(W, covariance))
        g, a, _ = theory.traces(W, covariance)
        without_b.append(float(stats.norm.cdf(g / np.sqrt(a))))
    arrays: dict[str, Any] = {
        name: (("seed", "cell", "t"), np.swapaxes(np.array(rows), 0, 1)) for name, rows in drawn.items()
    }
    arrays |= {name: (("cell", "t"), np.stack(rows)) for name, rows in formulas.items()}
    arrays["attention"] = (("seed", "cell", "seen"), np.swapaxes(np.array(attention), 0, 1))
    by_cell = {"exact": exact, "operator_share": shares, "without_b": without_b}
    arrays |= {name: (("cell",), np.array(values)) for name, values in by_cell.items()}
    for name, column in zip(Cell._fields, zip(*stated, strict=True), strict=True):
        arrays[f"of_{name}"] = (("cell",), np.array(column))
    labels = {
        "seed": list(seeds),
        "cell": list(range(len(stated))),
        "t": list(range(1, longest + 1)),
        "seen": list(SEEN),
    }
    return arrays, labels, {"samples": samples}


def _padded(row: np.ndarray, length: int) -> np.ndarray:
    return np.pad(row, (0, length - len(row)), constant_values=np.nan)


def maps(cells: Sequence[Sequence[float]], seed: int) -> Evidence:
    """The causal attention of one random walk for every cell [cell, query, key], from scores z/d."""
    seen = []
    for number, cell in enumerate(Cell.of(*cell) for cell in cells):
        W = theory.matrix(cell, seed + number)
        x = np.cumsum(np.random.default_rng(seed).normal(size=(cell.length, cell.dimension)), axis=0)
        scores = jnp.asarray(x @ W.T @ x.T / cell.dimension)  # query, key
        seen.append(np.asarray(Softmax()(scores, Causal()(cell.length))))
    arrays: Any = {"map": (("cell", "query", "key"), np.stack(seen))}
    return arrays, {"cell": list(range(len(seen)))}, {"seed": seed}
