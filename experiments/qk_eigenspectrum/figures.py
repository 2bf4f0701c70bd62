"""Loss, QK-eigenspectrum, entropy and localisation of attention over t, for one run or for several side by side."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record

Column = tuple[str, Any, Any]  # title, Dataset of the law, Dataset of the training set


@styled
def draw(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """The laws of a run, a column each."""
    return save(_page(_columns(record)), folder, "training", provenance(record))


@styled
def compare(records: Sequence[Record], folder: pathlib.Path) -> list[pathlib.Path]:
    """The laws of several runs, a column each."""
    columns = [column for record in records for column in _columns(record)]
    line = " · ".join(dict.fromkeys(part for record in records for part in provenance(record).split(" · ")))
    return save(_page(columns), folder, "training", line)


def _columns(record: Record) -> list[Column]:
    return [(law, record[law].load(), record["data"].load()) for law in record.laws]


def _page(columns: Sequence[Column]) -> Figure:
    drawn = figure(3.4 * len(columns) + 2.4, 8.2, right=1.7, top=0.4, wspace=0.28, hspace=0.26)
    panels = drawn.subplots(4, len(columns), squeeze=False, sharex="col")
    for column, (law, run, data) in zip(panels.T, columns, strict=True):
        for axes, plot in zip(column, (_losses, _spectrum, _entropy, _localisation), strict=True):
            plot(axes, run, data)
            axes.set_xscale("log")
            axes.set_xlim(float(run.t[1]), float(run.t[-1]))
        column[0].set_title(law)
        column[-1].set_xlabel("t = η k")
    labels = ("loss per word (nats)", "eigenvalues, real part", "entropy (nats)", "share")
    for row, label in zip(panels, labels, strict=True):
        row[0].set_ylabel(label)
        row[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return drawn


def _first(values: Any) -> Any:
    """The values of the first layer and head."""
    return values.isel({dim: 0 for dim in ("layer", "head") if dim in values.dims})


def _losses(axes: Axes, run: Any, data: Any) -> None:
    axes.plot(run.t, run.data_loss, color=COLOURS["black"], label="training set")
    test = run.population_loss.sel(estimate="mean")
    axes.plot(run.t, test, color=COLOURS["vermilion"], label="fresh sequences")
    if "transitions" in data:
        T = data.transitions.values
        words = np.full(len(T), 1 / len(T))  # their probabilities at a position
        entropies = []
        for _ in range(data.sizes["position"]):
            entropies.append(-words @ np.sum(T * np.log(T), axis=1))
            words = words @ T
        axes.axhline(np.mean(entropies), color=COLOURS["grey"], linestyle=":", label="the chain's entropy")
    highest = 1.6 * float(run.data_loss[0])
    axes.set_ylim(0, min(highest, 1.1 * float(max(test.max(), run.data_loss.max()))))


def _spectrum(axes: Axes, run: Any, _: Any) -> None:
    spectrum = _first(run.qk_spectrum)
    real = spectrum.sel(part="real")
    for mode in range(real.sizes["mode"]):
        axes.plot(
            run.t, real.isel(mode=mode), color=COLOURS["sky"], linewidth=0.6, label="eigenvalues" if mode == 0 else None
        )
    mean = real.mean("mode")
    deviation = np.sqrt(((spectrum - spectrum.mean("mode")) ** 2).sum("part").mean("mode"))
    axes.plot(run.t, mean, color=COLOURS["blue"], label="mean")
    axes.fill_between(
        run.t, mean - deviation, mean + deviation, color=COLOURS["blue"], alpha=0.15, linewidth=0, label="± deviation"
    )
    axes.axhline(0, color=COLOURS["grey"], linewidth=0.6)


def _entropy(axes: Axes, run: Any, data: Any) -> None:
    axes.plot(run.t, _first(run.attention_entropy), color=COLOURS["purple"], label="attention")
    uniform = float(np.mean(np.log(np.arange(1, data.sizes["position"] + 1))))
    axes.axhline(uniform, color=COLOURS["grey"], linestyle=":", label="uniform")
    axes.set_ylim(0, 1.1 * uniform)


def _localisation(axes: Axes, run: Any, data: Any) -> None:
    within = _first(run.attention_within)
    positions = np.arange(1, data.sizes["position"] + 1)
    for window, colour in ((1, "blue"), (4, "green")):
        what = "current word" if window == 1 else f"last {window} words"
        axes.plot(run.t, within.sel(window=window), color=COLOURS[colour], label=f"attention on the\n{what}")
        uniform = float(np.mean(np.minimum(window / positions, 1)))
        axes.axhline(uniform, color=COLOURS[colour], linestyle=":", linewidth=0.9)
    if "peak_within" in run:
        peak = _first(run.peak_within).sel(window=1)
        axes.plot(run.t, peak, color=COLOURS["orange"], label="queries that attend\nmost to their own word")
    axes.set_ylim(0, 1)
