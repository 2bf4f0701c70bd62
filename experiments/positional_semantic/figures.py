"""Figures of the claims: minima over α with theory, the phase diagram, and finite sizes."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record
from dynamics.studies.evidence import ClaimsRecord
from experiments.positional_semantic.measures import PARTS, STARTS, line_in, over_sizes

COLOUR = {"positional": COLOURS["blue"], "semantic": COLOURS["vermilion"]}


@styled
def draw(record: Record | ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of a record of claims; one of a run."""
    line = provenance(record)
    if isinstance(record, Record):
        return save(_run({law: record[law].load() for law in record.laws}), folder, "training", line)
    data = {case: record[case].load() for case in record.cases}
    return [
        *save(_curves(data["curves"].isel(t=-1), data["theory"]), folder, "transition", line),
        *save(_phases(data["phases"].isel(t=-1).mean("seed"), data["theory"]), folder, "phases", line),
        *save(_sizes(data["sizes"].isel(t=-1), data["theory"]), folder, "sizes", line),
    ]


def _run(laws: dict[str, Any]) -> Figure:
    drawn = figure(8.6, 3.2, top=0.4, wspace=0.3)
    overlaps, losses = drawn.subplots(1, 2)
    for law, style in zip(laws, ("-", "--"), strict=False):
        one, wide = laws[law].isel(t=slice(1, None)), 1.2 if style == "-" else 2.4
        for axes, name, colour in (
            (overlaps, "m", "blue"),
            (overlaps, "theta", "vermilion"),
            (losses, "loss", "black"),
        ):
            label = f"{ {'m': 'm', 'theta': 'θ/σ²', 'loss': 'training loss per dimension'}[name] }, {law}"
            axes.plot(one.t, one[name], style, color=COLOURS[colour], linewidth=wide, label=label)
    losses.set_yscale("log")
    for axes in (overlaps, losses):
        axes.set(xscale="log", xlabel="t = η k")
        axes.legend(fontsize=7)
    return drawn


def _curves(at: Any, theory: Any) -> Figure:
    drawn = figure(11.0, 3.7, top=0.75, wspace=0.28)
    alpha = at.samples.values / 300
    panels = {"order parameters": "", "generalisation error ε_g": "error", "training loss per dimension": "loss"}
    for axes, (title, quantity) in zip(drawn.subplots(1, 3), panels.items(), strict=True):
        for start in STARTS:
            own = {"positional": "m", "semantic": "theta"}[start]
            measured = at[{"": own, "error": "generalisation_error", "loss": "loss"}[quantity]].sel(start=start)
            middle = measured.mean("seed")
            spread = np.abs(np.stack([measured.min("seed"), measured.max("seed")]) - middle.values)
            label = f"{start} start" + ("" if quantity else {"m": ": m", "theta": ": θ/σ²"}[own])
            axes.errorbar(alpha, middle, spread, fmt="o", markersize=3.5, color=COLOUR[start], label=label, capsize=2)
            axes.plot(theory.alpha, theory.curve.sel(branch=start, quantity=quantity or own), color=COLOUR[start])
        if quantity == "error":
            axes.plot(alpha, at.linear_error.mean(("seed", "start")), "s", color=COLOURS["grey"], markersize=3.5)
            axes.axhline(float(theory.linear), color=COLOURS["grey"], label="best linear map")
            axes.set_ylim(bottom=0.0006)
        for which, style in (("α_c", ":"), ("α_l", "--")) if quantity else ():
            if which == {"error": "α_l", "loss": "α_c"}[quantity]:
                place = float(theory.at_03.sel(points="fine", which=which))
                axes.axvline(
                    place, color=COLOURS["black"], linewidth=0.8, linestyle=style, label=f"{which} = {place:.3f}"
                )
        axes.set(title=title, xlabel="α = n/d")
        axes.legend(fontsize=7, loc="lower left" if quantity == "error" else "upper left")
    drawn.text(
        0.01, 0.95, "points: gradient flow at d = 300, mean and range of 5 seeds; lines: state evolution", fontsize=8
    )
    return drawn


def _phases(at: Any, theory: Any) -> Figure:
    drawn = figure(8.0, 4.2, right=2.9)
    axes = drawn.subplots()
    omega, alpha = np.meshgrid(at.omega, at.samples / 200)
    loss = at.loss.transpose("samples", "omega", "start")
    semantic = (loss.sel(start="semantic") < loss.sel(start="positional")).values
    better = (at.generalisation_error < at.linear_error).sel(start="semantic").transpose("samples", "omega").values
    for start, chosen in (("semantic", semantic), ("positional", ~semantic)):
        for filled in (True, False):
            cells = chosen & (better == filled)
            name = f"{start} minimum lower" + ("\n and better than the best linear map" if filled else "")
            face = COLOUR[start] if filled else "white"
            axes.scatter(
                omega[cells], alpha[cells], 45, face, edgecolors=COLOUR[start], label=name if cells.any() else None
            )
    for which, style in (("α_c", "-"), ("α_l", "--")):
        axes.plot(
            theory.omega, theory.transition.sel(which=which), style, color=COLOURS["black"], label=f"{which}, theory"
        )
    axes.set(xlabel="ω, the weight of positions in the teacher", ylabel="α = n/d", title="d = 200, means of 3 seeds")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return drawn


def _sizes(at: Any, theory: Any) -> Figure:
    drawn = figure(8.0, 8.0, top=0.5, wspace=0.3, hspace=0.5)
    parts = [(kind, part) for kind, parts in PARTS.items() for part in parts]
    for axes, (kind, (start, quantity, predicted, *_)) in zip(drawn.subplots(3, 2).flat, parts, strict=True):
        values = over_sizes(at, start, quantity)
        inverse = 1 / values.dimension.values
        limit, slope = line_in(inverse, values.values)
        axes.plot(inverse, values, ".", color=COLOUR[start], label="a seed")
        axes.plot(
            (0, 0.01),
            (limit.value, limit.value + 0.01 * slope),
            color=COLOUR[start],
            linewidth=0.8,
            label="line in 1/d",
        )
        half = [[limit.value - limit.low], [limit.high - limit.value]]
        axes.errorbar([0], [limit.value], half, fmt="none", color=COLOUR[start], capsize=3, label="its limit, 95 %")
        value = float(theory.fixed.isel(rule=-1).sel(branch=start, quantity=predicted))
        axes.plot([0], [value], "x", color=COLOURS["black"], markersize=7, label="theory")
        name = {"m": "m", "theta": "θ/σ²"}.get(quantity, f"{start} minimum: {kind}")
        axes.set(title=name, xlabel="1/d")
    axes.legend(fontsize=7)
    return drawn
