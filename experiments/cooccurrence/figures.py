"""Figure 1 of arXiv:2410.09605 from records: scores and losses over training, of gradient descent and gradient flow."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dynamics.figures.style import COLOURS, DIVERGING, figure, provenance, save, save_animation, styled
from dynamics.runs.record import Record
from experiments.cooccurrence.theory import SCORES, SIGNALS

# (key, query): name and colour; the paper follows the targets' attention to each other and to the common word.
PAIRS = {
    (key, query): (f"{query} attends to {key}", COLOURS[colour])
    for (key, query), colour in zip(SCORES, ("blue", "sky", "vermilion", "orange"), strict=True)
}
TYPES = {
    "I1": ("I1: μ1 and μ2, y = +1", COLOURS["blue"]),
    "I2": ("I2: μ1 alone, y = −1", COLOURS["vermilion"]),
    "I3": ("I3: μ2 alone, y = −1", COLOURS["orange"]),
    "I4": ("I4: neither, y = −1", COLOURS["green"]),
}
SNAPSHOTS = 6
FRAMES = 48


Data = dict[str, Any]  # the xarray Dataset of every law, loaded


@styled
def draw(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """All figures of one run."""
    data = _load(record)
    line = provenance(record)
    return [
        *save(_scores(data), folder, "figure1a", line),
        *save(_losses(data), folder, "figure1b", line),
        *save(_strip(data), folder, "scores_strip", line),
        save_animation(_frames(data), folder / "scores.gif", milliseconds=120),
    ]


@styled
def compare(records: Sequence[Record], folder: pathlib.Path) -> list[pathlib.Path]:
    """Scores and losses of several runs side by side, one column for each run, which differ in the initialisation."""
    drawn = figure(2.7 * len(records) + 2.4, 5.4, right=1.9, wspace=0.32, hspace=0.5)
    panels = drawn.subplots(2, len(records), squeeze=False)
    for (top, bottom), record in zip(panels.T, records, strict=True):
        data = _load(record)
        _plot_scores(top, data)
        _plot_losses(bottom, data)
        for axes in (top, bottom):
            _time_axis(axes, data, logarithmic=True)
        top.set_title({"normal": "theory"}.get(record.config.init.name, record.config.init.name), pad=16)
    panels[0, 0].set_ylabel("change of score since t = 0")
    panels[1, 0].set_ylabel("training loss")
    for row in panels:
        row[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return save(drawn, folder, "initialisations", provenance(records[0]))


def _load(record: Record) -> Data:
    return {law: record[law].load() for law in record.laws}


def _first(data: Data) -> Any:
    return next(iter(data.values()))


def _curves(data: Data) -> list[tuple[Any, dict[str, Any]]]:
    """(Dataset, line style) of every law: the first is thin, and lies on top of the others, broad and pale."""
    broad = {"linewidth": 4.0, "alpha": 0.35, "solid_capstyle": "butt"}
    return [(one, {} if one is _first(data) else broad) for one in reversed(data.values())]


def _name(one: Any) -> str:
    names = {"GradientFlow": "gradient flow", "GradientDescent": "gradient descent", "StochasticGradientDescent": "SGD"}
    rate = f", η = {one.attrs['learning_rate']:g}" if "learning_rate" in one.attrs else ""
    return names[one.attrs["law"]] + rate


def _legend(axes: Axes, data: Data) -> None:
    for one, style in reversed(_curves(data)):
        axes.plot([], [], color="black", label=_name(one), **style)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _time_axis(axes: Axes, data: Data, logarithmic: bool) -> None:
    """Set the time axis, and mark the phases of the first law."""
    one = _first(data)
    t, t1 = one.t.values, one.attrs.get("classification_time", np.nan)
    if logarithmic:
        axes.set(xscale="log", xlim=(t[1], t[-1]), xlabel="t = ηk (logarithmic)")
    else:
        axes.set(xlim=(0.0, t[-1]), xlabel="t = ηk (linear)")
    if np.isfinite(t1) and t1 > t[1]:
        mark_phases(axes, t1, t[-1])


def mark_phases(axes: Axes, t1: float, end: float) -> None:
    """Shade Phase 1, which ends at T1, and name the phases."""
    axes.axvspan(axes.get_xlim()[0], t1, color="#F0E442", alpha=0.18, linewidth=0)
    axes.axvline(t1, color="black", linewidth=0.8, linestyle=":")
    logarithmic = axes.get_xscale() == "log"
    first = (axes.get_xlim()[0] * t1) ** 0.5 if logarithmic else t1
    second = (t1 * end) ** 0.5 if logarithmic else (t1 + end) / 2
    style: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "fontsize": 8, "va": "bottom"}
    if logarithmic:
        axes.text(first, 1.0, "Phase 1", ha="center", **style)
        axes.text(second, 1.0, "Phase 2", ha="center", **style)
    else:
        axes.text(first, 1.0, f"Phase 1 ends at t = {t1:.3g}", ha="left", **style)


def _changes(one: Any) -> Any:
    """The changes of scores since t = 0, summed over heads."""
    scores = one.scores.sum("head") if "head" in one.scores.dims else one.scores
    return scores - scores.isel(t=0)


def _plot_scores(axes: Axes, data: Data) -> None:
    for one, style in _curves(data):
        change = _changes(one)
        random = [word for word in change.key.values if word not in SIGNALS]
        if random and not style:
            others = change.sel(key=random, query=random).values.reshape(len(one.t), -1)
            low, high = others.min(axis=1), others.max(axis=1)
            axes.fill_between(
                one.t, low, high, color=COLOURS["grey"], alpha=0.3, linewidth=0, label="random words, all pairs"
            )
        for (key, query), (name, colour) in PAIRS.items():
            label = None if style else name
            axes.plot(one.t, change.sel(key=key, query=query), color=colour, label=label, **style)
    axes.axhline(0.0, color="black", linewidth=0.6)


def _scores(data: Data) -> Figure:
    drawn = figure(9.5, 3.7, right=2.4, wspace=0.08)
    panels = drawn.subplots(1, 2, sharey=True)
    for axes, logarithmic in zip(panels, (True, False), strict=True):
        _plot_scores(axes, data)
        _time_axis(axes, data, logarithmic)
    panels[0].set_ylabel("change of the score νᵀW_KᵀW_Qμ since t = 0")
    _legend(panels[1], data)
    _title(drawn, "Figure 1 (a)  Attention scores between the targets μ1, μ2 and the common word μ3 over training")
    return drawn


def _plot_losses(axes: Axes, data: Data) -> None:
    for one, style in _curves(data):
        for kind, (name, colour) in TYPES.items():
            label = None if style else name
            axes.plot(one.t, one.loss_by_type.sel(type=kind), color=colour, label=label, **style)
        axes.plot(one.t, one.loss, color="black", label=None if style else "all samples", **style)


def _losses(data: Data) -> Figure:
    drawn = figure(9.5, 3.7, right=2.4, wspace=0.25)
    panels = drawn.subplots(1, 2)
    for axes, logarithmic in zip(panels, (True, False), strict=True):
        _plot_losses(axes, data)
        axes.set_yscale("linear" if logarithmic else "log")
        axes.set_ylabel("training loss" + ("" if logarithmic else " (logarithmic)"))
        _time_axis(axes, data, logarithmic)
    _legend(panels[1], data)
    _title(drawn, "Figure 1 (b)  Training loss; Phase 1 ends when every sample is classified for good")
    return drawn


def _title(drawn: Figure, text: str) -> None:
    drawn.suptitle(text, x=0.01, y=0.985, ha="left", fontsize=10)


def _matrix(axes: Axes, matrix: Any, limit: float) -> Any:
    image = axes.imshow(matrix.values, cmap=DIVERGING, vmin=-limit, vmax=limit)
    words = [str(word) for word in matrix.key.values]
    shown = sorted({*range(min(len(SIGNALS), len(words))), len(words) - 1})
    axes.set_xticks(shown, [words[i] for i in shown], fontsize=6, rotation=90)
    axes.set_yticks(shown, [words[i] for i in shown], fontsize=6)
    axes.tick_params(length=2)
    axes.spines[:].set_visible(False)
    return image


def _strip(data: Data) -> Figure:
    change = _changes(_first(data))
    limit = float(np.abs(change).max()) or 1.0
    shown = np.unique(np.linspace(1, len(change.t) - 1, SNAPSHOTS).round().astype(int))
    drawn = figure(1.9 * len(shown) + 1.6, 2.9, right=1.0, wspace=0.2)
    panels = np.atleast_1d(drawn.subplots(1, len(shown)))
    for axes, i in zip(panels, shown, strict=True):
        image = _matrix(axes, change.isel(t=i), limit)
        axes.set_title(f"t = {float(change.t[i]):.3g}")
        axes.set_xlabel("query word", fontsize=7)
    panels[0].set_ylabel("key word", fontsize=7)
    place = panels[-1].get_position()
    drawn.colorbar(image, cax=drawn.add_axes((place.x1 + 0.015, place.y0, 0.01, place.height)), label="change of score")
    _title(drawn, "How the score matrix moves: targets μ1, μ2, common word μ3, random words from μ4 on")
    return drawn


def _frames(data: Data) -> Iterator[Image.Image]:
    one = _first(data)
    change = _changes(one)
    limit = float(np.abs(change).max()) or 1.0
    drawn = figure(7.2, 3.3, wspace=0.45)
    left, right = drawn.subplots(1, 2)
    image = _matrix(left, change.isel(t=0), limit)
    left.set(xlabel="query word", ylabel="key word")
    title = left.text(0.0, 1.04, "", transform=left.transAxes)
    drawn.colorbar(image, ax=left, shrink=0.85)
    for kind, (name, colour) in TYPES.items():
        right.plot(one.t, one.loss_by_type.sel(type=kind), color=colour, label=name)
    right.set(ylabel="training loss", yscale="log")
    _time_axis(right, data, logarithmic=True)
    right.legend(fontsize=7)
    marker = right.axvline(one.t.values[1], color="black", linewidth=1.2)
    moving = (image, title, marker)
    for artist in moving:
        artist.set_animated(True)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    still = canvas.copy_from_bbox(drawn.bbox)  # only what moves is drawn again for every frame
    for i in np.unique(np.linspace(1, len(one.t) - 1, FRAMES).round().astype(int)):
        image.set_data(change.isel(t=i).values)
        marker.set_xdata([float(one.t[i])] * 2)
        title.set_text(f"change of score since t = 0, at t = {float(one.t[i]):.3g}")
        canvas.restore_region(still)
        for artist in moving:
            artist.axes.draw_artist(artist)
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
