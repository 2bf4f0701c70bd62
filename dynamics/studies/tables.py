"""What a record of a comparison says, in two tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dynamics.analysis.fits import FEWEST, order
from dynamics.runs.record import Record
from dynamics.trajectory import COMPLETED

__all__ = ["Table", "is_comparison", "tables"]

SHOWN = ("parameters", "output", "loss")  # probes whose distances are shown, where they are recorded


class Table(NamedTuple):
    """A table of texts."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """As Markdown."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return f"## {self.title}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def is_comparison(record: Record) -> bool:
    """Whether a record is that of a comparison."""
    return bool(_pairs(record))


def tables(record: Record) -> list[Table]:
    """What a record of a comparison says: distances and their orders; T1, its shift and the departure by law."""
    settings = record.config.compare
    orders: list[tuple[str, ...]] = []
    for law, reference in _pairs(record):
        found = record[f"{law} to {reference}"].load().isel(t=-1)
        for probe in (name for name in SHOWN if name in found):
            distance = np.atleast_2d(found[probe].values)
            if "step" not in found.dims:
                distance = distance.reshape(-1, 1)
            steps = found.step.values.tolist() if "step" in found.dims else []
            error = found[f"{probe}_error"].values if f"{probe}_error" in found else 0.0
            orders.append((law, reference, probe, _ends(distance.mean(axis=0)), _stated(steps, distance, error)))
    last = float(record[record.laws[0]].t[-1])
    by_step = Table(
        f"Distances at t = {last:g} (mean over seeds; largest step to smallest) and their order in the step, 95 %",
        ("law", "from", "probe", "distance", "order"),
        orders,
    )
    rows: list[tuple[str, ...]] = []
    compared = dict(reversed(_pairs(record)))  # the first one of every law
    for law in record.laws:
        found = record[law].load()
        shift, beyond = None, None
        if law in compared:
            shift = _mean_t1(found) - _mean_t1(record[compared[law]].load())
            away: Any = record[f"{law} to {compared[law]}"].load().get("output")
            beyond = None if away is None else away.t.where(away > settings.tolerance).min("t")
        for step in found.step.values if "step" in found.dims else (None,):
            at: dict[str, Any] = {} if step is None else {"step": step}
            rows.append(
                (
                    law,
                    "-" if step is None else f"{step:g}",
                    _t1(found.classification_time.sel(at)),
                    compared.get(law, "-"),
                    "-" if shift is None else _number(shift.sel(at).mean()),
                    "-" if beyond is None else _number(beyond.sel(at).median()),
                    str(int((found.outcome != COMPLETED).sel(at).sum())),
                )
            )
    phases = Table(
        "T1 and its shift (mean over seeds and draws); the first saved t at which the outputs on the training set are "
        f"more than {settings.tolerance:g} away (median over seeds); paths that failed",
        ("law", "step", "T1", "from", "shift", "leaves at t", "failed"),
        rows,
    )
    return [by_step, phases]


def _pairs(record: Record) -> list[tuple[str, str]]:
    groups, laws = record.groups(), record.laws
    return [(law, reference) for law in laws for reference in laws if f"{law} to {reference}" in groups]


def _t1(found: Any) -> str:
    """The mean over all paths that have a T1, and how many do not."""
    without = int(np.isnan(found).sum())
    return _number(found.mean()) + (f" (none in {without} of {found.size})" if 0 < without < found.size else "")


def _mean_t1(found: Any) -> Any:
    """T1, the mean over the draws of a random law."""
    return (
        found.classification_time.mean("draw")
        if "draw" in found.classification_time.dims
        else found.classification_time
    )


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
