"""The statistics of the claims about how a sink emerges: functions (datasets, case) -> Finding."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from dynamics.analysis.fits import Interval, mean_interval
from dynamics.studies.claims import Data, Finding, Measure, above, all_of, inside
from experiments.sink_vs_diagonal import switch

ROUNDING = 1e-9  # of the largest ‖v‖ in a row, by which a bound may be missed
LOGIT = "sink logit"  # ends the name of a case whose sink is no position


def last(data: Data, case: str, probe: str, **at: str) -> Any:
    """A probe at the last time [seed]."""
    return data[case][probe].isel(t=-1).sel(**at).values


def at_least(values: Any, low: float, what: str) -> Finding:
    """Whether the mean over seeds is at least this, with its whole interval."""
    return _bounded(values, what, lambda interval: above(interval, low))


def at_most(values: Any, high: float, what: str) -> Finding:
    """Whether the mean over seeds is at most this, with its whole interval."""
    return _bounded(values, what, lambda interval: inside(interval, -np.inf, high))


def _bounded(values: Any, what: str, holds: Callable[[Interval], bool | None]) -> Finding:
    interval = mean_interval(values)
    spread = f"{np.min(values):.3g} to {np.max(values):.3g}"
    return Finding(holds(interval), f"{what} {interval}, seeds {spread}")


def relative_error(data: Data, case: str) -> Any:
    """Σ ‖F − y‖² / Σ ‖y‖² over all rows [seed]."""
    return data[case].error.isel(t=-1).sum("row").values


def _other(data: Data, case: str, pattern: str) -> Any:
    return last(data, case, "mass", pattern=pattern, row="other")


def a_sink_emerges(data: Data, case: str) -> Finding:
    """The token in front is a sink in the rows that must be silent, and only there."""
    trigger = last(data, case, "mass", pattern="first", row="trigger")
    return all_of(
        {
            "sink": at_least(_other(data, case, "first"), 0.95, "on the first token in silent rows"),
            "trigger": at_most(trigger, 0.05, "in rows of the trigger"),
            "diagonal": at_most(_other(data, case, "itself"), 0.05, "diagonal in silent rows"),
            "value": at_most(last(data, case, "first_value"), 0.05, "‖v‖ of the first over the median"),
            "error": at_most(relative_error(data, case), 1e-3, "relative error"),
        }
    )


def a_logit_serves(silent: str = "other", asking: str = "trigger") -> Measure:
    """The mass outside of all positions is the sink in the silent rows, and not in those that ask for the mean."""

    def measure(data: Data, case: str) -> Finding:
        off = {row: last(data, case, "mass", pattern="off", row=row) for row in (silent, asking)}
        return all_of(
            {
                "sink": at_least(off[silent], 0.95, "off in silent rows"),
                "trigger": at_most(off[asking], 0.05, "in rows of the trigger"),
                "error": at_most(relative_error(data, case), 1e-3, "relative error"),
            }
        )

    return measure


def no_sink(pattern: str) -> Measure:
    """The task is solved, and the first token has little attention in the rows that must be silent.

    Args:
        pattern: "first" for its share in the sum of the attention, "first, absolute" for its attention.
    """

    def measure(data: Data, case: str) -> Finding:
        what = "share" if pattern == "first" else "attention"
        return all_of(
            {
                "sink": at_most(_other(data, case, pattern), 0.05, f"{what} of the first token in silent rows"),
                "error": at_most(relative_error(data, case), 1e-3, "relative error"),
            }
        )

    return measure


def not_solved(low: float) -> Measure:
    """The relative error stays large."""

    def measure(data: Data, case: str) -> Finding:
        return at_least(relative_error(data, case), low, "relative error")

    return measure


class Row(NamedTuple):
    """One row of all samples at all saved times, [seed, t, sample].

    Attributes:
        mass: m, the attention to the keys that are not the sink.
        values: v of these keys, with [key, coordinate] behind.
        added: what attention adds to the output, as measured, with [coordinate] behind.
        sink: a_s v_s, likewise.
        scale: the largest ‖v‖, the sink's included.
    """

    mass: np.ndarray
    values: np.ndarray
    added: np.ndarray
    sink: np.ndarray
    scale: np.ndarray


def rows(data: Data, case: str) -> Iterator[Row]:
    """All rows after the first position."""
    one = data[case]
    front = ("seed", "t", "sample_shown")
    attention = one.attention_shown.transpose(*front, "query_position", "key_position").values
    values = one.values_shown.transpose(*front, "key_position", "coordinate").values
    added = one.added_shown.transpose(*front, "query_position", "coordinate").values
    first = 0 if case.endswith(LOGIT) else 1  # of the keys that are not the sink
    for row in range(1, attention.shape[-1]):
        others, v = attention[..., row, first : row + 1], values[..., first : row + 1, :]
        sink = attention[..., row, :1] * values[..., 0, :] if first else np.zeros_like(values[..., 0, :])
        scale = np.linalg.norm(values[..., : row + 1, :], axis=-1).max(axis=-1)
        yield Row(others.sum(axis=-1), v, added[..., row, :], sink, scale)


def a_switch(gain: Callable[[Any], Any] = switch.smallest_gain, corrected: bool = True) -> Measure:
    """Whether what is read is inside of its bounds at every saved time and in every row.

    Args:
        gain: σ_min of the values.
        corrected: whether the sink's own value is subtracted from what is read.
    """

    def measure(data: Data, case: str) -> Finding:
        count, missed, binding, worst = 0, 0, 0, 0.0
        for row in rows(data, case):
            read = np.linalg.norm(row.added - row.sink * corrected, axis=-1)
            smallest = gain(row.values)
            excess = switch.outside(switch.bounds(row.mass, row.values, read, smallest), row.scale)
            count, missed = count + excess.size, missed + int((excess > ROUNDING).sum())
            binding, worst = binding + int((smallest > 0).sum()), max(worst, float(excess.max()))
        text = f"{count - missed} of {count} rows inside, {binding} with a positive lower bound"
        return Finding(missed == 0, f"{text}; the worst is {worst:.1g} max ‖v‖ outside")

    return measure


def in_step(low: float, late: bool = False, corrected: bool = False) -> Measure:
    """Whether 1 − a_s and ‖o‖ rise together: Spearman's rank correlation over all rows and times of a seed.

    Args:
        low: the least mean correlation.
        late: the last saved time alone.
        corrected: whether a_s v_s is subtracted from o.
    """

    def measure(data: Data, case: str) -> Finding:
        return at_least(rank_correlations(data, case, late, corrected), low, "rank correlation")

    return measure


def rank_correlations(data: Data, case: str, late: bool, corrected: bool) -> Sequence[float]:
    """Spearman's correlation of 1 − a_s and ‖o‖ over all rows, samples and saved times [seed]; see in_step."""
    mass, read = [], []
    for row in rows(data, case):
        times = slice(-1, None) if late else slice(None)
        size = np.linalg.norm(row.added - row.sink * corrected, axis=-1)
        mass.append(row.mass[:, times].reshape(len(size), -1))
        read.append(size[:, times].reshape(len(size), -1))
    of_seeds = zip(np.concatenate(mass, axis=1), np.concatenate(read, axis=1), strict=True)
    return [float(stats.spearmanr(*pair).statistic) for pair in of_seeds]


