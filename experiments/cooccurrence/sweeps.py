"""Figures of the sweeps over width, initial scales, length and samples, learning rate and batch size."""

import pathlib
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from dynamics.analysis.fits import FEWEST, Fit, order
from dynamics.figures import sweep as sweep_plots
from dynamics.figures.style import COLOURS, Scale, bands, figure, heatmap, median, provenance, save, shades, styled
from dynamics.sweeps.results import SweepRecord
from experiments.cooccurrence.theory import SCORES, VALUES, Signs, signed

PALETTE, DASHES = ("blue", "sky", "vermilion", "orange"), ("-", "--", "-", "--")
RISE = 0.01  # a loss rises if it exceeds its first value by this share
EDGE = 2.0  # of η λmax


@styled
def draw(record: SweepRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw the page that was made for these swept axes, or the general page of a sweep for any others."""
    pages = {
        frozenset({"width"}): ("sweep_width", _width),
        frozenset({"std", "W"}): ("sweep_scales", _scales),
        frozenset({"length", "samples"}): ("sweep_length", _length),
        frozenset({"learning_rate", "batch_size"}): ("sweep_batch", _batch),
    }
    swept = frozenset(dim for dim in record.dims.values() if dim != "seed")
    if swept not in pages or "seed" not in record.dims.values():
        return sweep_plots.draw(record, folder)
    name, page = pages[swept]
    return save(page(record), folder, name, provenance(record))


def _title(drawn: Figure, text: str) -> None:
    drawn.suptitle(text.replace("^-", "^−"), x=0.01, y=0.99, ha="left", fontsize=10)


def _change(values: Any, signs: Signs) -> Any:
    """The changes of entries of a Gram matrix since t = 0, times their signs [pair, ...]."""
    return signed(values - values.isel(t=0), signs)


def _minus(sign: int) -> str:
    return "−" if sign < 0 else ""


def _names(signs: Signs) -> list[str]:
    return [f"{_minus(sign)}({key}, {query})" for (key, query), sign in signs.items()]


def _line(axes: Axes, x: Any, y: Any, label: str | None = None) -> None:
    """Draw a dashed line with a white edge, which can be seen on every colour."""
    axes.plot(x, y, color="white", linewidth=2.4)
    axes.plot(x, y, color="black", linewidth=1.0, linestyle="--", label=label)


def _at(time: Any, values: Any) -> Any:
    """The values of each member, interpolated at a time of its own; nan where that time is nan."""
    t = values.t.values
    return xr.apply_ufunc(
        lambda of_member, at: np.interp(at, t, of_member), values, time, input_core_dims=[["t"], []], vectorize=True
    )


def _width(record: SweepRecord) -> Figure:
    """T1, the scores, the values' Gram matrices and G over the width m, with exponents fitted to the wider half."""
    runs = record["flow"].load()
    widths = runs.width.values
    wide = widths >= widths[max(0, min(len(widths) // 2, len(widths) - FEWEST))]

    def fitted(values: Any) -> Fit:
        return order(widths[wide], values.transpose("seed", "width").values[:, wide])

    def lines(axes: Axes, values: dict[str, Any], label: str, fits: bool = True) -> None:
        for (name, one), colour, dashes in zip(values.items(), PALETTE, DASHES, strict=False):
            said = f"{name}: {fitted(one)}" if fits else name
            bands(axes, one, "width", "seed", color=COLOURS[colour], linestyle=dashes, label=said)
        axes.set(yscale="log" if fits else "linear", xlabel="width m", ylabel=label)
        axes.legend(fontsize=7.5, title="exponents of m, 95 %" if fits else None, title_fontsize=7.5)

    end = runs.isel(t=-1)
    scores = _change(runs.scores, SCORES).isel(t=-1) / np.sqrt(runs.width)
    values = _change(runs.value_gram, VALUES).isel(t=-1)
    mlp = {f"{_minus(s)}G({w})": s * end.mlp.sel(word=w) for w, s in (("μ1", 1), ("μ2", 1), ("μ3", -1))}
    growth = median(end.mlp.sel(word="μ1"), "seed")[wide]
    doubling = float(growth[-1] - growth[0]) / np.log2(widths[-1] / widths[wide][0])
    drawn = figure(10.4, 8.0, wspace=0.28, hspace=0.36, top=0.85)
    (boundary, score_panel), (value_panel, mlp_panel) = drawn.subplots(2, 2)
    lines(boundary, {"T1": runs.classification_time}, "T1")
    boundary.set_title("(i) T1: all samples classified from then on")
    lines(score_panel, dict(zip(_names(SCORES), scores, strict=True)), "change of the score (key, query), over √m")
    score_panel.set_title(f"(ii) scores at t = {float(end.t):g}, as softmax sees them")
    lines(value_panel, dict(zip(_names(VALUES), values, strict=True)), "change of νᵀ W_Vᵀ W_V μ")
    value_panel.set_title("(iii) value Grams (ν, μ) at the same t")
    lines(mlp_panel, mlp, "G(μ) = aᵀ W W_V μ", fits=False)
    mlp_panel.set_title(f"(iv) G at the same t: G(μ1) gains {doubling:.2f} per doubling of m")
    first, scored = fitted(runs.classification_time), fitted(scores.isel(pair=0))
    _title(
        drawn,
        f"T1 ∝ m^{first.slope:.3f}; the change of the scores over √m, which softmax sees, ∝ m^{scored.slope:.2f}\n"
        f"exponents with 95 % intervals over {runs.seed.size} seeds, fitted to m ≥ {widths[wide][0]}; "
        "lines: medians, bands: smallest to largest",
    )
    return drawn


def _scales(record: SweepRecord) -> Figure:
    """For which initial scales σ0 and σ1 training has the two phases of the paper."""
    runs, config = record["flow"].load(), record.config
    root_m = np.sqrt(config.model.width)
    targets = _change(runs.scores, {pair: sign for pair, sign in SCORES.items() if sign > 0}).mean("pair")
    by_t1 = _at(runs.classification_time, targets) / targets.isel(t=-1)
    losses = runs.loss_by_type.sel(type=["I2", "I3"])
    rises = (losses.max("t") > (1 + RISE) * losses.isel(t=0)).all("type")
    signs = (_change(runs.scores, SCORES).isel(t=-1) > 0).all("pair")
    panels: tuple[tuple[str, Any, Scale], ...] = (
        ("(i) T1", median(runs.classification_time, "seed"), Scale()),
        ("(ii) share of the targets' score change made by T1", median(by_t1, "seed"), Scale(limits=(0, 1))),
        ("(iii) seeds in which the losses of I2 and I3 rise first", rises.mean("seed"), Scale(limits=(0, 1))),
        ("(iv) seeds with the signs of Theorem 3.2 at the end", signs.mean("seed"), Scale(limits=(0, 1))),
        ("(v) change of the targets' scores, over √m", median(targets.isel(t=-1), "seed") / root_m, Scale()),
        (f"(vi) loss at t = {float(runs.t[-1]):g}", median(runs.loss.isel(t=-1), "seed"), Scale()),
    )
    wrong = sweep_plots.went_wrong(runs).any("seed")
    d, m = config.task.vocabulary, config.model.width
    starts = {
        "theory": ("*", config.init.std, config.init.std_of.W),
        "PyTorch's Linear": ("s", (3 * d) ** -0.5, (3 * m) ** -0.5),
        "true Kaiming": ("D", (2 / d) ** 0.5, (2 / m) ** 0.5),
    }
    drawn = figure(13.0, 8.0, wspace=0.38, hspace=0.36, left=0.9, right=0.55, top=0.9)
    for axes, (title, values, scale) in zip(drawn.subplots(2, 3).ravel(), panels, strict=True):
        right, upwards = heatmap(axes, values, "std", "W", marked=wrong, scale=scale)
        for name, (marker, sigma0, sigma1) in starts.items():
            at = right.at(sigma0), upwards.at(sigma1)
            axes.plot(*at, marker, color="white", markeredgecolor="black", markersize=9, label=name)
        axes.set(xlabel="σ0 of W_Q, W_K, W_V", ylabel="σ1 of W")
        axes.set_title(title, fontsize=9)
    drawn.axes[0].legend(fontsize=7.5, loc="lower left", facecolor="white", frameon=True, framealpha=0.9)
    product = runs["std"] * runs["W"]  # runs.std is the standard deviation
    small = product < 0.999 * product.where(~rises.all("seed"), np.inf).min()
    share = float(median(by_t1, "seed").where(small).max())
    rising = (
        f"Up to σ0 σ1 = {float(product.where(small).max()):.2g} the losses of I2 and I3 first rise in all "
        f"{runs.seed.size} seeds, and at most {100 * share:.0f} % of the targets' score change is made by T1"
        if small.any()
        else f"Even at σ0 σ1 = {float(product.min()):.2g} the losses of I2 and I3 do not first rise in all "
        f"{runs.seed.size} seeds"
    )
    _title(
        drawn,
        f"{rising}; true Kaiming has σ0 σ1 = {2 / (d * m) ** 0.5:.2g}.\n"
        f"The signs of Theorem 3.2 hold in {int(signs.sum())} of {signs.size} runs; the scores over √m change by at "
        f"most {float(np.abs(panels[4][1]).max()):.1g}. Colours: "
        "medians over seeds, or shares of them",
    )
    return drawn


def _length(record: SweepRecord) -> Figure:
    """T1, the training loss and the population loss over the length L and the number of samples n."""
    runs = record["flow"].load()
    population = median(runs.population_loss.sel(estimate="mean").isel(t=-1), "seed")
    panels = (
        ("(i) T1", median(runs.classification_time, "seed")),
        (f"(ii) training loss at t = {float(runs.t[-1]):g}", median(runs.loss.isel(t=-1), "seed")),
        ("(iii) population loss at the same t", population),
    )
    wrong = sweep_plots.went_wrong(runs).any("seed")
    lengths = np.geomspace(runs.length.min() / 2, 2 * runs.length.max(), 500)  # beyond the edges
    drawn = figure(12.6, 4.6, wspace=0.42, right=0.6, top=0.85)
    for axes, (title, values) in zip(drawn.subplots(1, 3), panels, strict=True):
        right, upwards = heatmap(axes, values, "length", "samples", marked=wrong)
        limits = {"xlim": axes.get_xlim(), "ylim": axes.get_ylim()}
        _line(axes, right.at(lengths), upwards.at(lengths**2), "n = L²")
        axes.set(**limits, xlabel="length L, words", ylabel="samples n")
        axes.set_title(title)
    drawn.axes[0].legend(fontsize=7.5, loc="upper left", facecolor="white", frameon=True, framealpha=0.9)
    t1, training = panels[0][1], panels[1][1]
    ranks = stats.spearmanr(np.ravel(t1), np.ravel(population.transpose(*t1.dims))).statistic
    _title(
        drawn,
        f"Every training set is fitted, to {float(training.max()):.1g} or less; the population loss is "
        f"{float(population.min()):.1g} to {float(population.max()):.2g}, no better than guessing (ln 2) for "
        f"{int((population > np.log(2)).sum())} of {population.size} pairs,\nand larger where T1 is earlier (rank "
        f"correlation {ranks:.2f}); medians over {runs.seed.size} seeds",
    )
    return drawn


def _batch(record: SweepRecord) -> Figure:
    """T1 and the last loss over learning rates and batch sizes, against those of the flow; GD's losses over t."""
    runs, flow = (record[law].load() for law in ("sgd", "flow"))
    sharpness = flow.starting_sharpness.sel(eigenvalue="value")
    edges = EDGE / sharpness.isel(checkpoint=0, learning_rate=0).values  # of every seed
    wrong = sweep_plots.went_wrong(runs).any("seed")
    panels = (
        ("(i) T1, over that of the flow", median(runs.classification_time / flow.classification_time, "seed")),
        ("(ii) loss at the end, over that of the flow", median(runs.loss.isel(t=-1) / flow.loss.isel(t=-1), "seed")),
    )
    drawn = figure(13.0, 4.7, wspace=0.4, top=0.9)
    *maps, losses = drawn.subplots(1, 3)
    for axes, (title, values) in zip(maps, panels, strict=True):
        right, _ = heatmap(axes, values, "learning_rate", "batch_size", marked=wrong, scale=Scale(logarithmic=True))
        for edge in right.at(edges):
            _line(axes, [edge, edge], axes.get_ylim())
        axes.set(xlabel="learning rate η", ylabel=f"batch size (of {record.config.task.samples} samples)")
        axes.set_title(title)
    gd = runs.isel(batch_size=-1)
    steps = runs.learning_rate.values
    for step, colour in zip(steps, shades(len(steps)), strict=True):
        one = gd.sel(learning_rate=step)
        later = one.loss.assign_coords(t=_times(one)).isel(t=slice(1, None))
        bands(losses, later, "t", "seed", color=colour, label=f"η = {step:g}")
    exact = flow.isel(learning_rate=0)
    losses.plot(_times(exact)[1:], median(exact.loss, "seed")[1:], color="black", linestyle="--", label="gradient flow")
    smallest = float(exact.loss.min())
    losses.set(xscale="log", yscale="log", ylim=(smallest / 100, 1e4), xlabel="t = ηk", ylabel="training loss")
    losses.set_title("(iii) GD (the largest batch)")
    losses.legend(fontsize=7)
    bad = sweep_plots.went_wrong(runs)
    first = steps[bad.any(("batch_size", "seed")).values].min(initial=np.inf)
    steady = steps[steps < first].max(initial=0)
    ratios, beyond = steady / edges, bad.sel(learning_rate=steps[steps > steady])
    larger = f"; with larger steps {int(beyond.sum())} of {beyond.size} runs do" if beyond.size else ""
    _title(
        drawn,
        f"No run diverges up to η = {steady:g}, {ratios.min():.2g} to {ratios.max():.2g} times the 2/λmax of its start "
        f"(dashed, a line for each seed){larger}\n"
        f"colours: medians over {runs.seed.size} seeds; grey: half of the seeds or more have no value; "
        "cross: one seed or more diverged",
    )
    return drawn


def _times(runs: Any) -> Any:
    """The saved times of members that have the same step."""
    return runs.time.isel(seed=0).values if "time" in runs else runs.t.values
