"""The two tables of a comparison: distances with their orders, and times."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dynamics.analysis.fits import FEWEST, order
from dynamics.studies.comparison import distances, pairs_of
from dynamics.sweeps.results import SweepRecord

FIRST = ("parameters", "output", "loss")  # probes whose distances are shown before those of the others
WITHOUT_DISTANCE = ("drift", "loss_error")  # probes that say how good a trajectory is, and not where it is


class Table(NamedTuple):
    """A table of texts."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return f"## {self.title}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def tables(record: SweepRecord) -> list[Table]:
    """The table of distances and orders, and by law that of classification times, their shifts and departures.

    The second one is left out where there is nothing to classify and nothing failed.
    """
    pairs = {pair: distances(record, *pair) for pair in pairs_of(record)}
    orders: list[tuple[str, ...]] = []
    for (law, reference), pair in pairs.items():
        last = pair.isel({dim: -1 for dim in ("t", "checkpoint") if dim in pair.dims})
        for probe in _probes(last):
            distance = np.atleast_2d(last[probe].values)
            if "step" not in last.dims:
                distance = distance.reshape(-1, 1)
            steps = last.step.values.tolist() if "step" in last.dims else []
            error = last[f"{probe}_error"].values if f"{probe}_error" in last else 0.0
            orders.append((law, reference, probe, _ends(distance.mean(axis=0)[::-1]), _stated(steps, distance, error)))
    end = float(record[record.laws[0]].t[-1])
    by_step = Table(
        f"Distances at t = {end:g} (mean over seeds; largest step to smallest) and their order in the step, 95 %",
        ("law", "from", "probe", "distance", "order"),
        orders,
    )
    tolerance = record.config.compare.tolerance
    first = dict(reversed(pairs))  # the first reference of every law
    rows: list[tuple[str, ...]] = []
    for law in record.laws:
        compared = first.get(law)
        rows += _rows(record, law, compared, pairs[law, compared] if compared else None, tolerance)
    events = Table(
        "Classified: the time from which on every sample of the training set is classified (mean over seeds and "
        "draws), and its shift; leaves: the first saved t at which the outputs on the training set are more than "
        f"{tolerance:g} away (median over seeds); paths that failed or diverged",
        ("law", "step", "classified", "from", "shift", "leaves at t", "failed"),
        rows,
    )
    says_something = any(set(row[2:3] + row[4:6]) != {"-"} or row[6] != "0" for row in rows)
    return [by_step, events] if says_something else [by_step]


def _probes(distance: Any) -> list[str]:
    """The probes whose distances are shown."""
    beside = {f"{name}{ending}" for name in distance for ending in ("_error", "_variance")}
    names = [str(name) for name in distance if name not in beside and name not in WITHOUT_DISTANCE]
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def _rows(record: SweepRecord, law: str, reference: str | None, pair: Any, tolerance: float) -> list[tuple[str, ...]]:
    """The rows of a law, one for every step."""
    data = record[law].load()
    classified, shift, beyond = data.get("classification_time"), None, None
    if reference is not None:
        exact = record[reference].load().get("classification_time")
        if classified is not None and exact is not None:
            shift = _mean(classified) - _mean(exact)
        away = pair.get("output")
        beyond = None if away is None else away.t.where(away > tolerance).min("t")
    rows: list[tuple[str, ...]] = []
    for step in data.step.values[::-1] if "step" in data.dims else (None,):
        at: dict[str, Any] = {} if step is None else {"step": step}
        rows.append(
            (
                law,
                "-" if step is None else f"{step:g}",
                "-" if classified is None else _classified(classified.sel(at)),
                reference or "-",
                "-" if shift is None else _number(shift.sel(at).mean()),
                "-" if beyond is None else _number(beyond.sel(at).median()),
                str(int((data.status != "done").sel(at).sum())),
            )
        )
    return rows


def _classified(times: Any) -> str:
    """The mean over all paths that classify every sample, and the number of those that do not."""
    never = int(np.isnan(times).sum())
    return _number(times.mean()) + (f" (never in {never} of {times.size})" if 0 < never < times.size else "")


def _mean(times: Any) -> Any:
    """The mean over the draws of a random law."""
    return times.mean("draw") if "draw" in times.dims else times


def _ends(values: np.ndarray) -> str:
    return " → ".join(f"{value:.2e}" for value in dict.fromkeys([values[0], values[-1]]))


def _stated(steps: Sequence[float], distance: np.ndarray, error: Any) -> str:
    if len(steps) < FEWEST:
        return f"no slope: {len(steps) or 1} value{'s' if len(steps) > 1 else ''} of the step"
    finite = int(np.isfinite(distance).all(axis=0).sum())
    if finite < FEWEST:
        return f"no slope: {finite} value{'' if finite == 1 else 's'} of the step are finite"
    fit = order(steps, distance, error)
    return "no slope: lost in the noise of the draws" if np.isnan(fit.slope) else str(fit)


def _number(value: Any) -> str:
    return "never" if np.isnan(value) else f"{float(value):.4g}"
