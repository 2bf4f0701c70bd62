"""The first hundred steps of GD from the paper's own start: losses, sharpness, and the distance from the flow."""

import pathlib
from typing import Any

import numpy as np

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.studies.comparison import distances
from dynamics.sweeps.results import SweepRecord

EDGE = 2.0  # value of η λmax above which gradient descent on a quadratic diverges
SHOWN = ("vermilion", "orange", "sky")


@styled
def draw(record: SweepRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw three panels over t, from one start."""
    flow, gd = (record[law].load().isel(seed=0).sel(eigenvalue="value") for law in ("flow", "gd"))
    distance = distances(record, "gd", "flow").isel(seed=0)
    drawn = figure(12.0, 4.0, wspace=0.32)
    losses, sharpness, apart = drawn.subplots(1, 3)
    losses.plot(flow.t, flow.loss, color="black", linestyle="--", linewidth=1, zorder=3, label="gradient flow")
    for step, name in zip(gd.step.values[::-1], SHOWN, strict=False):
        run, colour = gd.sel(step=step), COLOURS[name]
        losses.plot(run.t, run.loss, ".-", color=colour, markersize=3, label=f"GD, η = {step:g}")
        sharpness.plot(run.t, step * run.sharpness, ".-", color=colour, markersize=3, label=f"GD, η = {step:g}")
        sharpness.plot(flow.t, step * flow.sharpness, color=colour, linestyle=":", linewidth=1)
        apart.plot(run.t[1:], distance.output.sel(step=step)[1:], ".-", color=colour, markersize=3)
        crossed = _passes(run, step)
        if np.isfinite(crossed):
            there = step * float(run.sharpness.sel(t=crossed))
            sharpness.plot(
                crossed, there, "v", color=colour, markersize=8, markeredgecolor="black", zorder=4, clip_on=False
            )
    sharpness.axhline(EDGE, color="black", linewidth=0.8)
    sharpness.text(float(flow.t[-1]), EDGE, "unstable", ha="right", va="bottom", fontsize=7.5)
    losses.set(ylabel="training loss", yscale="log", title="loss")
    sharpness.set(ylabel="η λmax", yscale="log", title="η λmax (dotted: along the flow; ▾: first time above 2)")
    apart.set(ylabel="|F_GD − F_flow| / max |F_flow|", yscale="log", title="distance of the outputs")
    for axes in (losses, sharpness, apart):
        axes.set_xscale("symlog", linthresh=float(flow.t[1]), linscale=0.5)
        axes.set(xlabel="t = ηk", xlim=(0, None))
    losses.legend(fontsize=7.5)
    start = f"start with λmax = {float(flow.sharpness[0]):.3g}, loss {float(flow.loss[0]):.3g}"
    drawn.suptitle(
        f"The paper's own {start}; 2/λmax = {EDGE / float(flow.sharpness[0]):.2g}", x=0.01, y=0.99, ha="left"
    )
    return save(drawn, folder, "stability", provenance(record))


def _passes(run: Any, step: float) -> float:
    """The first saved t with η λmax above 2; nan if there is none."""
    return float(run.t.where(step * run.sharpness > EDGE).min())
