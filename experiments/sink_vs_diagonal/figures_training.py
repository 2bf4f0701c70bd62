"""A run of one head: norms per margin, singular values, effective rank and what its attention smooths, over t."""

import pathlib

import numpy as np

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record
from experiments.sink_vs_diagonal.measures_training import per_margin

LABELS = {"nuclear": "‖W‖_*", "frobenius": "‖W‖_F", "weights": "½ Σ θ²"}


@styled
def draw(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """A row for every law."""
    laws = record.laws
    drawn = figure(10.5, 0.9 + 2.7 * len(laws), top=0.4, wspace=0.3, hspace=0.45)
    for row, law in zip(drawn.subplots(len(laws), 3, squeeze=False), laws, strict=True):
        one = record[law].load().isel(t=slice(1, None))
        separated = one.isel(t=np.flatnonzero(one.target_margin.values > 0))
        for (norm, label), colour in zip(LABELS.items(), ("blue", "green", "orange"), strict=True):
            style = ":" if norm == "weights" else "-"
            row[0].plot(separated.t, per_margin(separated, norm), style, color=COLOURS[colour], label=label)
        row[0].set(yscale="log", ylabel="norm / smallest margin", title=law)
        row[0].legend(fontsize=7)
        row[1].plot(one.t, one.qk_singular_values, color=COLOURS["blue"], linewidth=0.9)
        row[1].set(yscale="log", ylabel="singular values of W", ylim=(1e-6, None))
        row[2].plot(one.t, one.qk_rank, color=COLOURS["vermilion"], label="effective rank of W")
        row[2].plot(one.t, one.attention_smoothing, color=COLOURS["black"], label="S(A), spread left by attention")
        row[2].set(ylim=(0, one.mode.size))
        row[2].legend(fontsize=7)
        for axes in row:
            axes.set(xscale="log", xlabel="t = η k", xlim=(float(one.t[0]), float(one.t[-1])))
    return save(drawn, folder, "training", provenance(record))
