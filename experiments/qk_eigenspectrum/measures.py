"""The statistics of the claims about the QK-eigenspectrum: sampling, and functions (datasets, case) -> Finding."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import stats

from dynamics.models.attention import causal_mask, masked_softmax
from dynamics.studies.claims import Data, Finding
from dynamics.studies.evidence import Evidence
from experiments.qk_eigenspectrum import theory
from experiments.qk_eigenspectrum.theory import Cell

CONFIDENCE = 0.95
SEEN = ("entropy", "last", "last 4", "peak")  # what theory.sampled measures of the last query's attention


def sampling(cells: Sequence[Sequence[float]], samples: int, seed: int, walks: bool) -> Evidence:
    """Sample random walks, or independent tokens, with unit covariance for every cell.

    Returns:
        Over cell and t (up to the longest T, nan beyond T): the sampled mean, variance and crossing of z, and each by
        its `..._formula`. Over cell: `exact`, the exact crossing probability at t = T/2, the parameters of the cell,
        and measures of the attention.
    """
    stated = [Cell(float(m), float(v), int(d), int(T), float(skew)) for m, v, d, T, skew in cells]
    longest = max(cell.length for cell in stated)
    by_t = ("mean", "variance", "crossing", "mean_formula", "variance_formula", "crossing_formula")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in by_t}
    attention, exact = [], []
    for number, cell in enumerate(stated):
        W, covariance, T = theory.matrix(cell, seed + number), np.eye(cell.dimension), cell.length
        z, seen = theory.sampled(W, covariance, T, samples, seed + number, walks)
        formula = (theory.walk if walks else theory.independent)(W, covariance, T)
        rows = {
            "mean": z.mean(axis=0),
            "variance": z.var(axis=0, ddof=1),
            "crossing": np.append((z[:, -1:] > z[:, :-1]).mean(axis=0), np.nan),
            "mean_formula": formula.mean,
            "variance_formula": formula.variance,
            "crossing_formula": np.append(theory.crossing_limit(W, covariance, T), np.nan),
        }
        for name, row in rows.items():
            columns[name].append(np.pad(row, (0, longest - T), constant_values=np.nan))
        attention.append(seen)
        exact.append(theory.crossing(W, covariance, T, T // 2) if walks else np.nan)
    arrays: dict[str, Any] = {name: (("cell", "t"), np.stack(rows)) for name, rows in columns.items()}
    arrays["exact"] = (("cell",), np.array(exact))
    arrays["attention"] = (("cell", "seen"), np.stack(attention))
    for name, column in zip(Cell._fields, zip(*stated, strict=True), strict=True):
        arrays[f"of_{name}"] = (("cell",), np.array(column))
    labels = {"cell": list(range(len(stated))), "t": list(range(1, longest + 1)), "seen": list(SEEN)}
    return arrays, labels, {"samples": samples, "seed": seed}


def maps(cells: Sequence[Sequence[float]], seed: int) -> Evidence:
    """The causal attention of one random walk for every cell [cell, query, key], from scores z/d."""
    seen = []
    for number, (mean, variance, d, T, skew) in enumerate(cells):
        cell = Cell(float(mean), float(variance), int(d), int(T), float(skew))
        W = theory.matrix(cell, seed + number)
        x = np.cumsum(np.random.default_rng(seed).normal(size=(cell.length, cell.dimension)), axis=0)
        scores = jnp.asarray(x @ W.T @ x.T / cell.dimension)  # query, key
        seen.append(np.asarray(masked_softmax(scores, causal_mask(cell.length))))
    arrays: Any = {"map": (("cell", "query", "key"), np.stack(seen))}
    return arrays, {"cell": list(range(len(seen)))}, {"seed": seed}


def _worst(values: Any, bound: float, what: str) -> Finding:
    """Whether the largest value is at most the bound."""
    largest = float(np.nanmax(values))
    return Finding(largest <= bound, f"{what} at most {largest:.3g}")


def means(of: str = "") -> Callable[[Data, str], Finding]:
    """Whether the sampled means of z_t, in this case or in `of`, agree with the formula of this case."""

    def measure(data: Data, case: str) -> Finding:
        sampled, formula = data[of or case], data[case]
        errors = np.abs(sampled["mean"] - formula.mean_formula) / np.sqrt(formula.variance_formula / sampled.samples)
        return _worst(errors, MEANS, "standard errors")

    return measure


def deviations(of: str = "") -> Callable[[Data, str], Finding]:
    """Whether the sampled standard deviations of z_t, in this case or in `of`, agree with the formula of this case."""

    def measure(data: Data, case: str) -> Finding:
        ratio = data[of or case]["variance"] / data[case].variance_formula
        return _worst(np.abs(np.sqrt(ratio) - 1), DEVIATIONS, "relative errors")

    return measure


def _half(evidence: Any, values: Any) -> Any:
    """Values at t = T/2."""
    return values.isel(t=evidence.of_length.astype(int) // 2 - 1)


def crossings(data: Data, case: str) -> Finding:
    """The sampled share of z_T > z_{T/2} against the exact probability, in standard errors."""
    evidence = data[case]
    return _errors(evidence, evidence.exact)


def crossings_in_the_limit(data: Data, case: str) -> Finding:
    """The same against Φ(SNR_t)."""
    evidence = data[case]
    return _errors(evidence, _half(evidence, evidence.crossing_formula))


def crossings_without_b(data: Data, case: str) -> Finding:
    """The same against Φ(g/√a), without the term of b."""
    evidence = data[case]
    SNR = stats.norm.ppf(_half(evidence, evidence.crossing_formula))
    # At t = T/2 the variance is a + 2b, and 3a if W is symmetric, since then a = b.
    return _errors(evidence, stats.norm.cdf(SNR * np.sqrt(3)))


def _errors(evidence: Any, probability: Any) -> Finding:
    probability = np.asarray(probability)
    error = np.sqrt(np.maximum(probability * (1 - probability), 1e-12) / evidence.samples)
    sizes = np.abs(_half(evidence, evidence.crossing).values - probability) / error
    skewed = int((evidence.of_skew > 0).sum())
    within = int((sizes <= CROSSINGS).sum())
    measured = f"{within} of {sizes.size} cells ({skewed} not symmetric), the largest {float(sizes.max()):.2f}"
    return Finding(bool(within == sizes.size and sizes.size >= FEWEST_CELLS and skewed > 0), measured)


def limit(data: Data, case: str) -> Finding:
    """Max over t of |P − Φ(SNR_t)|."""
    evidence = data[case]
    return _worst(np.abs(evidence.crossing - evidence.crossing_formula), LIMIT, "|P − Φ|")


def limit_without_b(data: Data, case: str) -> Finding:
    """The same for SNR = g/√a, which lacks the term of b."""
    evidence = data[case]
    SNR, T = stats.norm.ppf(evidence.crossing_formula), evidence.of_length
    share = (1 + T / (T - evidence.t)).where(evidence.t < T)
    return _worst(np.abs(evidence.crossing - stats.norm.cdf(SNR * np.sqrt(share))), LIMIT, "|P − Φ|")


def _seen(evidence: Any, what: str, mean: float) -> dict[float, float]:
    """{variance: one measure of the last query's attention} at one mean."""
    chosen = evidence.where(evidence.of_mean == mean, drop=True)
    return dict(zip(chosen.of_variance.values.tolist(), chosen.attention.sel(seen=what).values.tolist(), strict=True))


def geometric(variance: float) -> Callable[[Data, str], Finding]:
    """Whether the entropy at this variance and mean 1 is that of the geometric distribution."""

    def measure(data: Data, case: str) -> Finding:
        evidence = data[case]
        H = _seen(evidence, "entropy", 1.0)[variance]
        stated = theory.geometric_entropy(1.0, int(evidence.of_length[0]))
        return Finding(abs(H - stated) <= ENTROPY, f"H = {H:.3f} at v = {variance:g}, geometric {stated:.3f}")

    return measure


def entropy_collapses(high: float, low: float) -> Callable[[Data, str], Finding]:
    """Whether a higher variance lowers the entropy."""

    def measure(data: Data, case: str) -> Finding:
        H = _seen(data[case], "entropy", 1.0)
        shown = f"H = {H[high]:.3f} at v = {high:g}, {H[low]:.3f} at v = {low:g}"
        return Finding(H[high] < COLLAPSED * H[low], shown)

    return measure


def localisation_falls(mean: float) -> Callable[[Data, str], Finding]:
    """Attention on the last four tokens is above one half at the smallest variance, and falls with every increase."""

    def measure(data: Data, case: str) -> Finding:
        mass = _seen(data[case], "last 4", mean)
        ordered = [mass[v] for v in sorted(mass)]
        falls = len(ordered) > 1 and all(a > b for a, b in itertools.pairwise(ordered))
        localised = ordered[0] > 0.5
        shown = ", ".join(f"{mass[v]:.2f} at v = {v:g}" for v in sorted(mass))
        return Finding(falls and localised, shown)

    return measure


def even(mean: float) -> Callable[[Data, str], Finding]:
    """At this mean the query's own key wins against every other key in half of the samples."""

    def measure(data: Data, case: str) -> Finding:
        evidence = data[case].where(data[case].of_mean == mean, drop=True)
        return _worst(np.abs(evidence.crossing - 0.5), EVEN, "|P − ½|")

    return measure


def eigenvalue_deviation(evidence: Any, at: int = -1) -> Any:
    """The standard deviation of the eigenvalues, √(mean |λ − mean λ|²) [seed], at a saved time or the last."""
    spectrum = evidence.qk_spectrum.isel(t=at)
    return np.sqrt(((spectrum - spectrum.mean("mode")) ** 2).sum("part").mean("mode"))


def entropy(evidence: Any, at: int = -1) -> Any:
    """Entropy of attention [seed]."""
    return evidence.attention_entropy.isel(t=at)


def on_current_token(evidence: Any, at: int = -1) -> Any:
    """Attention on the query's own position [seed]."""
    return evidence.attention_within.isel(t=at).sel(window=1)


def best_test_loss(evidence: Any) -> Any:
    """The least loss on fresh samples over all saved times [seed]."""
    return evidence.population_loss.sel(estimate="mean").min("t")


def paired(values: Any) -> tuple[float, float, float]:
    """Mean of paired differences over seeds, and its interval at 95 % by Student's distribution."""
    values = np.asarray(values, float)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def _shown(interval: tuple[float, float, float]) -> str:
    mean, low, high = interval
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _without(case: str) -> str:
    return f"{case.partition(' ')[0]} none"


def concentrates(at: int = -1) -> Callable[[Data, str], Finding]:
    """The deviation of the eigenvalues over the deviation with no penalty is at most CONCENTRATED in most seeds."""

    def measure(data: Data, case: str) -> Finding:
        ratio = (eigenvalue_deviation(data[case], at) / eigenvalue_deviation(data[_without(case)], at)).values
        held = int((ratio <= CONCENTRATED).sum())
        shown = f"{ratio.min():.2f} to {ratio.max():.2f}, in {held} of {ratio.size} seeds"
        return Finding(held >= MOST * ratio.size, shown)

    return measure


def rises(what: Callable[[Any, int], Any], at: int = -1) -> Callable[[Data, str], Finding]:
    """The quantity is higher than with no penalty: the interval of the paired difference is above 0."""

    def measure(data: Data, case: str) -> Finding:
        difference = what(data[case], at) - what(data[_without(case)], at)
        interval = paired(difference)
        shown = f"{_shown(interval)}, higher in {int((difference > 0).sum())} of {difference.size} seeds"
        return Finding(interval[1] > 0, shown)

    return measure


def _gain(data: Data, case: str) -> Any:
    """The share by which the best test loss is lower than with no penalty [seed]."""
    return 1 - best_test_loss(data[case]) / best_test_loss(data[_without(case)])


def generalises(data: Data, case: str) -> Finding:
    """Whether the best test loss is lower than without a penalty: the interval of the paired gain is above 0."""
    interval = paired(_gain(data, case))
    return Finding(interval[1] > 0, f"gain {_shown(interval)}")


def gains_much(other: str) -> Callable[[Data, str], Finding]:
    """Whether the case `other` lowers the best test loss by more than MUCH on average."""

    def measure(data: Data, case: str) -> Finding:
        del case
        interval = paired(_gain(data, other))
        return Finding(interval[0] > MUCH, f"gain {_shown(interval)}")

    return measure


def does_not_generalise(data: Data, case: str) -> Finding:
    """Whether the best test loss is not lower: the interval of the paired gain is not above 0."""
    interval = paired(_gain(data, case))
    return Finding(interval[1] <= 0, f"gain {_shown(interval)}")


# Bounds, set before the seeds of the claims were seen.
MEANS = 4.0  # largest error of a mean in standard errors, over all t and cells
DEVIATIONS = 0.08  # largest relative error of a standard deviation
CROSSINGS = 3.0  # largest error of a crossing probability in standard errors
FEWEST_CELLS = 20
LIMIT = 0.03  # largest |P − Φ|
ENTROPY = 0.1  # largest error of an entropy in nats
COLLAPSED = 0.6  # a collapsed entropy is below this share of the other
EVEN = 0.02  # largest |P − ½|
CONCENTRATED = 0.6  # largest ratio of deviations of eigenvalues
MOST = 0.75  # share of the seeds
MUCH = 0.02  # relative gain
