"""Figure 1 of arXiv:2410.09605 from records: scores and losses over training, gradient descent beside gradient flow."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from dynamics.plotting import COLOURS, DIVERGING, figure, mark_phases, provenance, save, save_animation, styled
from dynamics.record import Record

__all__ = ["compare", "draw"]

# (key, query): name and colour; the paper follows the targets' attention to each other and to the common token.
PAIRS = {
    ("μ2", "μ1"): ("μ1 attends to μ2", COLOURS["blue"]),
    ("μ1", "μ2"): ("μ2 attends to μ1", COLOURS["sky"]),
    ("μ3", "μ1"): ("μ1 attends to μ3", COLOURS["vermilion"]),
    ("μ3", "μ2"): ("μ2 attends to μ3", COLOURS["orange"]),
}
TYPES = {
    "I1": ("I1: μ1 and μ2, y = +1", COLOURS["blue"]),
    "I2": ("I2: μ1 alone, y = −1", COLOURS["vermilion"]),
    "I3": ("I3: μ2 alone, y = −1", COLOURS["orange"]),
    "I4": ("I4: neither, y = −1", COLOURS["green"]),
}
SIGNALS = ["μ1", "μ2", "μ3"]
SNAPSHOTS = 6
FRAMES = 48


@styled
def draw(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of one run."""
    return [
        *_scores(record, folder),
        *_losses(record, folder),
        *_strip(record, folder),
        _animation(record, folder),
    ]


def _curves(record: Record) -> list[tuple[Any, dict[str, Any]]]:
    """The laws with how to draw them: the first thin and dark on top of the others, broad and pale."""
    broad = {"linewidth": 4.0, "alpha": 0.35, "solid_capstyle": "butt"}
    laws = record.laws
    return [(record[law].load(), {} if law == laws[0] else broad) for law in reversed(laws)]


def _legend_of_laws(axes: Axes, record: Record) -> None:
    names = {"GradientFlow": "gradient flow", "GradientDescent": "gradient descent", "StochasticGradientDescent": "SGD"}
    for i, law in enumerate(record.laws):
        style = {"linewidth": 1.6} if i == 0 else {"linewidth": 4.0, "alpha": 0.35}
        axes.plot([], [], color="black", label=names[record[law].attrs["law"]] + (", η = {:g}".format(record[law].attrs["learning_rate"]) if "learning_rate" in record[law].attrs else ""), **style)


def _time_axis(axes: Axes, data: Any, logarithmic: bool) -> None:
    t = data.t.values
    if logarithmic:
        axes.set(xscale="log", xlim=(t[1], t[-1]), xlabel="t = ηk (logarithmic)")
    else:
        axes.set(xlim=(0.0, t[-1]), xlabel="t = ηk (linear)")
    if np.isfinite(data.attrs.get("T1", np.nan)) and data.attrs["T1"] > t[1]:
        mark_phases(axes, data.attrs["T1"], t[-1])


def _changes(data: Any) -> Any:
    """Scores minus their start; the sum over heads where there are several."""
    scores = data.scores.sum("head") if "head" in data.scores.dims else data.scores
    return scores - scores.isel(t=0)


def _plot_scores(axes: Axes, record: Record) -> None:
    for data, style in _curves(record):
        change = _changes(data)
        random = [word for word in change.key.values if word not in SIGNALS]
        if random and not style:
            others = change.sel(key=random, query=random).values.reshape(len(data.t), -1)
            low, high = others.min(axis=1), others.max(axis=1)
            axes.fill_between(data.t, low, high, color=COLOURS["grey"], alpha=0.3, linewidth=0, label="random words, all pairs")
        for (key, query), (name, colour) in PAIRS.items():
            label = name if not style else None
            axes.plot(data.t, change.sel(key=key, query=query), color=colour, label=label, **style)
    axes.axhline(0.0, color="black", linewidth=0.6)


