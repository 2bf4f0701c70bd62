"""Figures of the claims about costs, training and smoothing."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.figures.style import COLOURS, bands, figure, provenance, save, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.sink_vs_diagonal import theory_geometry as theory
from experiments.sink_vs_diagonal.measures_costs import diagonal_over_sink
from experiments.sink_vs_diagonal.measures_smoothing import PATTERNS
from experiments.sink_vs_diagonal.measures_training import per_margin

SINK, DIAGONAL = COLOURS["blue"], COLOURS["vermilion"]
TOKENS = 8  # of the trained heads
LOWEST = 0.02  # of the ratios that are shown; smaller ones stand at the edge
STYLES = {4: ":", 8: "--", 16: "-"}  # of the numbers of tokens
SHADES = {3: "purple", 4: "vermilion", 6: "orange", 8: "green", 12: "sky", 24: "blue"}  # of the dimensions
OF_PATTERNS = {"uniform": "purple", "4 own": "green", "sink": "blue", "switch": "sky", "diagonal": "vermilion"}
SHOWN = {
    "sink": "a sink; every key evenly; 4 keys for all",
    "4 own": "4 keys of each query",
    "peaked": PATTERNS["peaked"],
    "2 own": "2 keys of each query",
    "diagonal": "itself",
}
NAMES = {
    "uniform": "every key evenly",
    "4 own": "4 keys of each query",
    "switch": "a sink of value 0",
    "sink": "a sink",
}


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Costs, training and smoothing."""
    line = provenance(record)
    return [
        *save(_costs(record["aligned"].load(), record["random"].load()), folder, "costs", line),
        *save(_training(record), folder, "training_patterns", line),
        *save(_smoothing(record), folder, "smoothing", line),
    ]


def _costs(aligned: Any, random: Any) -> Figure:
    drawn = figure(11, 3.9, top=0.45, wspace=0.3)
    panels = drawn.subplots(1, 3)
    titles = {"nuclear": "Nuclear norm: what decay of W_Q, W_K pays", "frobenius": "Frobenius norm of W itself"}
    for axes, (norm, title) in zip(panels, titles.items(), strict=False):
        for pattern, colour in (("diagonal", DIAGONAL), ("sink", SINK)):
            for n in aligned.tokens.values[::-1]:
                one = aligned.sel(tokens=n, pattern=pattern, norm=norm)
                label = f"{pattern}, n = {n}"
                axes.plot(one.alignment, one.stated, STYLES[int(n)], color=colour, linewidth=1.2, label=label)
                axes.plot(one.alignment, one.solved, "o", color=colour, markersize=2.6)
        axes.set(yscale="log", ylim=(1.1, 300), xlabel="alignment α of the tokens", ylabel="least norm of W at gap 1")
        axes.set_title(title)
    panels[0].legend(fontsize=7, ncols=2, loc="upper left")
    ratio = diagonal_over_sink({"random": random}, "random", "nuclear")
    shift = np.linspace(-0.02, 0.02, ratio.dimension.size)
    for d, by in zip(ratio.dimension.values, shift, strict=True):
        one, colour = ratio.sel(dimension=d), COLOURS[SHADES[int(d)]]
        # What is 0, because there is no sink, stands at the lower edge.
        panels[2].plot(one.alignment + by, np.maximum(one.median("seed"), LOWEST), color=colour, linewidth=1.2)
        for seed in one.seed.values:
            heights = np.maximum(one.sel(seed=seed), LOWEST)
            name = f"d = {d}" if seed == one.seed.values[0] else None
            panels[2].plot(one.alignment + by, heights, "o", color=colour, markersize=2.6, label=name)
    panels[2].axhline(1, color=COLOURS["black"], linewidth=0.9, linestyle="--")
    panels[2].set(
        yscale="log", ylim=(0.8 * LOWEST, 1000), xlabel="alignment α", ylabel="diagonal over sink, nuclear norm"
    )
    panels[2].set_title("8 random tokens in d dimensions")
    panels[2].text(0.97, 1.15 * LOWEST, "at the edge: no sink", fontsize=7, ha="right", va="bottom")
    panels[2].legend(fontsize=7, ncols=2, loc="upper left")
    return drawn


