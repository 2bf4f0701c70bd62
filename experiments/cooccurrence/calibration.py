"""The drift of what a flow conserves against the error of its loss, in one figure."""

import pathlib

import numpy as np

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record

COLOUR = {
    ("flow", "tsit5"): "blue",
    ("flow", "dopri8"): "sky",
    ("flow", "rkc2"): "green",
    ("flow", "auto"): "blue",
    ("gram_flow", "tsit5"): "vermilion",
    ("gram_flow", "dopri8"): "orange",
    ("gram_flow", "rkc2"): "purple",
    ("gram_flow", "auto"): "vermilion",
}
VARIABLES = {"flow": "weights", "gram_flow": "Gram variables"}
MARKERS = {"tsit5": "o", "dopri8": "s", "rkc2": "^", "auto": "o"}


@styled
def draw(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """Largest relative error of the loss against largest drift, one point for each solve, with its tolerance."""
    exact = record["reference"].load()
    drawn = figure(7.2, 4.8)
    axes = drawn.subplots()
    ratios = []
    for (variables, solver), name in COLOUR.items():
        points = []
        for law, settings in record.config.laws.items():
            if law != "reference" and law in record.laws and (settings.name, settings.solver) == (variables, solver):
                data = record[law].load()
                error = float(np.abs(data.loss / exact.loss - 1).max())
                points.append((float(data.drift.max()), error, settings.rtol))
        if not points:
            continue
        colour, marker, label = COLOURS[name], MARKERS[solver], f"{VARIABLES[variables]}, {solver}"
        drift, error, rtol = np.array(points).T
        ratios += (error / drift).tolist()
        axes.plot(drift, error, color=colour, marker=marker, markersize=5, linewidth=1, label=label)
        for i in (int(rtol.argmin()), int(rtol.argmax())):
            place = (drift[i], error[i])
            axes.annotate(f"{rtol[i]:.0e}", place, fontsize=6, xytext=(4, -8), textcoords="offset points", color=colour)
    axes.set(xscale="log", yscale="log")
    ends = np.array([max(axes.get_xlim()[0], 1e-15), axes.get_xlim()[1]])
    for factor, name in ((1, "error = drift"), (1000, "error = 1000 drift")):
        axes.plot(ends, factor * ends, color=COLOURS["grey"], linewidth=0.8, linestyle="--")
        axes.text(ends[0], factor * ends[0], name, fontsize=7, color=COLOURS["grey"], va="top")
    axes.set(
        xlabel="largest relative drift of what the flow conserves; beside points: rtol = 100 atol",
        ylabel="largest relative error of the loss",
    )
    low, high = (float(f"{ratio:.2g}") for ratio in (min(ratios), max(ratios)))
    axes.set_title(f"The error of the loss is {low:g} to {high:g} times the drift")
    axes.legend(fontsize=8, loc="lower right")
    settings = record.config.laws.reference
    line = f"{provenance(record)} · reference: {settings.solver}, rtol {settings.rtol:g}"
    return save(drawn, folder, "calibration", line)
