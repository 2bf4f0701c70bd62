"""Gradient descent at several steps against gradient flow, at a width that only Gram variables make possible."""

import pathlib

import numpy as np
from matplotlib.ticker import NullFormatter

from dynamics.analysis.events import classification_time
from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record
from experiments.cooccurrence.figures import mark_phases


@styled
def draw(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw losses and the relative distance of every descent from the flow over t."""
    flow = record["flow"].load().isel(t=slice(1, None))
    drawn = figure(8.6, 3.8, wspace=0.35)
    left, right = drawn.subplots(1, 2)
    left.plot(flow.t, flow.loss, color="black", linewidth=1, linestyle=":", zorder=3, label="flow")
    descents = [law for law in record.laws if law != "flow"]
    # The curves coincide, so later ones are drawn thinner.
    for law, colour, thick in zip(descents, ("sky", "orange", "vermilion"), (6, 3.5, 1.5), strict=False):
        data = record[law].load().isel(t=slice(1, None))
        eta = record.config.laws[law].learning_rate
        left.plot(data.t, data.loss, color=COLOURS[colour], linewidth=thick, label=f"GD, η = {eta:g}")
        distance = np.abs(data.loss / flow.loss.sel(t=data.t) - 1)
        right.plot(data.t, distance / eta, color=COLOURS[colour], linewidth=thick, label=f"η = {eta:g}")
    left.set(yscale="log", ylabel="training loss")
    left.legend(fontsize=8, loc="lower left")
    right.set(yscale="log", ylabel="|loss of GD / loss of flow − 1| / η")
    right.legend(fontsize=8)
    t1 = classification_time(flow.t.values, flow.margin.values)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="t = ηk")
        axes.yaxis.set_minor_formatter(NullFormatter())
        if np.isfinite(t1):
            mark_phases(axes, t1, float(flow.t[-1]))
    drawn.suptitle(
        f"m = {record.config.model.width}: GD differs from the flow by an amount ∝ η (curves on the right coincide)",
        x=0.01,
        y=0.99,
        ha="left",
        fontsize=10,
    )
    return save(drawn, folder, "descent_against_flow", provenance(record))
