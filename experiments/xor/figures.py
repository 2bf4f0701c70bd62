"""Figures of the claims about exactly-one: losses, fresh errors, what attention does, the escape from the plateau."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.xor import theory
from experiments.xor.measures import ESCAPED, FROZEN, errors_by_samples, escape_time, growth

SHOWN = "m = 16"  # the case of the first two figures
WIDTH = 16
# (key, query) of scores: label and colour
PAIRS = {
    ("μ2", "μ1"): ("μ1 attends to μ2", COLOURS["blue"]),
    ("μ1", "μ2"): ("μ2 attends to μ1", COLOURS["sky"]),
    ("μ1", "μ1"): ("μ1 attends to itself", COLOURS["vermilion"]),
    ("μ2", "μ2"): ("μ2 attends to itself", COLOURS["orange"]),
    ("μ3", "μ1"): ("μ1 attends to μ3", COLOURS["green"]),
    ("μ3", "μ2"): ("μ2 attends to μ3", COLOURS["purple"]),
}
TYPES = {"I1": "both, y = −1", "I2": "μ1 alone, y = +1", "I3": "μ2 alone, y = +1", "I4": "neither, y = −1"}
LAWS = {"flow": "black", "GD": "blue", "SGD": "orange", "Adam": "purple"}


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of a record of claims."""
    line = f"{provenance(record)} · rtol {record.case(SHOWN).config.laws.law.rtol:g}"
    data = {case: record[case].load() for case in record.cases}
    return [
        *save(_losses(data), folder, "losses", line),
        *save(_attention(data[SHOWN].isel(seed=0)), folder, "attention", line),
        *save(_escape(data), folder, "escape", line),
    ]


def _losses(data: dict[str, Any]) -> Figure:
    drawn = figure(9.6, 3.9, top=0.4, wspace=0.28)
    left, right = drawn.subplots(1, 2)
    for name, colour, label in ((SHOWN, "blue", "attention trains"), (SHOWN + FROZEN, "orange", "attention frozen")):
        for number, seed in enumerate(data[name].seed.values):
            one = data[name].sel(seed=seed)
            left.plot(one.t, one.loss, color=COLOURS[colour], linewidth=0.9, label=None if number else label)
    plateau = float(data["plateau"].loss.sel(samples=240).mean())
    _level(left, plateau, "--", "best word count, mean of the training sets")
    left.set(xscale="log", xlim=(0.1, None), ylim=(0, 0.9), xlabel="t = ηk", ylabel="training loss")
    left.set_title("Without attention, the loss stays at the best word count")
    left.legend(fontsize=8, loc="upper right")
    for frozen, colour, label in ((False, "blue", "attention trained"), (True, "orange", "attention frozen")):
        by_size = errors_by_samples(data, frozen)
        for n, errors in by_size.items():
            right.plot(np.full(len(errors), n), errors, "o", color=COLOURS[colour], markersize=4, alpha=0.5)
        means = [errors.mean() for errors in by_size.values()]
        right.plot(list(by_size), means, color=COLOURS[colour], label=label)
    _level(right, theory.best_of_the_distribution().error, "--", "best word count for n → ∞")
    _level(right, 1 / 3, ":", "y = −1 always")
    right.set(xscale="log", ylim=(0, 0.62), xlabel="training samples n", ylabel="fresh samples classified wrongly")
    right.set_xticks(list(by_size), [str(n) for n in by_size])
    right.minorticks_off()
    right.set_title("Samples help only a model whose attention trains")
    right.legend(fontsize=7.5, loc="lower left")
    return drawn


def _level(axes: Axes, height: float, style: str, text: str) -> None:
    axes.axhline(height, color=COLOURS["black"], linewidth=0.9, linestyle=style, label=text)


