"""The statistics of the claims that sampling tests, as functions (datasets, name of a case) -> Finding.

Samples of several seeds are pooled. Where many numbers are compared with a formula, each may deviate by the Šidák bound
in standard errors: if the formula is right, none of them exceeds it with probability 1 − LEVEL, whatever their
correlations. The smallest deviation that one comparison sees with the probability POWER is shown beside it.
"""

import itertools
from typing import Any

import numpy as np
from scipy import stats

from dynamics.analysis.fits import POWER, mean_interval
from dynamics.studies.claims import Data, Finding, Measure, above, all_of, inside
from experiments.qk_eigenspectrum import theory

# Bounds, set before the seeds of the claims were seen.
LEVEL = 0.01  # probability with which a right formula fails, for all comparisons of a claim together
LIMIT = 0.03  # largest |P − Φ|
ENTROPY = 0.1  # largest error of an entropy in nats
COLLAPSED = 0.6  # a collapsed entropy is below this share of the other
EVEN = 0.02  # largest |P − ½|
UNIFORM, ONE_KEY = 0.5, 0.1  # of log T: an entropy in between is neither that of uniform attention nor that of one key


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
