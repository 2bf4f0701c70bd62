"""The statistics of the claims about exactly-one: functions (datasets, case) -> Finding, and what needs no training."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dynamics.analysis.fits import Interval, mean_interval
from dynamics.studies.claims import Data, Finding, above, all_of, inside
from dynamics.studies.evidence import Evidence
from experiments.cooccurrence.xor import ExactlyOne
from experiments.xor import theory

LENGTH = 5  # L in all cases
ESCAPED = 0.25  # a training loss below it has left the plateau
FROZEN = ", frozen"  # ends the name of the case with the same starts and fixed W_K and W_Q


def plateaus(samples: Sequence[int], vocabulary: int, seeds: Sequence[int]) -> Evidence:
    """The best word count of training sets [n, seed], its loss and error, and the largest singular value s of M̃."""
    values = np.empty((3, len(samples), len(seeds)))
    for row, n in enumerate(samples):
        task = ExactlyOne(samples=n, length=LENGTH, vocabulary=vocabulary)
        for column, seed in enumerate(seeds):
            counts, label = theory.training_counts(task, seed)
            best = theory.best_word_count(counts, label, 1 / n)
            slope = np.linalg.norm(theory.score_slope(counts, label, best.values), 2)
            values[:, row, column] = best.loss, best.error, slope
    arrays: Any = {
        name: (("samples", "seed"), value) for name, value in zip(("loss", "error", "slope"), values, strict=True)
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


def _slopes(x: Any, y: Any, dim: str) -> np.ndarray:
    """The slope of y against x of every seed, by least squares."""
    centred = x - x.mean(dim)
    return ((centred * (y - y.mean(dim))).sum(dim, skipna=False) / (centred**2).sum(dim)).values


def exponent_of_escape(dim: str, low: float, high: float) -> Callable[[Data, str], Finding]:
    """Whether the escape time is ∝ dim^b with b in [low, high]; one b for every seed, whose training set is the same.

    The text has the exponents between neighbours too: a power law has equal ones.
    """

    def measured(data: Data, case: str) -> Finding:
        swept = next(name for name in data[case].loss.dims if name not in ("seed", "t"))
        log_x, log_t = np.log(data[case][swept]), np.log(escape_time(data[case]))
        interval = mean_interval(_slopes(log_x, log_t, swept))
        local = log_t.mean("seed").diff(swept) / log_x.diff(swept)
        of = "" if swept == dim else f" ({swept})"
        return Finding(
            inside(interval, low, high),
            f"exponent{of} {interval}; between neighbours {', '.join(f'{value:.2f}' for value in local.values)}",
        )

    return measured


def last(data: Data, case: str, name: str) -> Any:
    """A probe at the last time [seed]; the mean where there is a standard error too."""
    values = data[case][name].isel(t=-1)
    return values.sel(estimate="mean") if "estimate" in values.dims else values


def gap(data: Data, case: str, name: str) -> Interval:
    """Frozen minus trained at the last time, paired by seed."""
    return mean_interval(last(data, case + FROZEN, name) - last(data, case, name))


def _gap_text(data: Data, case: str, name: str) -> str:
    trained, frozen = (float(last(data, which, name).mean()) for which in (case, case + FROZEN))
    return f"frozen {frozen:.3f}, trained {trained:.3f}, difference {gap(data, case, name)}"


def attention_helps(name: str, least: float) -> Callable[[Data, str], Finding]:
    """Whether frozen minus trained is above a bound."""
    return lambda data, case: Finding(above(gap(data, case, name), least), _gap_text(data, case, name))


def attention_is_idle(name: str, most: float) -> Callable[[Data, str], Finding]:
    """Whether frozen minus trained is within ± a bound."""
    return lambda data, case: Finding(inside(gap(data, case, name), -most, most), _gap_text(data, case, name))


__all__ = ["all_of"]
