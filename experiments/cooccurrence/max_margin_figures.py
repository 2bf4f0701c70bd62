"""The figure of the max-margin law: R(t) against its limit."""

import pathlib

import numpy as np

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.cooccurrence.max_margin import MaxMargin
from experiments.cooccurrence.max_margin_claims import COMPANIONS, LIMITS, ratio

SHOWN = ("blue", "vermilion", "green")


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw |R(t)/R∞ − 1| over t."""
    drawn = figure(5.6, 3.8)
    axes = drawn.subplots()
    for case, colour in zip((case for case in LIMITS if case in COMPANIONS), SHOWN, strict=True):
        runs = record[case].load().isel(t=slice(1, None))
        away = abs(ratio(runs) / MaxMargin(*LIMITS[case]).ratio - 1)
        for width, style, label in zip(runs.width.values, ("--", "-"), ("", case), strict=True):
            axes.plot(runs.t, np.ravel(away.sel(width=width)), style, color=COLOURS[colour], label=label or None)
    axes.set(xscale="log", yscale="log", xlabel="t", ylabel="|R(t)/R∞ − 1|")
    axes.set_title("R(t) against the closed form; dashed: m = 2^14, solid: 2^20")
    axes.legend(fontsize=8, loc=(0.68, 0.52))
    return save(drawn, folder, "max_margin", provenance(record))
