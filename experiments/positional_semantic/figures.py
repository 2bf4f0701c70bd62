"""Figures: minima over α with theory, the phase diagram, finite sizes; which minimum is found, and counting; a run."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record
from dynamics.studies.evidence import ClaimsRecord
from experiments.positional_semantic.basins_claims import ENDS, ends, share
from experiments.positional_semantic.claims import ALLOWED, line_in, semantic_is_lower

COLOUR = {"positional": COLOURS["blue"], "semantic": COLOURS["vermilion"], "neither": COLOURS["grey"]}
OWN = {"positional": ("m", "m"), "semantic": ("theta", "θ/σ²")}  # the order parameter of a minimum, and its symbol
SEES = {"symbols": "semantic", "places": "positional", "neither": "neither"}


@styled
def draw(record: Record | ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of a record of claims; one of a run."""
    if isinstance(record, Record):
        return save(_run(record), folder, "training", provenance(record))
    of_minima = {"transition": _curves, "phases": _phases, "sizes": _sizes}
    of_paths = {"plane": _planes, "basins": _shares, "counting": _counting}
    data = {case: record[case].load() for case in record.cases}
    drawn = {name: draw(data) for name, draw in (of_minima if "theory" in data else of_paths).items()}
    return [path for name, one in drawn.items() for path in save(one, folder, name, provenance(record))]


def _run(record: Record) -> Figure:
    drawn = figure(8.6, 3.2, top=0.4, wspace=0.3)
    overlaps, losses = drawn.subplots(1, 2)
    for law, style, width in zip(record.laws, ("-", "--", ":"), (1.2, 2.4, 1.2), strict=False):
        one = record[law].load().isel(t=slice(1, None))
        for start, (name, symbol) in OWN.items():
            overlaps.plot(one.t, one[name], style, color=COLOUR[start], linewidth=width, label=f"{symbol}, {law}")
        losses.plot(one.t, one.loss, style, color="black", linewidth=width, label=f"training loss per dimension, {law}")
    losses.set_yscale("log")
    for axes in (overlaps, losses):
        axes.set(xscale="log", xlabel="t = η k")
        axes.legend(fontsize=7)
    return drawn


def _curves(data: dict[str, Any]) -> Figure:
    drawn, at, theory = figure(11.0, 3.7, top=0.75, wspace=0.28), data["curves"].isel(t=-1), data["theory"]
    alpha, panels = at.samples / 300, drawn.subplots(1, 3)
    for start, (own, symbol) in OWN.items():
        for axes, name in zip(panels, (own, "generalisation_error", "loss"), strict=True):
            values = at[name].sel(start=start)
            middle, label = values.mean("seed"), f"{start} start" + (f": {symbol}" if name == own else "")
            spread = middle - values.min("seed"), values.max("seed") - middle
            axes.errorbar(alpha, middle, spread, fmt="o", markersize=3.5, color=COLOUR[start], label=label, capsize=2)
            axes.plot(theory.alpha, theory.curve.sel(branch=start, quantity=name), color=COLOUR[start])
    panels[1].plot(alpha, at.linear_error.mean(("seed", "start")), "s", color=COLOURS["grey"], markersize=3.5)
    panels[1].axhline(float(theory.linear), color=COLOURS["grey"], label="best linear map")
    panels[1].set_ylim(bottom=0.0006)
    for axes, which, style in ((panels[1], "α_l", "--"), (panels[2], "α_c", ":")):
        place = float(theory.at_03.sel(points="fine", which=which))
        axes.axvline(place, color="black", linewidth=0.8, linestyle=style, label=f"{which} = {place:.3f}")
    titles = "order parameters", "generalisation error ε_g", "training loss per dimension"
    for axes, title in zip(panels, titles, strict=True):
        axes.set(title=title, xlabel="α = n/d")
        axes.legend(fontsize=7, loc="lower left" if axes is panels[1] else "upper left")
    text = "points: gradient flow at d = 300, mean and range of 5 seeds; lines: state evolution"
    drawn.text(0.01, 0.95, text, fontsize=8)
    return drawn


def _phases(data: dict[str, Any]) -> Figure:
    drawn, at, theory = figure(8.0, 4.2, right=2.9), data["phases"].isel(t=-1).mean("seed"), data["theory"]
    axes, (omega, alpha) = drawn.subplots(), np.meshgrid(at.omega, at.samples / 200)
    semantic = semantic_is_lower(at)
    better = (at.generalisation_error < at.linear_error).sel(start="semantic").transpose("samples", "omega").values
    for start, lower in (("semantic", semantic), ("positional", ~semantic)):
        for cells, face, more in (
            (better, COLOUR[start], "\n and better than the best linear map"),
            (~better, "w", ""),
        ):
            x, y = omega[lower & cells], alpha[lower & cells]
            label = f"{start} minimum lower{more}" if len(x) else None
            axes.scatter(x, y, 45, face, edgecolors=COLOUR[start], label=label)
    for which, style in (("α_c", "-"), ("α_l", "--")):
        axes.plot(theory.omega, theory.transition.sel(which=which), style, color="black", label=f"{which}, theory")
    axes.set(xlabel="ω, the weight of positions in the teacher", ylabel="α = n/d", title="d = 200, means of 3 seeds")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return drawn


