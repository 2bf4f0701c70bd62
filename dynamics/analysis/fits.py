"""Exponents of power laws, with confidence intervals."""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
FEWEST = 3  # steps that a fitted order needs: two always lie on a line, and leave no error to estimate


class Fit(NamedTuple):
    """The exponent b of y ∝ x^b by least squares in logarithms, with its confidence interval."""

    slope: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.slope):
            return "none (not all positive)"
        return f"{self.slope:.3f} [{self.low:.3f}, {self.high:.3f}]"


def exponent(x: Any, y: Any) -> Fit:
    """Fit y ∝ x^b; nan when some y is not positive and finite.

    The interval is Student's, for independent errors of equal variance in log y.
    """
    x, y = (np.ravel(values).astype(float) for values in (x, y))
    if not (np.isfinite(y) & (y > 0)).all():
        return Fit(np.nan, np.nan, np.nan)
    line = stats.linregress(np.log(x), np.log(y))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2) * line.stderr
    return Fit(float(line.slope), float(line.slope - half), float(line.slope + half))


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
        return Fit(np.nan, np.nan, np.nan)
    if len(values) == 1:
        return exponent(steps, values[0])
    slopes = [exponent(steps, row).slope for row in values]
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(slopes) - 1) * stats.sem(slopes)
    return Fit(float(np.mean(slopes)), float(np.mean(slopes) - half), float(np.mean(slopes) + half))


def weighted_order(steps: Any, values: Any, errors: Any) -> Fit:
    """The order b of values ∝ η^b, fitted with weights; the interval assumes normal errors.

    Args:
        steps: η.
        values: [step]; estimates of a positive quantity.
        errors: [step]; their standard errors.

    Returns:
        The fit; nan when some value is not positive.
    """
    values, errors = np.asarray(values, float), np.asarray(errors, float)
    if len(values) < FEWEST or not (values > 0).all():
        return Fit(np.nan, np.nan, np.nan)
    (slope, _), covariance = np.polyfit(np.log(steps), np.log(values), 1, w=values / errors, cov="unscaled")
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(covariance[0, 0])
    return Fit(float(slope), float(slope - half), float(slope + half))