def preference(data: Data, case: str) -> Any:
    """The diagonal minus the sink: attention to itself less that to the first token, in silent rows [seed]."""
    return _other(data, case, "itself") - _other(data, case, "first")


def prefers(pattern: str, by: float) -> Measure:
    """Whether the rows other than the trigger's prefer the "diagonal" or the "sink" by this much attention."""

    def measure(data: Data, case: str) -> Finding:
        sign = 1 if pattern == "diagonal" else -1
        other = "sink" if pattern == "diagonal" else "diagonal"
        return at_least(sign * preference(data, case), by, f"{pattern} − {other}")

    return measure


def sharper_than(other: str) -> Measure:
    """Whether the sink is preferred more than in another case, paired by seed."""

    def measure(data: Data, case: str) -> Finding:
        return at_least(preference(data, other) - preference(data, case), 0.0, f"sink − diagonal, less that of {other}")

    return measure


def on_first_beside_others(data: Data, case: str) -> Any:
    """The mean attention to the first token in rows without a trigger that see a third key, in whole samples [seed]."""
    one = data[case].isel(t=-1, query_position=slice(2, None))
    silent = 1 - one.is_trigger
    on_first = (one.attention_shown.isel(key_position=0) * silent).sum(("query_position", "sample_shown"))
    return (on_first / silent.sum(("query_position", "sample_shown"))).values


def little_on_first(high: float) -> Measure:
    """Whether the mean attention to the first token, where a row sees another key, is at most this."""

    def measure(data: Data, case: str) -> Finding:
        return at_most(on_first_beside_others(data, case), high, "on the first token")

    return measure
