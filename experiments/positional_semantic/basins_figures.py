"""Figures of which minimum is found: paths in the plane of m and θ/σ², shares of the ends, and counting."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.positional_semantic.basins_claims import ENDS, ends, share

COLOUR = dict(zip(ENDS, (COLOURS["blue"], COLOURS["vermilion"], COLOURS["grey"]), strict=True))
AT_END = {"symbols": COLOURS["vermilion"], "places": COLOURS["blue"], "neither": COLOURS["grey"]}


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of a record of claims."""
    data = {case: record[case].load() for case in record.cases}
    sgd = {
        f"SGD, {kind} samples\nη/B = {n}": (f"SGD, {kind}", n) for kind in ("fixed", "fresh") for n in ("1/32", "1/8")
    }
    laws = {
        "gradient flow,\nrandom starts": data["flow"],
        "GD, η = 1": data["GD"].sel(learning_rate=1.0),
        "GD, η = 8": data["GD"].sel(learning_rate=8.0),
        **{name: data[case].sel(learning_rate={"1/32": 1.0, "1/8": 4.0}[n]) for name, (case, n) in sgd.items()},
    }
    line = provenance(record)
    planes = {
        "gradient flow,\nstarts on the arc": data["arc"],
        **{n: laws[n] for n in list(laws) if "= 1" not in n or "1/8" in n},
    }
    return [
        *save(_planes(planes), folder, "plane", line),
        *save(_shares(laws), folder, "basins", line),
        *save(_counting(data["counting"]), folder, "counting", line),
    ]


def _planes(planes: dict[str, Any]) -> Figure:
    drawn = figure(13.0, 3.3, top=0.6, wspace=0.3)
    for axes, (name, data) in zip(drawn.subplots(1, len(planes), sharey=True), planes.items(), strict=True):
        of = ends(data)
        for seed in data.seed.values:
            end = next(end for end in ENDS if int(of[end].sel(seed=seed)))
            one = data.sel(seed=seed)
            axes.plot(one.m, one.theta, color=COLOUR[end], linewidth=0.5, alpha=0.6)
            axes.plot(one.m[-1], one.theta[-1], ".", color=COLOUR[end], markersize=3)
        axes.set(title=name, xlabel="m", xlim=(0, None))
        axes.title.set_fontsize(8)
    drawn.axes[0].set_ylabel("θ/σ²")
    return drawn


def _shares(laws: dict[str, Any]) -> Figure:
    drawn = figure(8.6, 3.4, top=0.3)
    axes = drawn.subplots()
    for offset, end in zip((-0.22, 0, 0.22), ENDS, strict=True):
        found = [share(ends(data)[end].values) for data in laws.values()]
        height = [one.value for one in found]
        error = [[one.value - one.low for one in found], [one.high - one.value for one in found]]
        axes.bar(np.arange(len(laws)) + offset, height, 0.22, yerr=error, color=COLOUR[end], label=end, capsize=2)
    axes.set_xticks(range(len(laws)), list(laws), fontsize=6.5)
    axes.set(ylabel="share of 100 random starts", ylim=(0, 1))
    axes.legend(fontsize=7, title="end")
    return drawn


def _counting(data: Any) -> Figure:
    drawn = figure(8.6, 3.2, top=0.4, wspace=0.3)
    titles = {"accuracy": "right counts on new sequences", "by_meaning": "share of meaning in attention"}
    for axes, (name, title) in zip(drawn.subplots(1, 2), titles.items(), strict=True):
        for arm in data.arm.values if name == "accuracy" else ("symbols", "places"):
            for seed in range(data.sizes["seed"]):
                label = f"attention sees {arm} at first" if seed == 0 else None
                axes.plot(data.steps, data[name].sel(arm=arm).isel(seed=seed), color=AT_END[arm], label=label)
        axes.axvline(float(data.steps[8]), color=COLOURS["black"], linewidth=0.8, linestyle=":")
        axes.set(title=title, xlabel="steps; after the dotted line SGD, both halves free")
    drawn.axes[0].legend(fontsize=7)
    return drawn
