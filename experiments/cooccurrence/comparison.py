"""One page about a comparison of laws: losses, distances against the step, the spread of SGD, and T1 by law."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, ScalarFormatter

from dynamics.analysis.fits import FEWEST, exponent, order
from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.studies.comparison import distances, pairs_of
from dynamics.sweeps.results import SweepRecord

PALETTE = ("blue", "vermilion", "green", "orange", "purple", "sky", "grey")
NAMES = {
    "flow": "gradient flow",
    "gd": "GD",
    "sgd": "SGD",
    "heavy_ball": "heavy ball",
    "gram_gd": "GD, Gram variables",
    "gram_heavy_ball": "heavy ball, Gram variables",
    "modified_heavy_ball": "modified flow of heavy ball",
    "gram_flow": "flow, Gram variables",
    "modified_flow": "modified flow",
    "wrong_sign": "wrong sign",
    "preconditioned_flow": "preconditioned flow",
    "adam": "Adam",
    "rmsprop": "RMSProp",
    "adam_smooth": "Adam, ε = 0.01",
    "rmsprop_smooth": "RMSProp, ε = 0.01",
    "frozen_adam": "Adam, attention frozen",
    "frozen_rmsprop": "RMSProp, attention frozen",
    "fixed_time_adam": "Adam, ε = 0.01, fixed time",
    "fixed_time_rmsprop": "RMSProp, ε = 0.01, fixed time",
}
# Controls, and laws whose curves would lie on those of others.
CONTROLS = ("wrong_sign", "fixed_time_adam", "fixed_time_rmsprop")
HIDDEN = (*CONTROLS, "gram_flow", "gram_gd", "gram_heavy_ball", "modified_flow", "modified_heavy_ball")
ROUNDING = 1e-12
SHADES = ("#08306b", "#2171b5", "#4292c6", "#6baed6", "#9ecae1")  # from the largest step to the smallest


@styled
def draw(record: SweepRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw the page."""
    laws = [law for law in record.laws if law not in HIDDEN]
    first = [law for law in laws if "flow" in law]
    laws = [*first, *(law for law in laws if law not in first)]
    data = {law: _largest_step_first(record[law].load()) for law in laws}
    colours = dict(zip(laws, ("black", *PALETTE), strict=False))
    drawn = figure(10.4, 8.0, wspace=0.45, hspace=0.42)
    (curves, errors), (band, phases) = drawn.subplots(2, 2)
    _curves(curves, data, colours)
    if any("step" in runs.dims for runs in data.values()):
        _errors(errors, record)
    else:
        _distances(errors, record, first[0], colours)
    random = next((law for law in laws if "draw" in data[law].dims), None)
    if random is None:
        _shift(band, data, first[0], colours)
    else:
        _band(band, data[first[0]], data[random], random)
    _phases(phases, data)
    t = data[first[0]].t.values
    if t[2] - t[1] < (t[-1] - t[-2]) / 10:
        for axes in (curves, band) if random is not None else (curves,):
            axes.set_xscale("symlog", linthresh=t[1], linscale=0.3)
            axes.set_xlim(0, t[-1])
    t1 = float(data[first[0]].classification_time.mean())
    drawn.suptitle(
        f"{len(record[first[0]].seed)} starts each; T1 of the {NAMES[first[0]]}: {t1:.3g} on average",
        x=0.01,
        y=0.99,
        ha="left",
        fontsize=10,
    )
    return save(drawn, folder, "comparison", provenance(record))


def _largest_step_first(runs: Any) -> Any:
    return runs.sortby("step", ascending=False) if "step" in runs.dims else runs


def _one(runs: Any) -> Any:
    """The first start and the largest step of a law; the mean over draws."""
    runs = runs.isel(seed=0)
    runs = runs.isel(step=0) if "step" in runs.dims else runs
    return runs.mean("draw") if "draw" in runs.dims else runs


def _curves(axes: Axes, data: dict[str, Any], colours: dict[str, str]) -> None:
    for law, runs in data.items():
        one = _one(runs)
        step = f", η = {float(runs.step[0]):g}" if "step" in runs.dims else ""
        mean = ", mean" if "draw" in runs.dims else ""
        flow = "flow" in law
        axes.plot(
            one.t,
            one.loss,
            color=COLOURS[colours[law]],
            linewidth=1 if flow else 1.8,
            linestyle="--" if flow else "-",
            zorder=3 if flow else 2,
            label=f"{NAMES.get(law, law)}{step}{mean}",
        )
    axes.set(yscale="log", xlabel="t", ylabel="training loss")
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_formatter(ScalarFormatter() if high < 20 * low else NullFormatter())
    axes.set_title("(i) training loss, one start, the largest step")
    axes.legend(fontsize=7.5)


