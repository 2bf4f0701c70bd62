"""The figure of the max-margin law: R(t) against its limit, and the population loss at T* against width."""

import pathlib

import numpy as np

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.cooccurrence.max_margin import MaxMargin
from experiments.cooccurrence.max_margin_claims import (
    COMPANIONS,
    JUDGED,
    LIMITS,
    WIDTHS,
    at_training_loss,
    predicted,
    ratio,
)

SHOWN = ("blue", "vermilion", "green")


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw |R(t)/R∞ − 1| over t, and the population loss where the training loss is 1/m, over m."""
    drawn = figure(9.2, 3.8, wspace=0.3)
    left, right = drawn.subplots(1, 2)
    for case, colour in zip((case for case in LIMITS if case in COMPANIONS), SHOWN, strict=True):
        runs = record[case].load().isel(t=slice(1, None))
        away = abs(ratio(runs) / MaxMargin(*LIMITS[case]).ratio - 1)
        for width, style, label in zip(runs.width.values, ("--", "-"), ("", case), strict=True):
            left.plot(runs.t, np.ravel(away.sel(width=width)), style, color=COLOURS[colour], label=label or None)
    left.set(xscale="log", yscale="log", xlabel="t", ylabel="|R(t)/R∞ − 1|")
    left.set_title("R(t) against the closed form; dashed: m = 2^14, solid: 2^20")
    left.legend(fontsize=8, loc=(0.68, 0.52))
    for (name, case), colour in zip(JUDGED.items(), SHOWN, strict=False):
        runs = record[case].load()
        values = at_training_loss(runs, 1 / runs.width)
        right.plot(runs.width, values, "o", color=COLOURS[colour], markersize=4)
        label = name.removeprefix("population, ")
        right.plot(WIDTHS, predicted(name, WIDTHS), color=COLOURS[colour], linewidth=1, label=label)
    right.set(xscale="log", yscale="log", xlabel="width m", ylabel="population loss at T*")
    right.set_title("dots: the flow; lines: the flow of three numbers")
    right.legend(fontsize=8)
    return save(drawn, folder, "max_margin", provenance(record))
