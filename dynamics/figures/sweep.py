"""Figures of any sweep: the summaries of every law over the swept axes, and its loss over t."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dynamics.figures.style import (
    COLOURS,
    bands,
    figure,
    heatmap,
    logarithmic,
    median,
    places,
    provenance,
    save,
    shades,
    styled,
)
from dynamics.sweeps.results import SweepRecord

SEED, MEMBER = "seed", "member"
LINES = 7  # most losses over t in one panel, so that the legend fits


@styled
def draw(record: SweepRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw a page for every law: the last loss and the classification time over the swept axes, and the loss over t.

    With one axis besides the seed a summary is a line; with more it is a map over the first two, with medians over the
    others. Members that do not form a grid are points, in a panel for every swept key.
    """
    return [path for law in record.laws for path in _page(record, law, folder)]


def summaries(data: Any) -> dict[str, Any]:
    """{name: DataArray with a number for every member}, from a law's Dataset."""
    summaries = {}
    if "loss" in data:
        summaries["last loss"] = data.loss.isel(t=-1)
    if "classification_time" in data:
        summaries["classification time"] = data.classification_time
    return summaries


def went_wrong(data: Any) -> Any:
    """Which members diverged or failed, a DataArray of booleans."""
    return data.status.isin(["diverged", "failed"])


def _page(record: SweepRecord, law: str, folder: pathlib.Path) -> list[pathlib.Path]:
    data = record[law].load()
    numbers = summaries(data)
    axes = [dim for dim in data.status.dims if dim != SEED]
    if MEMBER in axes or not axes:
        along = axes[0] if axes else SEED
        keys = [key for key in record.dims.values() if key in data.variables and data[key].dims == (along,)]
    else:
        keys = axes[:1]
    panels = len(numbers) * len(keys) + ("loss" in data)
    if not panels:
        return []
    rows = -(-panels // 3)
    drawn = figure(3.9 * min(panels, 3) + 0.3, 3.3 * rows + 0.6, wspace=0.5, hspace=0.5)
    places_left = iter(np.ravel(drawn.subplots(rows, min(panels, 3), squeeze=False)))
    for what, values in numbers.items():
        for key in keys:
            panel = next(places_left)
            _summary(panel, data, values, what, key)
    if "loss" in data:
        _losses(next(places_left), data, keys[0] if keys else MEMBER)
    for panel in places_left:
        panel.set_visible(False)
    bad = int(went_wrong(data).sum())
    said = f", {bad} diverged or failed" + (" (crosses)" if len(axes) > 1 else "") if bad else ""
    over = f"; bands: smallest to largest over {SEED}s, lines: medians" if SEED in data.status.dims and axes else ""
    drawn.suptitle(f"{law}: {int((data.id != '').sum())} members{said}{over}", x=0.01, y=0.99, ha="left", fontsize=10)
    return save(drawn, folder, f"sweep_{law}", provenance(record))


def _summary(panel: Axes, data: Any, values: Any, what: str, key: str) -> None:
    axes = [dim for dim in values.dims if dim != SEED]
    if len(axes) > 1 and MEMBER not in axes:
        x, y = axes[:2]
        over = [dim for dim in values.dims if dim not in (x, y)]
        bad = went_wrong(data).any(over) if over else went_wrong(data)
        heatmap(panel, median(values, over) if over else values, x, y, marked=bad)
        panel.set_title(f"{what}, median over {', '.join(over)}" if over else what)
        return
    if axes and MEMBER not in axes:
        bands(panel, values, key, SEED, marker="o", markersize=3)
    else:
        _points(panel, data[key].values, values.values)
    spread = values.values[np.isfinite(values.values)]
    if spread.size and (spread > 0).all() and spread.max() > 20 * spread.min():
        logarithmic(panel, "y")
    panel.set(xlabel=key, ylabel=what)
    panel.set_title(f"{what} against {key}")


def _points(panel: Axes, labels: Any, values: Any) -> None:
    numbers = labels.dtype.kind in "iuf"
    where = labels if numbers else np.unique(labels, return_inverse=True)[1]
    panel.plot(where, values, "o", color=COLOURS["blue"], markersize=4, alpha=0.7)
    if numbers and (labels > 0).all() and labels.max() > 50 * labels.min():
        logarithmic(panel, "x")
    if not numbers:
        panel.set_xticks(range(len(np.unique(labels))), np.unique(labels))


def _losses(panel: Axes, data: Any, axis: str) -> None:
    """The loss over t; if times span more than a factor of 50, t is logarithmic and starts after 0."""
    loss = data.loss
    others = [dim for dim in loss.dims if dim not in (axis, SEED, "t")]
    loss = median(loss, others) if others and axis in loss.dims else loss
    if axis in loss.dims and axis != SEED:
        names = places(loss[axis].values).names
        chosen = np.unique(np.linspace(0, len(names) - 1, min(LINES, len(names))).round().astype(int))
        over, curves = SEED, [(names[i], loss.isel({axis: i}), _times(data.isel({axis: i}))) for i in chosen]
    else:
        over = next((dim for dim in loss.dims if dim != "t"), SEED)
        curves = [("", loss, _times(data))]
    begin, end = min(t[1] for *_, t in curves), max(t[-1] for *_, t in curves)
    late = end > 50 * begin
    for (name, one, t), colour in zip(curves, shades(len(curves)), strict=True):
        curve = one.assign_coords(t=t).isel(t=slice(int(late), None))
        bands(panel, curve, "t", over, color=colour, label=f"{axis} {name}" if name else None)
    if late:
        panel.set(xlim=(begin, end))
        logarithmic(panel, "x")
    spread = loss.values[np.isfinite(loss.values)]
    if spread.size and (spread > 0).all() and spread.max() > 20 * spread.min():
        logarithmic(panel, "y")
    panel.set(xlabel="t = ηk", ylabel="loss")
    panel.set_title("loss over t")
    if any(name for name, *_ in curves):
        panel.legend(fontsize=7)


def _times(data: Any) -> Any:
    """The saved times; medians, if members have times of their own."""
    if "time" not in data:
        return data.t.values
    times = data.time.median([dim for dim in data.time.dims if dim != "t"])
    return np.where(np.isfinite(times), times, data.t)
