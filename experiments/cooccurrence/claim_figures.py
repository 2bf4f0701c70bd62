"""Figures of the claims of arXiv:2410.09605: T1 against width, balancing, and the change of the score matrix."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from dynamics.analysis.fits import exponent
from dynamics.figures.style import COLOURS, DIVERGING, figure, provenance, save, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.cooccurrence.findings import clock
from experiments.cooccurrence.phases import Phases
from experiments.cooccurrence.theory import SIGNALS

TYPES = {"I1": COLOURS["blue"], "I2": COLOURS["vermilion"], "I3": COLOURS["orange"], "I4": COLOURS["green"]}
SHOWN = {
    "theory": "the theory's data and start",
    "appendix": "the paper's Appendix A, Kaiming",
    "fan_in": "σ1 = 0.3/√m",
}
FIRST = 12  # words of the panel with numbers
BALANCED = 2**14  # the width at which balancing is shown
PHASES = Phases(0.5)


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of a record of claims."""
    line = f"{provenance(record)} · rtol {record.case('theory').config.laws.flow.rtol:g}"
    data = {case: record[case].load() for case in SHOWN}
    return [
        *save(_widths(data), folder, "t1_against_width", line),
        *save(_balancing(data["theory"]), folder, "balancing", line),
        *save(_coefficients(data["theory"]), folder, "coefficients", line),
    ]


def _widths(data: dict[str, Any]) -> Figure:
    drawn = figure(7.2, 4.4)
    axes = drawn.subplots()
    for (case, label), name, marker in zip(SHOWN.items(), ("blue", "vermilion", "grey"), "osD", strict=True):
        widths, times = data[case].width.values, PHASES.t1(data[case]).values
        fit = exponent(np.repeat(widths, times.shape[1]), times)
        middle = np.exp(np.mean(np.log(times)))
        line = middle * (widths / np.exp(np.mean(np.log(widths)))) ** fit.slope
        axes.plot(widths, line, color=COLOURS[name], linewidth=1)
        axes.plot(
            np.repeat(widths, times.shape[1]),
            times.ravel(),
            marker,
            color=COLOURS[name],
            markersize=4,
            alpha=0.6,
            label=f"{label}: T1 ∝ m^{fit.slope:.3f}, 95 % [{fit.low:.3f}, {fit.high:.3f}]",
        )
    axes.set(xscale="log", yscale="log", xlabel="width m", ylabel="T1")
    axes.set_title("Phase 1 ends at T1 = Õ(1/m): every sample has a margin of 0.5 from T1 on")
    axes.legend(fontsize=7.5, loc="lower left")
    return drawn


def _balancing(data: Any) -> Figure:
    end_of_phase_1 = float(PHASES.t1(data).sel(width=BALANCED).isel(seed=0))
    one = data.assign(clock=clock(data)).sel(width=BALANCED).isel(seed=0, t=slice(1, None))
    g = {kind: one.gradient_by_type.sel(type=kind) for kind in TYPES}
    negatives = g["I2"] + g["I3"] + g["I4"] - g["I1"]
    ratio = negatives / (g["I1"] - g["I2"])
    drawn = figure(9.6, 3.6, wspace=0.35)
    left, middle, right = drawn.subplots(1, 3)
    for kind, colour in TYPES.items():
        left.plot(one.clock, g[kind], color=colour, label=kind, linestyle="--" if kind == "I3" else "-")
    left.set(yscale="log", ylabel="Σ g over a type, over n")
    left.set_title("gradients g by sample type")
    left.legend(fontsize=8)
    middle.plot(one.clock, g["I2"] / g["I3"], color=COLOURS["vermilion"], label="I2 / I3")
    middle.plot(one.clock, g["I1"] / g["I2"], color=COLOURS["blue"], label="I1 / I2")
    middle.plot(one.clock, g["I4"] / g["I2"], color=COLOURS["green"], label="I4 / I2")
    middle.set_title("ratios of these sums")
    middle.legend(fontsize=8)
    phase_2 = one.clock >= end_of_phase_1
    right.plot(one.clock[phase_2], ratio[phase_2], color=COLOURS["black"])
    right.axhline(float(ratio[-1]), color=COLOURS["grey"], linewidth=0.8, linestyle="--")
    right.text(float(one.clock[-1]), float(ratio[-1]), f"{float(ratio[-1]):.3f}", ha="right", va="bottom", fontsize=8)
    right.set_title("R(t) on [T1, T2]; dashed: its last value")
    for axes in (left, middle, right):
        axes.set(xscale="log", xlabel="t")
        axes.axvline(end_of_phase_1, color="black", linewidth=0.8, linestyle=":")
    _title(drawn, f"Automatic balancing at m = {BALANCED}; dotted: T1")
    return drawn


def _coefficients(data: Any) -> Figure:
    table = data.score_table.rename(any_key="key", any_query="query").isel(width=-1, seed=0)
    widest = table.isel(checkpoint=-1, drop=True) - table.isel(checkpoint=0, drop=True)
    names, largest = widest.key.values, float(np.abs(widest).max())
    share = widest.values / largest
    drawn = figure(9.2, 4.2, right=0.9, wspace=0.5)
    left, right = drawn.subplots(1, 2)
    everything = left.imshow(np.abs(share), cmap="Greys", norm=LogNorm(1e-5, 1.0), interpolation="nearest")
    drawn.colorbar(everything, ax=left, shrink=0.8, label="size, largest = 1")
    left.set_title(f"all {len(names)} words, logarithmic")
    signed = right.imshow(share[:FIRST, :FIRST], cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    drawn.colorbar(signed, ax=right, shrink=0.8, label="coefficient, largest = 1")
    right.set_title(f"the first {FIRST}")
    for i, j in np.ndindex(len(SIGNALS), len(SIGNALS)):
        colour = "white" if abs(share[i, j]) > 0.6 else "black"
        right.text(j, i, f"{share[i, j]:.2f}", ha="center", va="center", fontsize=5, color=colour)
    for axes, ticks in ((left, [0, len(names) - 1]), (right, [0, 1, 2, FIRST - 1])):
        axes.set(xlabel="query word", ylabel="key word")
        axes.set_xticks(ticks, names[ticks], fontsize=7, rotation=90)
        axes.set_yticks(ticks, names[ticks], fontsize=7)
    _title(
        drawn,
        f"Change of W_KᵀW_Q from t = 0 to T2 = m, m = {int(widest.width)}: targets μ1, μ2, common "
        "token μ3, random words",
    )
    return drawn


def _title(drawn: Figure, text: str) -> None:
    drawn.suptitle(text, x=0.01, y=0.99, ha="left", fontsize=10)
