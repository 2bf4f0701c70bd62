"""The statistics of the claims about the QK-eigenspectrum: sampling, and functions (datasets, case) -> Finding.

Samples of several seeds are pooled. Where many numbers are compared with a formula, each may deviate by the Šidák bound
in standard errors: if the formula is right, none of them exceeds it with probability 1 − LEVEL, whatever their
correlations. The smallest deviation that one comparison sees with the probability POWER is shown beside it.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from dynamics.analysis.fits import POWER, Interval, detectable, mean_interval
from dynamics.models.attention import Causal, Softmax
from dynamics.studies.claims import Data, Finding, Measure, above, all_of, inside
from dynamics.studies.evidence import Evidence
from experiments.qk_eigenspectrum import theory
from experiments.qk_eigenspectrum.theory import Cell

Quantity = Callable[[Any], Any]  # of the evidence for an arm
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


def _pooled(evidence: Any) -> int:
    """The number of samples of all seeds."""
    return int(evidence.samples * evidence.sizes["seed"])


def sidak(comparisons: int) -> float:
    """The size that none of so many N(0, 1) variables exceeds with probability 1 − LEVEL, if they are independent.

    If they are correlated, the probability is larger (Šidák 1967).
    """
    return float(stats.norm.ppf((1 + (1 - LEVEL) ** (1 / comparisons)) / 2))


def _agree(deviations: Any, what: str, error: float, unit: str) -> Finding:
    """Whether all deviations, in standard errors, are within the Šidák bound.

    Args:
        deviations: in standard errors; nan where there is none.
        what: what is compared.
        error: the largest standard error.
        unit: its unit.
    """
    sizes = np.abs(np.asarray(deviations, float))
    count = int(np.isfinite(sizes).sum())
    allowed, largest = sidak(count), float(np.nanmax(sizes))
    effect = (allowed + stats.norm.ppf(POWER)) * error
    seen = f"one of {effect:.2g} {unit} would be seen with {POWER:.0%}"
    return Finding(
        largest <= allowed, f"{count} {what}: at most {largest:.2f} of {allowed:.2f} standard errors; {seen}"
    )


def means(of: str = "") -> Measure:
    """Whether the sampled means of z_t, in this case or in `of`, agree with the formula of this case."""

    def measure(data: Data, case: str) -> Finding:
        sampled, formula = data[of or case], data[case]
        error = np.sqrt(formula.variance_formula / _pooled(sampled))
        deviations = (sampled["mean"].mean("seed") - formula.mean_formula) / error
        return _agree(deviations, "means", 1 / np.sqrt(_pooled(sampled)), "standard deviations of z")

    return measure


def variances(of: str = "") -> Measure:
    """Whether the sampled variances of z_t, in this case or in `of`, agree with the formula of this case."""

    def measure(data: Data, case: str) -> Finding:
        sampled, formula = data[of or case], data[case]
        variance = sampled["variance"].mean("seed")
        error = np.sqrt((sampled["fourth"].mean("seed") / variance**2 - 1) / _pooled(sampled))  # relative
        deviations = (variance / formula.variance_formula - 1) / error
        return _agree(deviations, "variances", float(error.max()), "of the variance")

    return measure


def _half(evidence: Any, values: Any) -> Any:
    """Values at t = T/2."""
    return values.isel(t=evidence.of_length.astype(int) // 2 - 1)


def _against(evidence: Any, probability: Any) -> Finding:
    """Whether the number of samples with z_T > z_{T/2} is that of this probability [cell]."""
    number = _pooled(evidence)
    probability = np.clip(np.asarray(probability), 1e-12, 1 - 1e-12)
    count = _half(evidence, evidence.crossings).sum("seed").values
    # The smaller tail of the binomial distribution, as the size of a N(0, 1) variable.
    tail = np.minimum(stats.binom.cdf(count, number, probability), stats.binom.sf(count - 1, number, probability))
    error = float(np.sqrt(probability * (1 - probability) / number).max())
    return _agree(stats.norm.isf(np.clip(tail, 1e-300, 0.5)), "cells", error, "of the probability")


def crossings(data: Data, case: str) -> Finding:
    """The sampled share of z_T > z_{T/2} against the exact probability."""
    return _against(data[case], data[case].exact)


def crossings_in_the_limit(data: Data, case: str) -> Finding:
    """The same against Φ(SNR_t)."""
    evidence = data[case]
    return _against(evidence, _half(evidence, evidence.limit))


def crossings_without_b(data: Data, case: str) -> Finding:
    """The same against Φ(g/√a), without the term of b."""
    return _against(data[case], data[case].without_b)


def at_every_rank(data: Data, case: str) -> Finding:
    """The sampled share of z_T > z_{T/2} against the exact probability, with both and Φ(SNR_t) for every rank."""
    evidence = data[case]
    share = _half(evidence, evidence.crossings).sum("seed") / _pooled(evidence)
    rows = zip(
        evidence.of_rank, evidence.operator_share, share, evidence.exact, _half(evidence, evidence.limit), strict=True
    )
    shown = ", ".join(
        f"{int(r)} ({float(o):.2f}): {float(s):.3f}, {float(p):.3f}, {float(q):.3f}" for r, o, s, p, q in rows
    )
    finding = crossings(data, case)
    return finding._replace(measured=f"{finding.measured}. Rank (op/F): sampled, exact, Φ: {shown}")


def limit_at_half(data: Data, case: str) -> Finding:
    """Whether |P − Φ(SNR_t)| at t = T/2 is at most LIMIT, for the exact P."""
    evidence = data[case]
    largest = float(np.abs(evidence.exact - _half(evidence, evidence.limit)).max())
    share = float(evidence.operator_share.max())
    return Finding(largest <= LIMIT, f"|P − Φ| at most {largest:.2g} where op/F is at most {share:.2f}")


def _near(evidence: Any, probability: Any, bound: float, what: str) -> Finding:
    """Equivalence: whether the share of z_T > z_t is within `bound` of this probability, at every t and cell."""
    number = _pooled(evidence)
    share = evidence.crossings.sum("seed", skipna=False) / number
    half = sidak(int(share.notnull().sum())) * np.sqrt(np.maximum(share * (1 - share), 1 / number) / number)
    distance = np.abs(share - probability)
    most, least = float((distance + half).max()), float((distance - half).max())
    shown = f"{what} at most {float(distance.max()):.3g}, {most:.3g} with its simultaneous {1 - LEVEL:.0%} interval"
    return Finding(True if most <= bound else False if least > bound else None, shown)


def limit(data: Data, case: str) -> Finding:
    """Whether P is near Φ(SNR_t) at every t."""
    return _near(data[case], data[case].limit, LIMIT, "|P − Φ|")


def limit_without_b(data: Data, case: str) -> Finding:
    """The same for SNR = g/√a, which lacks the term of b."""
    return _near(data[case], data[case].without_b, LIMIT, "|P − Φ|")


def even(mean: float) -> Measure:
    """At this mean the query's own key wins against every other key in half of the samples."""

    def measure(data: Data, case: str) -> Finding:
        chosen = data[case].isel(cell=np.flatnonzero(data[case].of_mean == mean))
        return _near(chosen, 0.5, EVEN, "|P − ½|")

    return measure


