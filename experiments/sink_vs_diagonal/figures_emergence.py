"""Figures of the claims about how a sink emerges, that it is a switch, and when training prefers a diagonal."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.sink_vs_diagonal import measures_emergence as measures
from experiments.sink_vs_diagonal import switch

SILENT = {
    "softmax": ("softmax, token in front", "blue"),
    "no BOS": ("softmax without it", "vermilion"),
    measures.LOGIT: ("softmax, sink logit", "green"),
    "ReLU": ("ReLU, token in front", "orange"),
}
MAPS = ("softmax", "no BOS", measures.LOGIT, "ReLU", "copy", "copy, no BOS", "skip", "skip, no BOS", "additive")
CHOICES = ("copy", "copy, no BOS", "skip", "skip, no BOS", "additive")
PATTERNS = {"first": ("first token", "blue", "o"), "itself": ("itself", "orange", "s")}
PATHS = {"skip": "MLP sees the token", "additive": "additive"}
POINTS = 4000  # of a scatter
BESIDE = """Key 0 is the token in front,
except for no BOS and the
sink logit. What a row of
the sink logit or of ReLU
lacks to 1 is off."""


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of a record of claims."""
    line = provenance(record)
    data = {case: record[case].load() for case in record.cases if "mass" in record[case]}
    return [
        *save(_emergence(data), folder, "emergence", line),
        *save(_maps(data), folder, "patterns", line),
        *save(_switch(data), folder, "switch", line),
        *save(_competition(data), folder, "competition", line),
    ]


def _emergence(data: dict[str, Any]) -> Figure:
    drawn = figure(10.6, 6.4, top=0.4, wspace=0.28, hspace=0.42)
    (sink, error), (value, read) = drawn.subplots(2, 2)
    for case, (label, colour) in SILENT.items():
        one = data[case]
        for number in range(one.sizes["seed"]):
            seed, style = one.isel(seed=number), {"color": COLOURS[colour], "linewidth": 0.8}
            pattern = "off" if case == measures.LOGIT else "first, absolute"
            of_case = {**style, "label": None if number else label}
            sink.plot(one.t, seed.mass.sel(pattern=pattern, row="other"), **of_case)
            error.plot(one.t, seed.error.sum("row"), **of_case)
            if case != measures.LOGIT:
                value.plot(one.t, seed.first_value, **of_case)
            read.plot(one.t, seed.read_by_row.sel(row="other"), **of_case)
            read.plot(one.t, seed.read_by_row.sel(row="trigger"), **style, linestyle=":")
    sink.axhline(0.95, color="black", linewidth=0.8, linestyle="--")
    error.axhline(1e-3, color="black", linewidth=0.8, linestyle="--")
    value.axhline(0.05, color="black", linewidth=0.8, linestyle="--")
    sink.set(ylim=(0, 1.02), ylabel="attention to the sink")
    sink.set_title("Rows that must be silent: attention to the first token or the logit")
    error.set(yscale="log", ylabel="Σ ‖F − y‖² / Σ ‖y‖²")
    error.set_title("Relative error")
    value.set(yscale="log", ylabel="‖v‖ / median ‖v‖")
    value.set_title("Value of the first token (no token for the logit)")
    read.set(yscale="log", ylabel="mean ‖o‖")
    read.set_title("What attention reads; dotted: in the row of the trigger")
    for axes in (sink, error, value, read):
        axes.set(xscale="log", xlim=(0.01, None), xlabel="t = ηk")
    error.legend(fontsize=8, loc="lower left")
    return drawn


def _maps(data: dict[str, Any]) -> Figure:
    drawn = figure(12, 5.6, top=0.35, right=1.0, wspace=0.35, hspace=0.5)
    panels = drawn.subplots(2, 5)
    for axes, case in zip(panels.flat, MAPS, strict=False):
        one = data[case].isel(seed=0, t=-1, sample_shown=0)
        shown = one.attention_shown.transpose("query_position", "key_position")
        image = axes.imshow(shown, cmap="Greys", vmin=0, vmax=1)
        size, row = len(shown), int(one.is_trigger.argmax("query_position"))
        axes.plot([size - 0.2], [row], "<", color=COLOURS["vermilion"], markersize=6, clip_on=False)
        axes.set_title(case, fontsize=9)
        axes.set(
            xlabel="key", ylabel="query", xticks=range(0, size, 4), yticks=range(0, size, 4), xlim=(-0.5, size - 0.5)
        )
        axes.tick_params(labelsize=7)
    last = panels.flat[-1]
    last.axis("off")
    last.text(-0.1, 0.75, "◂ the row of the trigger", color=COLOURS["vermilion"], fontsize=9)
    last.text(-0.1, 0.1, BESIDE, fontsize=9)
    drawn.colorbar(image, cax=drawn.add_axes((0.945, 0.25, 0.012, 0.5)), label="attention at the end")
    return drawn


