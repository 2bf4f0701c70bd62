"""The statistics of the claims about exactly-one: functions (datasets, case) -> Finding, and what needs no training."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from dynamics.analysis.fits import NO_FIT, Fit, Interval, detectable, mean_interval
from dynamics.studies.claims import Data, Finding, above, inside
from dynamics.studies.evidence import Evidence
from experiments.cooccurrence.findings import within
from experiments.cooccurrence.xor import ExactlyOne
from experiments.xor import theory

Measure = Callable[[Data, str], Finding]

LENGTH = 5  # L in all cases
NEURONS = 2  # m1 in the case that is swept over σ0
ESCAPED = 0.25  # a training loss below it has left the plateau
GROWN = 1.5  # r t at which the growth of g is compared
FROZEN = ", frozen"  # ends the name of the case with the same starts and fixed W_K and W_Q


def plateaus(samples: Sequence[int], vocabulary: int, seeds: Sequence[int]) -> Evidence:
    """The best word count of training sets [n, seed], its loss, and the numbers of theory.Escape."""
    columns: dict[str, list[Any]] = {"loss": [], "rate": [], "offset": [], "direction": []}
    for n in samples:
        for seed in seeds:
            task = ExactlyOne(samples=n, length=LENGTH, vocabulary=vocabulary)
            counts, label = theory.training_counts(task, seed)
            best = theory.best_word_count(counts, label, np.full(n, 1 / n))
            plateau = theory.escape(counts, label, best.values)
            of_set = (best.loss, plateau.rate, plateau.offset, plateau.direction)
            for column, value in zip(columns.values(), of_set, strict=True):
                column.append(value)
    shape = (len(samples), len(seeds))
    arrays: Any = {
        name: (("samples", "seed", "word")[: 1 + np.ndim(rows)], np.reshape(rows, (*shape, *np.shape(rows)[1:])))
        for name, rows in columns.items()
    }
    return arrays, {"samples": list(samples), "seed": list(seeds)}, {"vocabulary": vocabulary}


def escape_time(data: Any) -> Any:
    """The time at which the training loss first falls below ESCAPED, interpolated in log t; nan if it never does.

    Args:
        data: a Dataset with `loss` [..., t].

    Returns:
        A DataArray [...].
    """
    return data.loss.reduce(lambda loss, axis: np.apply_along_axis(_crossing, axis, loss, data.t.values), "t")


def _crossing(loss: np.ndarray, t: np.ndarray) -> float:
    below = np.flatnonzero(loss < ESCAPED)
    if below.size == 0 or below[0] == 0:
        return float("nan")
    after = int(below[0])
    share = (loss[after - 1] - ESCAPED) / (loss[after - 1] - loss[after])
    before = max(t[after - 1], t[1] / 2)  # t = 0 has no logarithm
    return float(before * (t[after] / before) ** share)


def exponent_of_sets(x: Any, y: Any) -> Fit:
    """Fit y ∝ x^b, where every training set was measured at all x: the interval is that of the mean of the sets' b.

    What the lines of the sets leave is compared with how it differs between sets (an F-test for lack of fit): if all of
    them bend alike, a line does not fit, and the local exponents take its place.

    Args:
        x: [place], three or more.
        y: [set, place]; no fit where some y is not positive and finite.
    """
    log_x, y = np.log(x), np.asarray(y, float)
    if not (np.isfinite(y) & (y > 0)).all():
        return NO_FIT
    log_y, (sets, places) = np.log(y), y.shape
    slopes_S, middle_S = np.polyfit(log_x - log_x.mean(), log_y.T, 1)
    left_SxP = log_y - middle_S[:, None] - np.outer(slopes_S, log_x - log_x.mean())
    bend_P = left_SxP.mean(axis=0)
    between = sets * np.sum(bend_P**2) / np.sum((left_SxP - bend_P) ** 2) * (sets - 1)
    misfit = float(stats.f.sf(between, places - 2, (sets - 1) * (places - 2)))
    local_SxP = np.diff(log_y) / np.diff(log_x)
    local = tuple(mean_interval(of_sets) for of_sets in local_SxP.T)
    fit = Fit(*mean_interval(slopes_S), local, misfit, detectable(slopes_S))
    if not fit.curved:
        return fit
    low, high = min(one.low for one in local), max(one.high for one in local)
    return fit._replace(low=low, high=high, detectable=max(detectable(of_sets) for of_sets in local_SxP.T))


def exponent_of_escape(low: float, high: float) -> Measure:
    """Whether the escape time is ∝ x^b with b in [low, high], x the swept number."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case]
        swept = next(name for name in one.loss.dims if name not in ("seed", "t"))
        times = escape_time(one).transpose("seed", swept)
        return within(exponent_of_sets(one[swept].values, times.values), low, high, "exponent")

    return measured