def _attention(evidence: Any, what: str, mean: float) -> dict[float, np.ndarray]:
    """{variance: one measure of the last query's attention [seed]} at one mean."""
    chosen = evidence.isel(cell=np.flatnonzero(evidence.of_mean == mean))
    values = chosen.attention.sel(seen=what).transpose("cell", "seed").values
    return dict(zip(chosen.of_variance.values.tolist(), values, strict=True))


def geometric(variance: float) -> Measure:
    """Whether the entropy at this variance and mean 1 is that of the geometric distribution."""

    def measure(data: Data, case: str) -> Finding:
        evidence = data[case]
        H = mean_interval(_attention(evidence, "entropy", 1.0)[variance])
        stated = theory.geometric_entropy(1.0, int(evidence.of_length[0]))
        holds = inside(H, stated - ENTROPY, stated + ENTROPY)
        return Finding(holds, f"H = {H} at v = {variance:g}, geometric {stated:.3f}")

    return measure


def entropy_collapses(high: float, low: float) -> Measure:
    """Whether a higher variance lowers the entropy."""

    def measure(data: Data, case: str) -> Finding:
        H = _attention(data[case], "entropy", 1.0)
        ratio = mean_interval(H[high] / H[low])
        return Finding(inside(ratio, 0.0, COLLAPSED), f"H at v = {high:g} is {ratio} of H at v = {low:g}")

    return measure


def localisation_falls(mean: float) -> Measure:
    """Attention on the last four tokens is above one half at the smallest variance, and falls with every increase."""

    def measure(data: Data, case: str) -> Finding:
        mass = _attention(data[case], "last 4", mean)
        variances = sorted(mass)
        shown = ", ".join(f"{mass[v].mean():.2f} at v = {v:g}" for v in variances)
        lower = [above(mean_interval(mass[v] - mass[w])) for v, w in itertools.pairwise(variances)]
        smallest = mean_interval(mass[variances[0]])
        return all_of(
            {
                "local at the smallest variance": Finding(above(smallest, 0.5), shown),
                "falls with the variance": Finding(
                    False if False in lower else None if None in lower else True,
                    f"lower in {lower.count(True)} of {len(lower)} steps",
                ),
            }
        )

    return measure


