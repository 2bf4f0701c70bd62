"""Estimates with confidence intervals, and exponents of power laws."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are imported when they are used

CONFIDENCE = 0.95
POWER = 0.9  # the probability with which an effect of the stated size would have been seen
MISFIT = 0.01  # a line is rejected when its misfit has at most this probability
FEWEST = 3  # steps that a fitted order needs: two always lie on a line, and leave no error to estimate
LARGEST = 20.0  # exponents are searched up to this size


class Interval(NamedTuple):
    """An estimate and its confidence interval; nan where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


class Fit(NamedTuple):
    """The exponent b of y ∝ x^b.

    Attributes:
        slope: b, by least squares in logarithms; nan where there is none.
        low, high: its confidence interval. Where a line does not fit, they span the intervals of all local exponents,
            since the slope of a line through a curve has no interval.
        local: the exponents between neighbouring x, where y was measured several times.
        misfit: the probability of so large a misfit of the line, if it were right; nan where this is not known.
        detectable: by how much a true exponent must lie beyond a bound for the interval to exclude the bound with
            probability POWER; where a line does not fit, that of the least certain local exponent; nan where unknown.
    """

    slope: float
    low: float
    high: float
    local: tuple[Interval, ...] = ()
    misfit: float = float("nan")
    detectable: float = float("nan")

    @property
    def curved(self) -> bool:
        """Whether a line does not fit."""
        return self.misfit < MISFIT

    def __str__(self) -> str:
        if np.isnan(self.slope):
            return "none (not all positive)"
        if self.curved:
            local = ", ".join(f"{interval.value:.3f}" for interval in self.local)
            return (
                f"{local} between neighbours, all in [{self.low:.3f}, {self.high:.3f}] (no line: p = {self.misfit:.1g})"
            )
        return f"{self.slope:.3f} [{self.low:.3f}, {self.high:.3f}]"


NO_FIT = Fit(np.nan, np.nan, np.nan)


