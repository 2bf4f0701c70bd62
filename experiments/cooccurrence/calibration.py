"""The drift of what a flow conserves against the error of its loss, in one figure."""

import pathlib

import numpy as np

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record

SERIES = {
    ("flow", "tsit5"): ("weights, tsit5", COLOURS["blue"], "o"),
    ("flow", "dopri8"): ("weights, dopri8", COLOURS["sky"], "s"),
    ("gram_flow", "tsit5"): ("Gram variables, tsit5", COLOURS["vermilion"], "o"),
    ("gram_flow", "dopri8"): ("Gram variables, dopri8", COLOURS["orange"], "s"),
}


@styled
def draw(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """Largest relative error of the loss against largest drift, one point for each solve, with its tolerance."""
    exact = record["reference"].load()
    drawn = figure(7.2, 4.8)
    axes = drawn.subplots()
    for (variables, solver), (label, colour, marker) in SERIES.items():
        points = []
        for law, settings in record.config.laws.items():
            if law != "reference" and law in record.laws and (settings.name, settings.solver) == (variables, solver):
                data = record[law].load()
                error = float(np.abs(data.loss / exact.loss - 1).max())
                points.append((float(data.drift.max()), error, settings.rtol))
        drift, error, rtol = np.array(points).T
        axes.plot(drift, error, color=colour, marker=marker, markersize=5, linewidth=1, label=label)
        for i in (int(rtol.argmin()), int(rtol.argmax())):
            place = (drift[i], error[i])
            axes.annotate(f"{rtol[i]:.0e}", place, fontsize=6, xytext=(4, -8), textcoords="offset points", color=colour)
    axes.set(xscale="log", yscale="log")
    ends = np.array([max(axes.get_xlim()[0], 1e-15), axes.get_xlim()[1]])
    for factor, name in ((1, "error = drift"), (1000, "error = 1000 drift")):
        axes.plot(ends, factor * ends, color=COLOURS["grey"], linewidth=0.8, linestyle="--")
        axes.text(ends[0], factor * ends[0], name, fontsize=7, color=COLOURS["grey"], va="top")
    axes.set(xlabel="largest relative drift of what the flow conserves", ylabel="largest relative error of the loss")
    axes.set_title("The error of the loss is about 1000 times the drift (beside points: rtol; atol = rtol / 100)")
    axes.legend(fontsize=8, loc="lower right")
    return save(drawn, folder, "calibration", f"{provenance(record)} · reference: dopri8, rtol 1e-11")