def no_collapse(mean: float, variance: float) -> Measure:
    """Whether the entropy is neither near log T (rank collapse) nor near 0 (entropy collapse)."""

    def measure(data: Data, case: str) -> Finding:
        evidence = data[case]
        H = mean_interval(_attention(evidence, "entropy", mean)[variance] / np.log(int(evidence.of_length[0])))
        return all_of(
            {
                "no rank collapse": Finding(
                    inside(H, 0.0, UNIFORM), f"H = {H} log T at m = {mean:g}, v = {variance:g}"
                ),
                "no entropy collapse": Finding(above(H, ONE_KEY), "uniform attention has 1, one key 0"),
            }
        )

    return measure


def at_best_time(evidence: Any) -> Any:
    """What every member has at its time of least loss on fresh samples [seed, ...]."""
    return evidence.isel(t=fresh_loss(evidence).argmin("t"))


def eigenvalue_deviation(evidence: Any) -> Any:
    """The standard deviation of the eigenvalues, √(mean |λ − mean λ|²), of every start and saved time."""
    spectrum = evidence.qk_spectrum
    return np.sqrt(((spectrum - spectrum.mean("mode")) ** 2).sum("part").mean("mode"))


def deviation_over_mean(evidence: Any) -> Any:
    """The standard deviation of the eigenvalues over the size of their mean, √v/|m| in the theory [seed or t]."""
    return eigenvalue_deviation(evidence) / np.abs(evidence.qk_spectrum.mean("mode").isel(part=0))


def entropy(evidence: Any) -> Any:
    """Entropy of attention."""
    return evidence.attention_entropy


def on_current_token(evidence: Any) -> Any:
    """Attention on the query's own position."""
    return evidence.attention_within.sel(window=1)


def fresh_loss(evidence: Any) -> Any:
    """The loss on fresh sequences."""
    return evidence.population_loss.sel(estimate="mean", drop=True)


def _without(case: str) -> str:
    return f"{case.partition(' ')[0]} none"


def at_end(evidence: Any) -> Any:
    """What every member has at the last time."""
    return evidence.isel(t=-1)


def concentrates(what: Quantity, at: Quantity = at_best_time) -> Measure:
    """Whether a deviation of the eigenvalues is at most CONCENTRATED of that with no penalty, for seeds on average."""

    def measure(data: Data, case: str) -> Finding:
        interval = mean_interval(what(at(data[case])) / what(at(data[_without(case)])))
        return Finding(inside(interval, 0.0, CONCENTRATED), f"{interval} of that without")

    return measure


def rises(what: Quantity, by: float) -> Measure:
    """Difference: whether at the best times the quantity is higher than with no penalty, by more than `by`."""
    return lambda data, case: _differs(what, data, case, by, 1)


def falls(what: Quantity, by: float) -> Measure:
    """Difference: whether at the best times the quantity is lower than with no penalty, by more than `by`."""
    return lambda data, case: _differs(what, data, case, by, -1)


def _differs(what: Quantity, data: Data, case: str, by: float, sign: int) -> Finding:
    values = what(at_best_time(data[case])) - what(at_best_time(data[_without(case)]))
    seen = f"higher in {int((values > 0).sum())} of {values.size} seeds; {_power(values)}"
    return Finding(above(mean_interval(sign * values), by), f"{_signed(mean_interval(values))}, {seen}")


def _power(values: Any) -> str:
    return f"{detectable(values):.2g} beyond the bound would be seen with {POWER:.0%}"


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _gain(data: Data, case: str) -> Any:
    """The share by which the best test loss is lower than with no penalty [seed]."""
    return 1 - fresh_loss(at_best_time(data[case])) / fresh_loss(at_best_time(data[_without(case)]))


def generalises(data: Data, case: str) -> Finding:
    """Difference: the best test loss is lower than with no penalty by more than MUCH."""
    gain = _gain(data, case)
    return Finding(above(mean_interval(gain), MUCH), f"gain {_signed(mean_interval(gain))}; {_power(gain)}")


def learns_as_well(data: Data, case: str) -> Finding:
    """Equivalence: the best test loss is that with no penalty, within SAME."""
    gain = _gain(data, case)
    interval = mean_interval(gain)
    half = interval.high - interval.value
    shown = f"gain {_signed(interval)}; the interval is ± {half:.2g} wide, the bound ± {SAME:g}"
    return Finding(inside(interval, -SAME, SAME), shown)


# Bounds, set before the seeds of the claims were seen.
LEVEL = 0.01  # probability with which a right formula fails, for all comparisons of a claim together
LIMIT = 0.03  # largest |P − Φ|
ENTROPY = 0.1  # largest error of an entropy in nats
COLLAPSED = 0.6  # a collapsed entropy is below this share of the other
EVEN = 0.02  # largest |P − ½|
UNIFORM, ONE_KEY = 0.5, 0.1  # of log T: an entropy in between is neither that of uniform attention nor that of one key
CONCENTRATED = 0.6  # largest ratio of deviations of eigenvalues
NATS = 0.05  # smallest change of an entropy
SHARE = 0.05  # smallest change of the attention on a token
MUCH = 0.005  # smallest gain of the test loss, relative
SAME = 0.01  # largest gain or loss of an equal test loss, relative