def mean_interval(values: Any) -> Interval:
    """The mean of independent values, such as paired differences of seeds, with Student's interval."""
    values = np.ravel(values).astype(float)
    mean, half = float(np.mean(values)), _student(len(values) - 1) * float(scipy.stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def detectable(values: Any) -> float:
    """The smallest size of a true mean at which `mean_interval` of so many values excludes 0 with probability POWER."""
    values = np.ravel(values).astype(float)
    return _detectable(len(values) - 1, float(scipy.stats.sem(values)))


def exponent(x: Any, y: Any) -> Fit:
    """Fit y ∝ x^b; nan when some y is not positive and finite.

    The interval is Student's, for independent errors of equal variance in log y. Where x repeats, the variance around
    the line is compared with that at equal x (the F-test for lack of fit).
    """
    x, y = (np.ravel(values).astype(float) for values in (x, y))
    if not (np.isfinite(y) & (y > 0)).all():
        return NO_FIT
    line = scipy.stats.linregress(np.log(x), np.log(y))
    residuals = np.log(y) - line.intercept - line.slope * np.log(x)
    error = np.sqrt(np.sum(residuals**2) / (len(x) - 2) / np.sum((np.log(x) - np.mean(np.log(x))) ** 2))
    half = _student(len(x) - 2) * error
    local, misfit = _local(np.log(x), np.log(y), float(line.slope), float(line.intercept))
    seen = _detectable(len(x) - 2, float(error))
    fit = Fit(float(line.slope), float(line.slope - half), float(line.slope + half), local, misfit, seen)
    if not fit.curved:
        return fit
    degrees = len(x) - len(np.unique(x))
    widest = max(one.high - one.value for one in local) / _student(degrees)
    low, high = min(one.low for one in local), max(one.high for one in local)
    return fit._replace(low=low, high=high, detectable=_detectable(degrees, widest))


def _local(x: Any, y: Any, slope: float, intercept: float) -> tuple[tuple[Interval, ...], float]:
    """The slopes between neighbouring x, and the probability of the line's misfit."""
    places, of_place = np.unique(x, return_inverse=True)
    degrees = len(x) - len(places)
    if degrees == 0 or len(places) < FEWEST:
        return (), float("nan")
    counts = np.bincount(of_place)
    means = np.bincount(of_place, y) / counts
    variance = np.sum((y - means[of_place]) ** 2) / degrees
    between = np.sum(counts * (means - slope * places - intercept) ** 2) / (len(places) - 2)
    # Rounding alone must not look like a misfit.
    variance = max(variance, (4 * np.finfo(float).eps * np.max(np.abs(y))) ** 2)
    local = []
    for i, j in itertools.pairwise(range(len(places))):
        step = places[j] - places[i]
        value = (means[j] - means[i]) / step
        half = _student(degrees) * np.sqrt(variance * (1 / counts[i] + 1 / counts[j])) / step
        local.append(Interval(float(value), float(value - half), float(value + half)))
    return tuple(local), float(scipy.stats.f.sf(between / variance, len(places) - 2, degrees))


def order(steps: Any, distance: Any, error: Any = 0.0) -> Fit:
    """The order b of distance ∝ η^b, with its confidence interval.

    A slope is fitted to every seed in logarithms. The interval is Student's, for the mean slope or, with one seed, for
    its fit. Steps at which some seed has no finite distance are left out.

    Args:
        steps: η.
        distance: [seed, step].
        error: the standard error of the mean whose distance this is; it adds error² to distance² on average, which
            is subtracted.

    Returns:
        The fit; nan when there are fewer than FEWEST steps, or when some distance is below its error.
    """
    squared = np.asarray(distance, float) ** 2 - np.broadcast_to(error, np.shape(distance)) ** 2
    kept = np.isfinite(squared).all(axis=0)
    steps, values = np.asarray(steps, float)[kept], np.sqrt(np.maximum(squared[:, kept], 0))
    if len(steps) < FEWEST or not (values > 0).all():
        return NO_FIT
    if len(values) == 1:
        return exponent(steps, values[0])
    return Fit(*mean_interval([exponent(steps, row).slope for row in values]))


def weighted_order(x: Any, values: Any, errors: Any) -> Fit:
    """The exponent b of values = c x^b by weighted least squares in the values, which may be near zero or negative.

    The interval has all b with χ²(b) − min χ² below the quantile of χ² with one degree, where χ²(b) is the least over
    c. It assumes normal errors of known size, and ends at ±LARGEST where the values do not bound it.

    Args:
        x: [place].
        values: [place]; estimates.
        errors: [place]; their standard errors.

    Returns:
        The fit; nan when there are fewer than FEWEST places, or when the best c is not positive.
    """
    x, values, errors = (np.asarray(each, float) for each in (x, values, errors))
    if len(x) < FEWEST or not np.isfinite(values).all():
        return NO_FIT
    x = x / np.exp(np.mean(np.log(x)))

    def factor(b: Any) -> Any:
        powers = x ** np.asarray(b)[..., None] / errors
        return np.sum(powers * values / errors, axis=-1) / np.sum(powers**2, axis=-1)

    def misfit(b: Any) -> Any:
        """χ² of every exponent."""
        fitted = np.asarray(factor(b))[..., None] * x ** np.asarray(b)[..., None]
        return np.sum(((values - fitted) / errors) ** 2, axis=-1)

    grid = np.linspace(-LARGEST, LARGEST, 801)
    start = grid[np.argmin(misfit(grid))]
    bounds = (start - 0.1, start + 0.1)
    slope = float(scipy.optimize.minimize_scalar(misfit, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x)
    if not factor(slope) > 0:
        return NO_FIT
    allowed = misfit(slope) + scipy.stats.chi2.ppf(CONFIDENCE, 1)

    def end(of: float) -> float:
        return float(scipy.optimize.brentq(lambda b: misfit(b) - allowed, slope, of)) if misfit(of) > allowed else of

    return Fit(slope, end(-LARGEST), end(LARGEST))


def _detectable(degrees: int, error: float) -> float:
    """The smallest effect that is told from 0 with probability POWER, when its estimate has this standard error."""
    return float((_student(degrees) + scipy.stats.t.ppf(POWER, degrees)) * error)


def _student(degrees: int) -> float:
    return float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, degrees))