def _errors(axes: Axes, record: SweepRecord) -> None:
    numbered = 0
    for law, reference in pairs_of(record):
        pair = distances(record, law, reference)
        if "step" not in pair.dims or pair.step.size < FEWEST:
            continue
        probe = "parameters" if "parameters" in pair else "output"
        last = pair.isel({dim: -1 for dim in ("t", "checkpoint") if dim in pair.dims})
        values = last[probe]
        if float(values.max()) < ROUNDING:
            continue  # equal laws have no order
        error = last[f"{probe}_error"].values if f"{probe}_error" in last else 0
        fit = order(last.step.values, values.values, error)
        said = f"{NAMES.get(law, law)} from {NAMES.get(reference, reference)}"
        if f"{probe}_error" in last:
            # The noise of the draws hides the distance of their mean, so the variance is shown instead.
            fit = order(last.step.values, last.output_variance.values)
            values, said = last.output_variance, f"variance of {NAMES.get(law, law)}'s outputs"
        colour = COLOURS[PALETTE[numbered % len(PALETTE)]]
        style = "-" if numbered < len(PALETTE) else "--"
        numbered += 1
        axes.plot(np.tile(last.step, (last.seed.size, 1)).T, values.T, ".", color=colour, markersize=3)
        middle = np.exp(np.mean(np.log(values.values)))
        line = middle * (last.step / np.exp(np.mean(np.log(last.step)))) ** fit.slope
        axes.plot(last.step, line, style, color=colour, linewidth=1, label=f"{said}: {fit}")
    axes.set(xscale="log", yscale="log", xlabel="step η", ylabel="relative distance at the last t")
    _mark_steps(axes, next(record[law].step.values for law in record.laws if "step" in record[law].dims))
    axes.set_title("(ii) distances from the reference; orders, 95 %")
    axes.legend(fontsize=6, loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.55)


def _distances(axes: Axes, record: SweepRecord, flow: str, colours: dict[str, str]) -> None:
    for law, colour in colours.items():
        if (law, flow) in pairs_of(record):
            runs = distances(record, law, flow).output.isel(seed=0, t=slice(1, None))
            axes.plot(runs.t, runs, color=COLOURS[colour], label=NAMES.get(law, law))
    axes.set(xscale="log", yscale="log", xlabel="t", ylabel=f"distance of the outputs from the {NAMES[flow]}")
    axes.set_title("(ii) distance from the flow, one start")
    axes.legend(fontsize=7.5)


def _band(axes: Axes, flow: Any, random: Any, law: str) -> None:
    exact = flow.mlp.isel(seed=0).sel(word="μ1")
    one = random.mlp.isel(seed=0).sel(word="μ1")
    steps = [0, -1] if "step" in one.dims else [None]
    for i, colour in zip(steps, ("sky", "blue"), strict=False):
        at = one if i is None else one.isel(step=i)
        mean, spread = at.mean("draw") - exact, at.std("draw", ddof=1)
        eta = "" if i is None else f", η = {float(at.step):g}"
        label = f"{NAMES[law]}{eta}: mean ± standard deviation"
        axes.fill_between(at.t, mean - spread, mean + spread, color=COLOURS[colour], alpha=0.35, linewidth=0)
        axes.plot(at.t, mean, color=COLOURS[colour], label=label)
    axes.axhline(
        0, color="black", linestyle="--", linewidth=1, label=f"gradient flow (ends at G(μ1) = {exact[-1]:.2f})"
    )
    axes.set(xlabel="t", ylabel="G(μ1) minus that of the flow")
    axes.set_title(f"(iii) spread over {random.draw.size} draws of minibatches, one start")
    axes.legend(fontsize=7.5, loc="upper left")


def _shift(axes: Axes, data: dict[str, Any], flow: str, colours: dict[str, str]) -> None:
    for law, runs in data.items():
        if "step" not in runs.dims:
            continue
        shift = np.abs(runs.classification_time - data[flow].classification_time).mean("seed")
        if not (shift > 0).all():
            continue  # some start has no T1 yet
        fit = exponent(shift.step, shift)
        label = f"{NAMES.get(law, law)}: {fit}"
        axes.plot(shift.step, shift, "o-", color=COLOURS[colours[law]], markersize=3, label=label)
    if axes.lines:
        axes.set(xscale="log", yscale="log")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.5)
        axes.legend(fontsize=7, loc="upper left")
    axes.set(xlabel="step η", ylabel=f"|T1 − T1 of the {NAMES[flow]}|")
    _mark_steps(axes, next(runs.step.values for runs in data.values() if "step" in runs.dims))
    axes.set_title("(iii) shift of T1, mean over starts")


def _mark_steps(axes: Axes, steps: Any) -> None:
    axes.set_xticks(steps, [f"{step:g}" for step in steps])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _phases(axes: Axes, data: dict[str, Any]) -> None:
    for row, runs in enumerate(data.values()):
        t1 = (
            runs.classification_time.mean("draw")
            if "draw" in runs.classification_time.dims
            else runs.classification_time
        )
        steps = runs.step.values if "step" in runs.dims else [None]
        for i, step in enumerate(steps):
            values = t1.sel(step=step) if step is not None else t1
            height = row + (i - (len(steps) - 1) / 2) * 0.14
            colour = "black" if step is None else SHADES[i % len(SHADES)]
            label = f"η = {step:g}" if step is not None and row == _first_with_steps(data) else None
            axes.plot(values, np.full(values.size, height), ".", color=colour, markersize=5, label=label)
    axes.set_yticks(range(len(data)), [NAMES.get(law, law) for law in data])
    axes.set(xlabel="T1")
    axes.invert_yaxis()
    axes.set_title("(iv) T1 by law, a dot for each start")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)


def _first_with_steps(data: dict[str, Any]) -> int:
    return next((row for row, runs in enumerate(data.values()) if "step" in runs.dims), -1)
