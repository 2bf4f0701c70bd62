"""The statistics of the claims that training tests, as functions (datasets, name of a case) -> Finding.

An arm, a penalty on the spectrum, is compared with no penalty at the times of their least losses on fresh sequences.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dynamics.analysis.fits import POWER, Interval, detectable, mean_interval
from dynamics.studies.claims import Data, Finding, Measure, above, inside

Quantity = Callable[[Any], Any]  # of the evidence for an arm
# Bounds, set before the seeds of the claims were seen.
CONCENTRATED = 0.6  # largest ratio of deviations of eigenvalues
NATS = 0.05  # smallest change of an entropy
SHARE = 0.05  # smallest change of the attention on a token
MUCH = 0.005  # smallest gain of the test loss, relative
SAME = 0.01  # largest gain or loss of an equal test loss, relative


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