def _switch(data: dict[str, Any]) -> Figure:
    drawn = figure(11.6, 3.9, top=0.4, wspace=0.33)
    left, middle, right = drawn.subplots(1, 3)
    random = np.random.default_rng(0)
    for axes, case, title in (
        (left, "softmax", "softmax: values in 4 dimensions"),
        (middle, "additive", "additive: values in 8 dimensions"),
    ):
        mass, lower, read = _scatter(data, case, switch.smallest_gain)
        shown = random.permutation(len(mass))[:POINTS]
        positive = shown[lower[shown] > 0]
        axes.plot(mass[shown], read[shown], ".", color=COLOURS["blue"], markersize=2, label="measured", rasterized=True)
        axes.plot(
            mass[positive],
            lower[positive],
            ".",
            color=COLOURS["orange"],
            markersize=2,
            label="lower bound",
            rasterized=True,
        )
        ends = np.array([mass[shown].min(), 1])
        axes.plot(ends, ends, color="black", linewidth=1, label="upper bound")
        axes.set(xscale="log", yscale="log", xlabel="1 − a_s, the attention that the sink leaves")
        axes.set_ylim(ends[0] * 1e-3, 2)
        axes.set_title(title)
        axes.legend(fontsize=8, loc="lower right", markerscale=4)
    left.set_ylabel("‖o − a_s v_s‖ / max ‖v‖")
    one = _scatter(data, "softmax", switch.smallest_listed)
    quotient, edges = one[2] / one[1] * (1 + measures.ROUNDING), np.geomspace(1e-2, 1e3, 61)
    independent = _scatter(data, "softmax", switch.smallest_gain)[1] > 0
    right.hist(quotient[independent], edges, color=COLOURS["blue"], alpha=0.7, label="independent values")
    right.hist(quotient[~independent], edges, color=COLOURS["vermilion"], alpha=0.6, label="dependent values")
    right.axvline(1, color="black", linewidth=1)
    right.set(xscale="log", xlabel="measured / lower bound with the listed σ", ylabel="rows and times")
    right.set_title("The control: left of 1 the bound is broken")
    right.set_ylim(0, 1.3 * right.get_ylim()[1])
    right.legend(fontsize=8)
    return drawn


def _scatter(data: dict[str, Any], case: str, gain: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1 − a_s, the lower bound and what is read, the last two over the upper bound at m = 1, of all rows."""
    columns: tuple[list[Any], ...] = ([], [], [])
    for row in measures.rows(data, case):
        found = switch.bounds(row.mass, row.values, np.linalg.norm(row.added - row.sink, axis=-1), gain(row.values))
        largest = np.linalg.norm(row.values, axis=-1).max(axis=-1)
        for column, values in zip(columns, (row.mass, found.lower / largest, found.read / largest), strict=True):
            column.append(values.ravel())
    mass, lower, read = (np.concatenate(column) for column in columns)
    return mass, lower, read


def _competition(data: dict[str, Any]) -> Figure:
    drawn = figure(12.2, 3.9, top=0.4, right=2.4, wspace=0.25)
    left, right = drawn.subplots(1, 2, width_ratios=(1.3, 1))
    for number, case in enumerate(CHOICES):
        for offset, (pattern, (label, colour, marker)) in zip((-0.12, 0.12), PATTERNS.items(), strict=True):
            values = data[case].mass.isel(t=-1).sel(row="other", pattern=pattern)
            places = np.full(len(values), number + offset)
            style = {"color": COLOURS[colour], "markersize": 5, "alpha": 0.7, "fillstyle": "none"}
            left.plot(places, values, marker, **style, label=None if number else label)
    left.set_xticks(range(len(CHOICES)), [case.replace(", ", ",\n") for case in CHOICES])
    left.set(ylim=(-0.03, 1.03), ylabel="attention in rows without a trigger")
    left.set_title("α = 0.6: what training picks")
    left.legend(fontsize=8, loc="center right")
    for (case, label), line in zip(PATHS.items(), ("-", "--"), strict=True):
        of_path = _by_alignment(data, case)
        for pattern, (name, colour, marker) in PATTERNS.items():
            looks = {"color": COLOURS[colour], "linestyle": line, "marker": marker, "label": f"{name}, {label}"}
            _curve(right, of_path, pattern, looks)
    right.set(ylim=(-0.03, 1.03), xlabel="alignment α of the tokens", ylabel="attention in rows without a trigger")
    right.set_title("With a skip path and a token in front")
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return drawn


def _by_alignment(data: dict[str, Any], case: str) -> dict[float, Any]:
    """{α: the attention by pattern at the end}."""
    cases = {0.6: case, **{float(name.rpartition(" ")[2]): name for name in data if name.startswith(f"{case}, α")}}
    return {alpha: data[cases[alpha]].mass.isel(t=-1).sel(row="other") for alpha in sorted(cases)}


def _curve(axes: Axes, of_path: dict[float, Any], pattern: str, style: dict[str, Any]) -> None:
    values = np.array([mass.sel(pattern=pattern).values for mass in of_path.values()])
    axes.plot(list(of_path), values, style["marker"], color=style["color"], markersize=3, alpha=0.5, fillstyle="none")
    axes.plot(list(of_path), values.mean(axis=1), **style, markersize=5, linewidth=1.3)
