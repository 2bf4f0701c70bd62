"""What the claims measure of heads that were trained to attend by a pattern."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dynamics.analysis.fits import Interval, mean_interval
from dynamics.studies.claims import Data, Finding, above, all_of, inside

Measure = Callable[[Data, str], Finding]


def per_margin(one: Any, norm: str) -> Any:
    """A norm of W over the smallest margin; meaningless while the margin is not positive.

    Args:
        one: a Dataset of a case or a law.
        norm: "nuclear", "frobenius", or "weights" for ½ Σ θ².
    """
    s = one.qk_singular_values
    sizes = {"nuclear": s.sum("mode"), "frobenius": np.sqrt((s**2).sum("mode")), "weights": one.half_square}
    return sizes[norm] / one.target_margin


def ends_at(norm: str, low: float, high: float, ranks: tuple[float, float]) -> Measure:
    """Whether the last norm over margin is in [low, high] and the last effective rank of W within `ranks`."""

    def measured(data: Data, case: str) -> Finding:
        one = data[case].isel(t=-1)
        size, rank = mean_interval(per_margin(one, norm)), mean_interval(one.qk_rank)
        parts = {
            "norm": Finding(inside(size, low, high), f"{norm} norm over margin {_digits(size)}"),
            "rank": Finding(inside(rank, *ranks), f"effective rank {rank}"),
        }
        return all_of(parts)

    return measured


def two_norms(frobenius: float, nuclear: float, tolerance: float) -> Measure:
    """Whether both norms over margin end within a relative tolerance of these numbers."""

    def measured(data: Data, case: str) -> Finding:
        parts = {}
        for norm, limit in (("frobenius", frobenius), ("nuclear", nuclear)):
            size = mean_interval(per_margin(data[case].isel(t=-1), norm))
            holds = inside(size, limit * (1 - tolerance), limit * (1 + tolerance))
            parts[norm] = Finding(holds, f"{norm} norm over margin {_digits(size)}")
        return all_of(parts)

    return measured


def dearer_than(other: str, factor: float, norm: str = "nuclear") -> Measure:
    """Whether the last norm over margin is more than `factor` times that of another case, paired by seed."""

    def measured(data: Data, case: str) -> Finding:
        ratio = mean_interval(
            per_margin(data[case].isel(t=-1), norm).values / per_margin(data[other].isel(t=-1), norm).values
        )
        return Finding(above(ratio, factor), f"ratio of the {norm} norms over margin {ratio}")

    return measured


def _digits(interval: Interval) -> str:
    """An interval that is narrower than three digits show."""
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