def _scores(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    drawn = figure(9.5, 3.6)
    panels = drawn.subplots(1, 2, sharey=True)
    data = record[record.laws[0]]
    for axes, logarithmic in zip(panels, (True, False), strict=True):
        _plot_scores(axes, record)
        _time_axis(axes, data, logarithmic)
    panels[0].set_ylabel("change of the score νᵀW_KᵀW_Qμ since t = 0")
    _legend_of_laws(panels[1], record)
    panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    drawn.suptitle("Figure 1 (a)  The targets μ1, μ2 learn to attend to each other and away from the common token μ3", x=0.01, ha="left", fontsize=10)
    return save(drawn, folder, "figure1a", provenance(record))


def _plot_losses(axes: Axes, record: Record) -> None:
    for data, style in _curves(record):
        for kind, (name, colour) in TYPES.items():
            axes.plot(data.t, data.loss_by_type.sel(type=kind), color=colour, label=name if not style else None, **style)
        axes.plot(data.t, data.loss, color="black", label="all samples" if not style else None, **style)


def _losses(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    drawn = figure(9.5, 3.6)
    panels = drawn.subplots(1, 2)
    data = record[record.laws[0]]
    for axes, logarithmic in zip(panels, (True, False), strict=True):
        _plot_losses(axes, record)
        axes.set_yscale("linear" if logarithmic else "log")
        axes.set_ylabel("training loss" + ("" if logarithmic else " (logarithmic)"))
        _time_axis(axes, data, logarithmic)
    _legend_of_laws(panels[1], record)
    panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    drawn.suptitle("Figure 1 (b)  Training loss, all samples and each type: Phase 1 learns to classify, Phase 2 drives the loss down", x=0.01, ha="left", fontsize=10)
    return save(drawn, folder, "figure1b", provenance(record))


def _matrix(axes: Axes, matrix: Any, limit: float) -> Any:
    image = axes.imshow(matrix.values, cmap=DIVERGING, vmin=-limit, vmax=limit)
    words = [str(word) for word in matrix.key.values]
    axes.set_xticks(range(len(words)), words, fontsize=6, rotation=90)
    axes.set_yticks(range(len(words)), words, fontsize=6)
    axes.tick_params(length=0)
    return image


def _strip(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    data = record[record.laws[0]].load()
    change = _changes(data)
    limit = float(np.abs(change).max()) or 1.0
    shown = np.unique(np.linspace(1, len(data.t) - 1, SNAPSHOTS).round().astype(int))
    drawn = figure(2.0 * len(shown) + 0.8, 2.7)
    panels = np.atleast_1d(drawn.subplots(1, len(shown)))
    for axes, i in zip(panels, shown, strict=True):
        image = _matrix(axes, change.isel(t=i), limit)
        axes.set_title(f"t = {float(data.t[i]):.3g}")
        axes.set_xlabel("query word", fontsize=7)
    panels[0].set_ylabel("key word", fontsize=7)
    drawn.colorbar(image, ax=panels, label="change of score", shrink=0.8)
    drawn.suptitle("How the score matrix moves: the corner of μ1, μ2, μ3 changes, the random words hardly do", x=0.01, ha="left", fontsize=10)
    return save(drawn, folder, "scores_strip", provenance(record))


def _animation(record: Record, folder: pathlib.Path) -> pathlib.Path:
    data = record[record.laws[0]].load()
    return save_animation(_frames(data), folder / "scores.gif", milliseconds=120)


def _frames(data: Any) -> Iterator[Image.Image]:
    change = _changes(data)
    limit = float(np.abs(change).max()) or 1.0
    drawn = figure(7.0, 3.2)
    left, right = drawn.subplots(1, 2, width_ratios=(1.1, 1.0))
    image = _matrix(left, change.isel(t=0), limit)
    left.set(title="change of score, key × query", xlabel="query word", ylabel="key word")
    drawn.colorbar(image, ax=left, shrink=0.85)
    for kind, (name, colour) in TYPES.items():
        right.plot(data.t, data.loss_by_type.sel(type=kind), color=colour, label=name)
    right.set(ylabel="training loss", yscale="log")
    _time_axis(right, data, logarithmic=True)
    right.legend(fontsize=7)
    marker = right.axvline(data.t.values[1], color="black", linewidth=1.2)
    canvas = FigureCanvasAgg(drawn)
    for i in np.unique(np.linspace(1, len(data.t) - 1, FRAMES).round().astype(int)):
        image.set_data(change.isel(t=i).values)
        marker.set_xdata([float(data.t[i])] * 2)
        left.set_title(f"change of score, t = {float(data.t[i]):.3g}")
        canvas.draw()
        drawn.set_layout_engine("none")  # laid out once: nothing moves between frames
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


@styled
def compare(records: Sequence[Record], folder: pathlib.Path) -> list[pathlib.Path]:
    """Scores and losses of several runs side by side, one column per run: what the initialisation does."""
    drawn = figure(2.9 * len(records) + 1.2, 5.6)
    panels = drawn.subplots(2, len(records), squeeze=False)
    for column, record in enumerate(records):
        data = record[record.laws[0]]
        top, bottom = panels[:, column]
        _plot_scores(top, record)
        _plot_losses(bottom, record)
        for axes in (top, bottom):
            _time_axis(axes, data, logarithmic=True)
        top.set_title(record.config.init.name, pad=14)
    panels[0, 0].set_ylabel("change of score")
    panels[1, 0].set_ylabel("training loss")
    for row in panels:
        row[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    drawn.suptitle("The same experiment from different initialisations", x=0.01, ha="left", fontsize=10)
    return save(drawn, folder, "initialisations", provenance(records[0]))