def values_and_scores_grow(tolerance: float, by: float = GROWN) -> Measure:
    """Whether (g(t) + g*) / (g(0) + g*) at r t = GROWN is cosh(`by`) · (1 ± tolerance), at the smallest σ0."""

    def measured(data: Data, case: str) -> Finding:
        quotients = [np.interp(GROWN, time, grown) / np.cosh(by) for time, grown in growth(data, case)]
        interval = mean_interval(quotients)
        return Finding(inside(interval, 1 - tolerance, 1 + tolerance), f"measured over predicted {interval}")

    return measured


def growth(data: Data, case: str) -> list[tuple[Any, Any]]:
    """(r t, (g(t) + g*) / (g(0) + g*)) of every seed at the smallest σ0; S in r is that of t = 0."""
    one, of_sets = data[case].isel(std=0, missing_dims="ignore"), data["plateau, d = 16"].isel(samples=0)
    smallest = float(data["σ0"]["std"].min())
    curves = []
    for seed in one.seed.values:
        plateau, path = of_sets.sel(seed=seed), one.sel(seed=seed)
        size = float(path.neuron_gram[0]) * NEURONS**2
        g = path.mlp.values @ plateau.direction.values + float(plateau.offset)
        curves.append((smallest * float(plateau.rate) * np.sqrt(2 * size) * path.t.values, g / g[0]))
    return curves


def last(data: Data, case: str, name: str) -> Any:
    """A probe at the last time [seed]; the mean where there is a standard error too."""
    values = data[case][name].isel(t=-1)
    return values.sel(estimate="mean") if "estimate" in values.dims else values


def _gap(data: Data, case: str, name: str) -> tuple[Interval, str]:
    """Frozen minus trained at the last time, paired by seed, and its text."""
    trained, frozen = last(data, case, name), last(data, case + FROZEN, name)
    interval = mean_interval(frozen - trained)
    return interval, f"frozen {float(frozen.mean()):.3g}, trained {float(trained.mean()):.3g}, difference {interval}"


def attention_helps(name: str, least: float) -> Measure:
    """Whether frozen minus trained is above a bound."""

    def measured(data: Data, case: str) -> Finding:
        interval, text = _gap(data, case, name)
        return Finding(above(interval, least), text)

    return measured


def attention_is_idle(name: str, most: float) -> Measure:
    """Whether frozen minus trained is within ± a bound."""

    def measured(data: Data, case: str) -> Finding:
        interval, text = _gap(data, case, name)
        return Finding(inside(interval, -most, most), text)

    return measured


def ends_at_word_counts(tolerance: float) -> Measure:
    """Whether the last training loss over that of the best word count of its training set is 1 ± tolerance."""

    def measured(data: Data, case: str) -> Finding:
        of_sets = data["plateau, d = 16" if case.startswith("σ0") else "plateau"]
        best = of_sets.loss.sel(samples=240, seed=data[case].seed)
        interval = mean_interval(last(data, case, "loss") / best)
        return Finding(inside(interval, 1 - tolerance, 1 + tolerance), f"loss over the best word count's {interval}")

    return measured


def limit_of_word_counts(tolerance: float, extrapolated: bool = True) -> Measure:
    """Whether the best word count's loss for n → ∞, 2 L(2n) − L(n), is that of the distribution ± tolerance."""

    def measured(data: Data, case: str) -> Finding:
        loss = data[case].loss
        smallest, n, twice = loss.samples.values
        values = 2 * loss.sel(samples=twice) - loss.sel(samples=n) if extrapolated else loss.sel(samples=smallest)
        expected = theory.best_of_the_distribution().loss
        interval = mean_interval(values)
        holds = inside(interval, expected - tolerance, expected + tolerance)
        return Finding(holds, f"{interval}; the distribution's is {expected:.4f}")

    return measured


def error_at_most(most: float) -> Measure:
    """Whether the share of fresh samples that are classified wrongly is at most a bound."""

    def measured(data: Data, case: str) -> Finding:
        interval = mean_interval(last(data, case, "fresh_error"))
        return Finding(inside(interval, -np.inf, most), f"{interval}")

    return measured


def escapes_like_the_flow(tolerance: float) -> Measure:
    """Whether the escape time over the flow's from the same start is 1 ± tolerance."""

    def measured(data: Data, case: str) -> Finding:
        quotient = escape_time(data[case]) / escape_time(data["flow"])
        interval = mean_interval(quotient)
        return Finding(
            inside(interval, 1 - tolerance, 1 + tolerance),
            f"time over the flow's {interval}, spread {_range(quotient)}",
        )

    return measured


def _range(values: Any) -> str:
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"


def errors_by_samples(data: Data, frozen: bool) -> dict[int, Any]:
    """{n: the last fresh errors of all seeds}, by increasing n."""
    cases = {240: "m = 16", **{int(name[4:]): name for name in data if name.startswith("n = ") and FROZEN not in name}}
    ending = FROZEN if frozen else ""
    return {n: last(data, cases[n] + ending, "fresh_error").values for n in sorted(cases)}