def _training(record: ClaimsRecord) -> Figure:
    drawn = figure(11, 3.9, top=0.45, wspace=0.3)
    panels = drawn.subplots(1, 3)
    cases = {
        "sink": ("sink, normalised GD", SINK, "-"),
        "sink, flow": ("sink, gradient flow", COLOURS["sky"], "--"),
        "diagonal": ("diagonal, normalised GD", DIAGONAL, "-"),
        "diagonal, flow": ("diagonal, gradient flow", COLOURS["orange"], "--"),
    }
    for case, (label, colour, style) in cases.items():
        _over_margin(panels[0], record[case].load(), "nuclear", {"color": colour, "linestyle": style, "label": label})
    limits = theory.Aligned(TOKENS)
    for height in (limits.sink, limits.diagonal_nuclear):
        panels[0].axhline(height, color=COLOURS["black"], linewidth=0.8, linestyle=":")
    panels[0].set(ylim=(2, 16), yscale="log", xlim=(1, 400), ylabel="‖W‖_* / smallest margin")
    panels[0].set_yticks([2, 3, 5, 7, 10, 15], ["2", "3", "5", "7", "10", "15"])
    panels[0].minorticks_off()
    panels[0].set_title("Nuclear norm per margin (dotted: least)")
    panels[0].legend(fontsize=7)
    kinds = (
        ("causal", "nuclear", "W_Q and W_K: ‖W‖_* = ‖W‖_F", "blue", "-"),
        ("causal, one matrix", "nuclear", "one matrix W: ‖W‖_*", "orange", "-"),
        ("causal, one matrix", "frobenius", "one matrix W: ‖W‖_F", "orange", "--"),
    )
    for case, norm, label, colour, style in kinds:
        look = {"color": COLOURS[colour], "linestyle": style, "label": label}
        _over_margin(panels[1], record[case].load(), norm, look)
    for height in theory.causal_sink(TOKENS).values():
        panels[1].axhline(height, color=COLOURS["black"], linewidth=0.8, linestyle=":")
    panels[1].set(ylim=(2, 5), xlim=(1, 400), ylabel="norm / smallest margin")
    panels[1].set_title("Causal sink: two biases (dotted: limits)")
    panels[1].legend(fontsize=7)
    for case, colour in (("diagonal", DIAGONAL), ("sink", SINK)):
        one = record[case].isel(seed=0).load()
        share = one.qk_singular_values / one.qk_singular_values.sum("mode")
        for mode in share.mode.values:
            panels[2].plot(one.t, share.sel(mode=mode), color=colour, linewidth=0.9, label=None if mode else case)
    panels[2].set(
        xscale="log", xlim=(0.05, 40), ylim=(0, 1.02), xlabel="t = ηk, length of the path", ylabel="σ_i / Σ σ"
    )
    panels[2].set_title("Singular values, normalised GD, one start")
    panels[2].legend(fontsize=7, loc="center right")
    return drawn


def _over_margin(axes: Axes, one: Any, norm: str, look: dict[str, Any]) -> None:
    """A norm over the margin, against the margin, of every seed; from where the margin is 1 on."""
    for i, seed in enumerate(one.seed.values):
        path = one.sel(seed=seed)
        path = path.isel(t=np.flatnonzero(path.target_margin.values > 1))
        shown = {**look, "label": look["label"] if i == 0 else None, "linewidth": 0.9}
        axes.plot(path.target_margin, per_margin(path, norm), **shown)
    axes.set(xscale="log", xlabel="smallest margin")


def _smoothing(record: ClaimsRecord) -> Figure:
    drawn = figure(11, 3.9, top=0.45, wspace=0.3)
    left, middle, right = drawn.subplots(1, 3)
    left.plot([0, 1], [0, 1], color=COLOURS["grey"], linewidth=0.8)
    for case, colour, marker in (("correlated", "orange", "s"), ("independent", "black", "o")):
        one = record[case].load().mean("seed")
        left.plot(one.smoothing, one.measured, marker, color=COLOURS[colour], markersize=4, label=f"{case} tokens")
    for case, named in (("independent", SHOWN), ("correlated", {"neighbours": PATTERNS["neighbours"]})):
        one = record[case].load().mean("seed")
        for pattern, text in named.items():
            place = float(one.smoothing.sel(pattern=pattern)), float(one.measured.sel(pattern=pattern))
            left.annotate(text, place, (6, -7), textcoords="offset points", fontsize=7)
    left.set(xlim=(-0.05, 1.3), xticks=np.linspace(0, 1, 6))
    left.set(xlabel="S(A), how much rows of A differ", ylabel="μ²(AX) / μ²(X)")
    left.set_title("What one layer of attention leaves")
    left.legend(fontsize=7, loc="upper left")
    cosine = record["layers"].load()
    for pattern, colour in OF_PATTERNS.items():
        look = {
            "color": COLOURS[colour],
            "marker": "o",
            "markersize": 7 if pattern == "switch" else 3,
            "label": NAMES.get(pattern, pattern),
        }
        bands(
            middle, cosine.similarity.sel(pattern=pattern, path="residual"), "layer", "seed", **look, linestyle="none"
        )
        stated = cosine.stated.sel(pattern=pattern, path="residual")
        middle.plot(stated.layer, stated, color=COLOURS[colour], linewidth=1)
    middle.set(xlabel="layers with residual path", ylabel="mean cosine of two tokens", ylim=(-0.05, 1.05))
    middle.set_title("Over layers (lines: theory)")
    middle.legend(fontsize=7, loc="center right", bbox_to_anchor=(1.03, 0.68))
    for n, colour in ((64, "blue"), (16, "green")):
        one = record[f"value norms, n = {n}"].load()
        bands(right, one.sink, "value_norm", "seed", color=COLOURS[colour], label=f"sink, n = {n}")
        right.axhline(float(one.even.mean()), color=COLOURS[colour], linewidth=0.9, linestyle="--")
        right.axvline(n**-0.5, color=COLOURS[colour], linewidth=0.9, linestyle=":", label=f"1/√n, n = {n}")
    right.plot([], [], "--", color=COLOURS["black"], linewidth=0.9, label="every key evenly")
    right.set(xlim=(0, 0.5), ylim=(0, 0.2), xlabel="‖v_s‖ / ‖v‖", ylabel="mean cosine after one residual layer")
    right.set_title("What matters is the value of the sink")
    right.legend(fontsize=7, loc="upper left", frameon=True, framealpha=1, edgecolor="none")
    return drawn