def _sizes(data: dict[str, Any]) -> Figure:
    drawn, of = figure(8.0, 8.0, top=0.5, wspace=0.3, hspace=0.5), data["theory"].fixed.isel(rule=-1)
    parts = [(kind, *part) for kind, parts in ALLOWED.items() for part in parts if part[-1]]
    for axes, (kind, start, quantity, *_) in zip(drawn.subplots(3, 2).flat, parts, strict=True):
        inverse, values, limit, slope = line_in(data["sizes"].isel(t=-1), quantity, start)
        ends_of_line, colour = np.array([0, 0.01]), COLOUR[start]
        axes.plot(inverse, values, ".", color=colour, label="a seed")
        axes.plot(ends_of_line, limit.value + slope * ends_of_line, color=colour, linewidth=0.8, label="line in 1/d")
        axes.errorbar([0], [limit.value], _bars([limit]), fmt="none", color=colour, capsize=3, label="its limit, 95 %")
        axes.plot([0], of.sel(branch=start, quantity=quantity), "x", color="black", markersize=7, label="theory")
        title = OWN[start][1] if kind == "overlaps" else f"{start} minimum: {kind}"
        axes.set(title=title, xlabel="1/d")
    axes.legend(fontsize=7)
    return drawn


def _bars(intervals: list[Any]) -> Any:
    """The lengths of error bars [below or above, interval]."""
    return np.array([(one.value - one.low, one.high - one.value) for one in intervals]).T


def _laws(data: dict[str, Any]) -> dict[str, Any]:
    """{name: paths from random starts}, of flow, GD and SGD."""
    steps = {"GD": {1.0: "GD, η = 1", 8.0: "GD, η = 8"}}
    for kind in ("fixed", "fresh"):
        steps[f"SGD, {kind}"] = {r: f"SGD, {kind} samples\nη/B = {n}" for r, n in ((1.0, "1/32"), (4.0, "1/8"))}
    found = {name: data[case].sel(learning_rate=rate) for case, of in steps.items() for rate, name in of.items()}
    return {"gradient flow,\nrandom starts": data["flow"], **found}


def _planes(data: dict[str, Any]) -> Figure:
    drawn = figure(13.0, 3.3, top=0.6, wspace=0.3)
    laws = {name: paths for name, paths in _laws(data).items() if not name.endswith(("= 1", "1/32"))}
    planes = {"gradient flow,\nstarts on the arc": data["arc"], **laws}
    for axes, (name, paths) in zip(drawn.subplots(1, len(planes), sharey=True), planes.items(), strict=True):
        for end, hits in reversed(ends(paths).items()):  # those that end in neither lie below
            m, theta = (paths[overlap].isel(seed=hits.values == 1).transpose("t", "seed") for overlap in ("m", "theta"))
            axes.plot(m, theta, color=COLOUR[end], linewidth=0.5, alpha=0.6)
            axes.plot(m[-1], theta[-1], ".", color=COLOUR[end], markersize=3)
        axes.set(xlabel="m", xlim=(0, None))
        axes.set_title(name, fontsize=8)
    drawn.axes[0].set_ylabel("θ/σ²")
    return drawn


def _shares(data: dict[str, Any]) -> Figure:
    drawn, laws = figure(8.6, 3.4, top=0.3), _laws(data)
    axes, places = drawn.subplots(), np.arange(len(laws))
    for offset, end in zip((-0.22, 0, 0.22), ENDS, strict=True):
        found = [share(ends(paths)[end].values) for paths in laws.values()]
        height = [one.value for one in found]
        axes.bar(places + offset, height, 0.22, yerr=_bars(found), color=COLOUR[end], label=end, capsize=2)
    axes.set_xticks(places, list(laws), fontsize=6.5)
    axes.set(ylabel="share of 100 random starts", ylim=(0, 1))
    axes.legend(fontsize=7, title="end")
    return drawn


def _counting(data: dict[str, Any]) -> Figure:
    drawn, of = figure(8.6, 3.2, top=0.4, wspace=0.3), data["counting"]
    accuracy, meaning = drawn.subplots(1, 2)
    for arm, end in SEES.items():
        label = [f"attention sees {arm} at first"] + [None] * (of.sizes["seed"] - 1)
        accuracy.plot(of.steps, of.accuracy.sel(arm=arm).T, color=COLOUR[end], label=label)
        if arm != "neither":
            meaning.plot(of.steps, of.by_meaning.sel(arm=arm).T, color=COLOUR[end])
    titles = "right counts on new sequences", "share of meaning in attention"
    for axes, title in zip(drawn.axes, titles, strict=True):
        axes.axvline(float(of.steps[8]), color="black", linewidth=0.8, linestyle=":")
        axes.set(title=title, xlabel="steps; after the dotted line SGD, both halves free")
    accuracy.legend(fontsize=7)
    return drawn
