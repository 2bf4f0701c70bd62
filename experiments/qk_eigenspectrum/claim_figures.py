"""Figures of the claims: two collapses and localisation, crossing probabilities, and the forms of the penalty."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dynamics.figures.style import COLOURS, SEQUENTIAL, figure, provenance, save, shades, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.qk_eigenspectrum import measures_training, theory

ARMS = {
    "none": "no penalty",
    "locater": "penalty,\ntrace held",
    "shrink": "penalty,\ntrace free",
    "zero": "penalty,\ntrace at 0",
}
SHOWN: dict[str, Callable[[Any], Any]] = {
    "deviation/|mean| of the eigenvalues": measures_training.deviation_over_mean,
    "entropy of attention (nats)": measures_training.entropy,
    "attention on the current word": measures_training.on_current_token,
    "best loss on fresh sequences": measures_training.fresh_loss,
}


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of a record of claims."""
    line = provenance(record)
    data = {case: record[case].load() for case in record.cases}
    return [
        *save(_collapses(data["examples"], data["plane"]), folder, "collapses", line),
        *save(_crossings(data["walks"]), folder, "crossings", line),
        *save(_arms(data), folder, "arms", line),
    ]


def _collapses(examples: Any, plane: Any) -> Figure:
    drawn = figure(11.4, 3.6, left=0.6, right=1.2, top=0.8, wspace=0.28)
    *maps, corner = drawn.subplots(1, 4, width_ratios=(1, 1, 1, 1.35))
    titles = (
        "m = 0, v = 0.01: uniform\n(rank collapse)",
        "m = 1, v = 0: local",
        "m = 1, v = 1000: one key,\nat any distance (entropy collapse)",
    )
    for axes, title, cell in zip(maps, titles, examples["map"], strict=True):
        axes.imshow(np.sqrt(cell), cmap=SEQUENTIAL, vmin=0, vmax=1)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("key")
    maps[0].set_ylabel("query")
    T = int(plane.of_length[0])
    means = np.unique(plane.of_mean)
    for mean, colour in zip(means, shades(len(means)), strict=True):
        of_mean = plane.where(plane.of_mean == mean, drop=True).sortby("of_variance")
        H, near = (of_mean.attention.mean("seed").sel(seen=seen) for seen in ("entropy", "last 4"))
        corner.plot(H / np.log(T), near, color=colour, marker=".", label=f"m = {mean:g}")
    corner.annotate("v = 0", (theory.geometric_entropy(1.0, T) / np.log(T), 0.99), fontsize=7, ha="center", va="bottom")
    for place, what in (((0.97, 0.05), "uniform"), ((0.03, 0.34), "one key"), ((0.38, 0.99), "local")):
        corner.annotate(what, place, fontsize=7, ha="right" if what == "uniform" else "left", color=COLOURS["grey"])
    corner.set_xlabel("entropy / log T")
    corner.set_ylabel("attention on the last 4 keys")
    corner.set_title("last query of a random walk;\nv = 0, 0.01, ..., 1000 along each line", fontsize=8)
    corner.set_xlim(0, 1.02)
    corner.set_ylim(0, 1.08)
    corner.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return drawn


def _crossings(walks: Any) -> Figure:
    drawn = figure(6.4, 4.0, right=1.7)
    axes = drawn.subplots()
    crossing = walks.crossings.mean("seed") / walks.samples
    for number, colour in zip(range(walks.sizes["cell"]), COLOURS.values(), strict=False):
        cell = walks.isel(cell=number)
        share = cell.t / cell.of_length
        name = f"m = {float(cell.of_mean):g}, v = {float(cell.of_variance):g}"
        axes.plot(share, crossing.isel(cell=number), ".", color=colour, markersize=4, label=name)
        axes.plot(share, cell.limit, color=colour, linewidth=0.9)
    axes.set_xlabel("t / T")
    axes.set_ylabel("P(z_T > z_t)")
    axes.set_ylim(0.45, 1.02)
    axes.set_title("points: sampled; lines: Φ(SNR_t)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return drawn


def _arms(data: dict[str, Any]) -> Figure:
    tasks = {"markov": "chain of order 1", "bag": "bag of words"}
    drawn = figure(11.0, 6.4, wspace=0.34, hspace=0.55)
    panels = drawn.subplots(len(tasks), len(SHOWN))
    for row, (task, name) in zip(panels, tasks.items(), strict=True):
        arms = [arm for arm in ARMS if f"{task} {arm}" in data]
        for axes, (label, what) in zip(row, SHOWN.items(), strict=True):
            values = np.stack([np.asarray(what(measures_training.at_best_time(data[f"{task} {arm}"]))) for arm in arms])
            axes.plot(range(len(arms)), values, color=COLOURS["grey"], linewidth=0.6)
            for place, column in enumerate(values):
                axes.plot(np.full(column.size, place), column, ".", color=COLOURS["blue"])
                axes.plot([place - 0.2, place + 0.2], [column.mean()] * 2, color=COLOURS["vermilion"])
            axes.set_xticks(range(len(arms)), [ARMS[arm] for arm in arms], fontsize=6.5)
            axes.set_xlim(-0.5, len(arms) - 0.5)
            axes.set_title(label, fontsize=8)
            if label.startswith("deviation"):
                axes.set_yscale("log")
            if label.startswith("entropy"):
                axes.set_ylim(bottom=0)
        row[0].set_ylabel(name)
    return drawn