def _attention(one: Any) -> Figure:
    drawn = figure(9.6, 8.4, top=0.4)
    drawn.subplots_adjust(hspace=0.55, wspace=0.35)
    grid = drawn.add_gridspec(4, 4, height_ratios=(1.5, 1, 1, 1))
    top = drawn.add_subplot(grid[0, :3])
    for (key, query), (label, colour) in PAIRS.items():
        top.plot(one.t, one.scores.sel(key=key, query=query) / WIDTH**0.5, color=colour, label=label)
    escape = float(escape_time(one))
    plateau = escape / 2
    for t, name, side in ((plateau, "plateau ", "right"), (escape, f" loss {ESCAPED:g}", "left")):
        top.axvline(t, color="black", linewidth=0.8, linestyle=":")
        top.text(t, 1.0, name, transform=top.get_xaxis_transform(), ha=side, va="bottom", fontsize=7)
    top.set(xscale="log", xlim=(0.1, float(one.t[-1])), xlabel="t = ηk", ylabel="score / √m")
    top.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    for row, (t, when) in enumerate(((0.0, "start"), (plateau, "plateau"), (float(one.t[-1]), "end")), start=1):
        at = one.attention.sel(t=t, method="nearest")
        for column, (kind, text) in enumerate(TYPES.items()):
            axes = drawn.add_subplot(grid[row, column])
            present = at.sel(type=kind).sum("key").values > 0
            shown = at.sel(type=kind).values[np.ix_(present, present)]
            names = at.key.values[present]
            image = axes.imshow(shown, cmap="Greys", vmin=0, vmax=1)
            axes.set_xticks(range(len(names)), names, fontsize=6)
            axes.set_yticks(range(len(names)), names, fontsize=6)
            if row == 1:
                axes.set_title(f"{kind}: {text}", fontsize=8)
            if column == 0:
                axes.set_ylabel(f"{when}\nkey word", fontsize=8)
            if row == 3:
                axes.set_xlabel("query word", fontsize=8)
    drawn.colorbar(image, ax=drawn.axes[1:], shrink=0.6, pad=0.02, label="attention")
    return drawn


def _escape(data: dict[str, Any]) -> Figure:
    drawn = figure(11.5, 3.9, top=0.4, wspace=0.32)
    left, middle, right = drawn.subplots(1, 3)
    for case, colour, label in (("σ0", "blue", "attention trains"), ("σ0" + FROZEN, "orange", "attention frozen")):
        for number, (time, grown) in enumerate(growth(data, case)):
            left.plot(time, grown, color=COLOURS[colour], linewidth=0.9, label=None if number else label)
    time = np.linspace(0, 4.4, 200)
    left.plot(time, np.cosh(time), "--", color=COLOURS["black"], linewidth=1.1, label="cosh(r t)")
    left.set(yscale="log", xlim=(0, 4.4), ylim=(0.8, 200), xlabel="r t", ylabel="(g(t) + g*) / (g(0) + g*)")
    left.set_title("σ0 = 0.001: the free direction of G")
    left.legend(fontsize=8, loc="upper left")
    scales, times = data["σ0"]["std"], escape_time(data["σ0"])
    for seed in times.seed.values:
        middle.plot(scales, times.sel(seed=seed), "o", color=COLOURS["blue"], markersize=4)
    first = float(times.isel(std=0).mean() * scales[0])
    middle.plot(scales, first / scales, color=COLOURS["black"], linewidth=0.9, label="∝ 1/σ0")
    widths = escape_time(data["width"])
    for number, marker in enumerate("sD^"):
        label = f"m = {_power(int(widths.width[number]))}"
        style = {"color": COLOURS["vermilion"], "markersize": 9 - 3 * number, "fillstyle": "none", "label": label}
        middle.plot([0.05], [widths.isel(width=number).mean()], marker, **style)
    middle.set(xscale="log", yscale="log", xlabel="σ0", ylabel=f"t at which the loss falls below {ESCAPED:g}")
    middle.set_title("The escape: ∝ 1/σ0, the same at every m")
    middle.legend(fontsize=8)
    for law, colour in LAWS.items():
        for number, seed in enumerate(data[law].seed.values):
            one = data[law].sel(seed=seed)
            right.plot(one.t, one.loss, color=COLOURS[colour], linewidth=0.9, label=None if number else law)
    right.set(xscale="log", xlim=(0.1, 1000), ylim=(0, 0.9), xlabel="t = ηk", ylabel="training loss")
    right.set_title("m = 16: four laws, four starts each")
    right.legend(fontsize=8)
    return drawn


def _power(number: int) -> str:
    return f"2^{number.bit_length() - 1}"
