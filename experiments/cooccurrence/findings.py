"""Times of a trajectory of arXiv:2410.09605, and what is found of values over widths and starts.

T1 is the time from which on all samples are classified with a margin, min_i y_i F_i > c, interpolated between saved
times (dynamics.analysis.events.classification_time). The paper's T1 has a margin of order 1 (its Appendix E); c = 0 is
the first time at which all are classified for good. T2 is the last time, T* the first time with a training loss of 1/m.
Values at T1 and T* are interpolated as well.
"""

from typing import Any

import numpy as np
import xarray as xr

from dynamics.analysis.events import classification_time
from dynamics.analysis.fits import POWER, Fit, exponent
from dynamics.studies.claims import Finding, inside
from experiments.cooccurrence.theory import SIGNALS

SLACK = 0.1  # allowed error of a fitted exponent: over these widths log m looks like a power of about 0.1
LARGE = 2**11  # the width from which on exponents are fitted: Condition 1 asks for m much larger than m1 and L²
LENGTH = 5  # L of the theory's case


def clock(data: Any) -> Any:
    """The saved times [t], or [width, seed, t] where the last time differs between members."""
    return data.time if "time" in data else data.t


def at(data: Any, times: Any, values: Any) -> Any:
    """Values at a time of every member, linear between saved times; nan beyond the last one, and where the time is."""
    return xr.apply_ufunc(
        lambda t, value, time: np.interp(time, t, value, right=np.nan) if np.isfinite(time) else np.nan,
        clock(data),
        values,
        times,
        input_core_dims=[["t"], ["t"], []],
        vectorize=True,
    )


def first_time(data: Any, margin: float = 0.0) -> Any:
    """T1 with this margin [width, seed]; nan where there is none."""
    return xr.apply_ufunc(
        lambda t, values: classification_time(t, values - margin),
        clock(data),
        data.margin,
        input_core_dims=[["t"], ["t"]],
        vectorize=True,
    )


def final_time(data: Any) -> Any:
    """T* [width, seed], the first time with a training loss of 1/m, interpolated in logarithms; nan if none."""

    def crossing(t: Any, loss: Any, width: Any) -> float:
        below = np.flatnonzero(loss <= 1 / width)
        if not below.size or below[0] == 0:
            return np.nan
        i = below[0]
        share = np.log(loss[i - 1] * width) / np.log(loss[i - 1] / loss[i])
        return float(np.exp(np.log(t[i - 1]) + share * np.log(t[i] / t[i - 1])))

    return xr.apply_ufunc(
        crossing, clock(data), data.loss, data.width, input_core_dims=[["t"], ["t"], []], vectorize=True
    )


def always(condition: Any, what: str, known: Any = True) -> Finding:
    """Whether a condition holds in every member.

    Args:
        condition: of every member.
        what: what holds, in words.
        known: whether it is defined in a member; where it is not, nothing moved or the time does not exist.
    """
    condition, known = xr.broadcast(xr.DataArray(condition), xr.DataArray(known))
    held, defined = np.ravel(condition), np.ravel(known)
    holds = False if (~held & defined).any() else True if defined.all() else None
    text = f"{what} in {(held & defined).sum()} of {held.size} runs"
    return Finding(holds, text if defined.all() else f"{text}, not defined in {(~defined).sum()}")


def exponent_in_width(values: Any) -> Fit:
    """The exponent b of values ∝ m^b, over all widths and starts."""
    return exponent(values.width.broadcast_like(values).transpose(*values.dims), values)


def trend(values: Any, low: float, high: float, what: str) -> Finding:
    """Whether the exponent of values in m, for m ≥ LARGE, lies in [low, high]."""
    return within(exponent_in_width(values.where(values.width >= LARGE, drop=True)), low, high, what)


def within(fit: Fit, low: float, high: float, what: str) -> Finding:
    """Whether an exponent lies in [low, high], and what else would have been seen, unless it lies outside."""
    holds = inside(fit, low, high)
    known = holds is not False and np.isfinite(fit.detectable)
    power = f", {fit.detectable:.2g} beyond the bound would be seen with {POWER:.0%}" if known else ""
    return Finding(holds, f"{what} {fit}{power}")


def bounded_below(values: Any, what: str) -> Finding:
    """Ω(1): whether values are positive in every member, and do not fall with m faster than m^−SLACK."""
    positive = always(values > 0, "positive", values.notnull())
    seen = f"{spread(values, what)}, {positive.measured}"
    if not positive.holds:
        return Finding(positive.holds, seen)
    of_width = trend(values, -SLACK, np.inf, "exponent")
    return Finding(of_width.holds, f"{spread(values, what)}, {of_width.measured}")


def spread(values: Any, what: str) -> str:
    """The smallest and the largest value."""
    return f"{what} {float(values.min()):.3g} to {float(values.max()):.3g}"


def words(values: Any) -> tuple[Any, Any, Any]:
    """Values of μ1, μ2, μ3."""
    return tuple(values.sel(word=word, drop=True) for word in SIGNALS)


def start_scales(case: str, m: Any) -> tuple[Any, Any, int]:
    """σ0², σ1² and m1 of a case at width m."""
    if case.startswith("appendix") and "small" not in case and "mended" not in case:
        return 2 / 64, 2 / m, 256
    neurons = 256 if case.startswith("appendix") else 64
    return 0.09 / (LENGTH * m), 0.09 / (m if case == "fan_in" else neurons), neurons


def relative_gap(one: Any, other: Any) -> Any:
    """The difference of two positive values over the smaller one."""
    return np.abs(one - other) / np.minimum(one, other)
