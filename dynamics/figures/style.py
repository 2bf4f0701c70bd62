"""The shared look of figures. They are saved with a line of provenance, and with the same bytes every time."""

import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_pdf  # savefig would import both only when a run waits for its figures
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from PIL import Image

from dynamics.runs.record import Record
from dynamics.studies.evidence import ClaimsRecord
from dynamics.sweeps.results import SweepRecord

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's palette: colour-blind readers can tell the colours apart, and so can prints in grey.
COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#8C8C8C",
}
DIVERGING = "RdBu_r"
SEQUENTIAL = "viridis"
MISSING = "#D9D9D9"
SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
NAMED = 24  # an axis with at most so many labels has ticks at the labels; more would overlap
CHARACTERS = 30  # that fit along the axis of a panel, with two between neighbours
STYLE: Any = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "dynamics",
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that draws, so that it draws in the shared style."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def figure(
    width: float, height: float, right: float = 0.3, left: float = 0.75, top: float = 0.65, **spacing: float
) -> Figure:
    """An empty figure; no window and no global state.

    Args:
        width: in inches.
        height: in inches.
        right: the margin for a legend or a colour bar, in inches.
        left: the margin for labels, in inches.
        top: the margin for titles, in inches.
        spacing: wspace and hspace between panels, in units of a panel.
    """
    drawn = Figure(figsize=(width, height))
    # Fixed margins: a layout engine draws every figure several times over.
    drawn.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=0.75 / height, top=1 - top / height, **spacing
    )
    return drawn


def provenance(record: Record | SweepRecord | ClaimsRecord) -> str:
    """One line with config, members of a sweep, commit, dtype, laws with their solvers and tolerances, and device."""
    origin = record.provenance
    swept = set(record.sweep.axes.labels) if isinstance(record, SweepRecord) else set()
    laws = []
    for law in record.laws:
        settings = record.config.laws[law]
        shown = [key for key in ("rtol", "learning_rate") if key in settings and f"laws.{law}.{key}" not in swept]
        numbers = ", ".join(f"{key} {settings[key]:g}" for key in shown)
        laws.append(f"{law} ({' '.join(filter(None, (settings.get('solver', settings.name), numbers)))})")
    if len(laws) > 2:
        laws = [f"{len(laws)} laws"]
    parts = [f"config {origin['config']}", f"commit {origin['commit']}", origin["dtype"], *laws, origin["device"]]
    if isinstance(record, SweepRecord):
        parts.insert(1, f"{len(record.sweep.members)} members over {', '.join(record.dims.values())}")
    return " · ".join(parts)


class Places(NamedTuple):
    """The places of an axis's labels.

    Attributes:
        labels: the labels, in their order along the axis.
        centres: the coordinate of every label.
        edges: the coordinates between neighbouring labels, before the first and after the last.
        logarithmic: whether the axis is logarithmic.
        names: the texts at the centres.
    """

    labels: np.ndarray
    centres: np.ndarray
    edges: np.ndarray
    logarithmic: bool
    names: list[str]

    def at(self, values: Any) -> np.ndarray:
        """The coordinates of numbers on this axis.

        Where labels lie side by side, numbers between two neighbours are interpolated. Numbers below the smallest or
        above the largest label are nan there, and all numbers are if the labels neither increase nor decrease.
        """
        if self.logarithmic:
            return np.asarray(values)
        order = np.argsort(self.labels)
        if not (np.diff(order) == np.sign(order[-1] - order[0])).all():
            return np.full(np.shape(values), np.nan)
        return np.asarray(np.interp(values, self.labels[order], self.centres[order], left=np.nan, right=np.nan))


def is_geometric(labels: Any) -> bool:
    """Whether labels are positive numbers with a constant ratio; it may vary by 2 %, since labels may be rounded."""
    values = np.asarray(labels)
    if values.dtype.kind not in "iuf" or len(values) < 3 or not (values > 0).all():
        return False
    ratios = values[1:] / values[:-1]
    return bool(ratios[0] != 1 and (np.abs(ratios / ratios[0] - 1) < 0.02).all())


def places(labels: Any) -> Places:
    """The places of labels: on a logarithmic axis if the labels are geometric, otherwise side by side."""
    values = np.asarray(labels)
    names = [_name(value) for value in values]
    if not is_geometric(values):
        return Places(values, np.arange(len(values)), np.arange(len(values) + 1) - 0.5, False, names)
    half = (values[-1] / values[0]) ** (0.5 / (len(values) - 1))
    middles = np.sqrt(values[1:] * values[:-1].astype(float))
    return Places(values, values, np.concatenate([[values[0] / half], middles, [values[-1] * half]]), True, names)


def _name(label: Any) -> str:
    if not isinstance(label, (int, float, np.number)):
        return str(label)
    power = round(float(np.log2(label))) if label >= 1024 else 0
    if power and label == 2**power:
        return "2" + str(power).translate(SUPERSCRIPT)
    return f"{label:.3g}" if label != round(float(label)) else f"{label:g}"


def shades(count: int) -> list[Any]:
    """`count` colours from dark to light, for values in increasing order."""
    return [mpl.colormaps[SEQUENTIAL](0.9 * i / max(count - 1, 1)) for i in range(count)]


def ticks(axes: Axes, which: str, at: Places, most: int = 7) -> None:
    """Write names along an axis; if there are more than `most`, at every second, third, ... place.

    Args:
        axes: the axes to change.
        which: "x" or "y".
        at: the places.
        most: the number of names that fit.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if at.logarithmic:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    every = slice(None, None, -(-len(at.names) // most))
    axis.set_ticks(at.centres[every], at.names[every])
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def logarithmic(axes: Axes, which: str) -> None:
    """Make an axis logarithmic, with so few ticks that their labels do not overlap. Call it after plotting.

    The ticks are at 1, 2 and 5 or at 1 and 3 times powers of ten if their labels fit, and at powers of ten otherwise.

    Args:
        axes: the axes to change.
        which: "x" or "y".
    """
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis, (low, high) = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3)):
        at = np.outer(powers, steps).ravel()
        if sum(len(f"{value:g}") + 2 for value in at[(at >= low) & (at <= high)]) <= CHARACTERS:
            axis.set_major_locator(LogLocator(subs=steps))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            break
    axis.set_minor_formatter(NullFormatter())


def median(values: Any, over: Any) -> Any:
    """The median over dimensions of an xarray DataArray; nan counts as larger than every number.

    An event that never happened has the time nan, and a path that diverged the loss nan: without them the median would
    be too small.
    """
    middle = values.fillna(np.inf).median(over)
    return middle.where(np.isfinite(middle))


def bands(axes: Axes, values: Any, x: str, over: str, **style: Any) -> None:
    """Draw the median over a dimension as a line, in a band from the smallest to the largest value.

    The median counts nan as large; the band ignores it.

    Args:
        axes: the axes to draw on; geometric labels make x logarithmic, and texts lie side by side.
        values: an xarray DataArray [x, over]; if it has no dimension `over`, only the line is drawn.
        x: the dimension along the axis.
        over: the dimension of the band.
        style: keywords for the line.
    """
    labels = values[x].values
    where = places(labels)
    named = len(labels) <= NAMED and (where.logarithmic or labels.dtype.kind not in "iuf")
    at = where.centres if named else labels
    style = {"color": COLOURS["blue"], **style}
    axes.plot(at, median(values, over) if over in values.dims else values, **style)
    if over in values.dims:
        axes.fill_between(at, values.min(over), values.max(over), color=style["color"], alpha=0.2, linewidth=0)
    if named:
        ticks(axes, "x", where)
    elif where.logarithmic:
        axes.set_xscale("log")


class Scale(NamedTuple):
    """The colours of a heatmap.

    Attributes:
        logarithmic: whether they are; if not given, when all values are positive and span a factor of 20.
        limits: smallest and largest value; if not given, those of what is drawn.
    """

    logarithmic: bool | None = None
    limits: tuple[float, float] | None = None


AUTOMATIC = Scale()


def heatmap(
    axes: Axes, values: Any, x: str, y: str, marked: Any = None, scale: Scale = AUTOMATIC
) -> tuple[Places, Places]:
    """Values over two axes, with a colour bar; nan is light grey, and marked cells have a cross.

    Args:
        axes: the axes to draw on; geometric labels make an axis logarithmic, others have cells of equal size.
        values: an xarray DataArray [x, y].
        x: the dimension to the right.
        y: the dimension upwards.
        marked: a DataArray [x, y] of booleans, True where members diverged or failed.
        scale: of the colours.

    Returns:
        The places of x and of y, to draw more at their coordinates.
    """
    logarithmic = scale.logarithmic
    shown = values.transpose(y, x).values.astype(float)
    finite = shown[np.isfinite(shown)]
    right, upwards = places(values[x].values), places(values[y].values)
    if finite.size:
        low, high = scale.limits or (finite.min(), finite.max())
        if logarithmic is None:
            logarithmic = low > 0 and high > 20 * low
        norm: Any = (LogNorm if logarithmic else Normalize)(low, high if high > low else low + (abs(low) or 1.0))
    else:
        norm = Normalize(0, 1)
    axes.set_facecolor(MISSING)
    cells = axes.pcolormesh(right.edges, upwards.edges, np.ma.masked_invalid(shown), norm=norm, cmap=SEQUENTIAL)
    ticks(axes, "x", right)
    ticks(axes, "y", upwards, 9)
    axes.set(xlim=right.edges[[0, -1]], ylim=upwards.edges[[0, -1]], xlabel=x, ylabel=y)
    if finite.size:
        bar = axes.figure.colorbar(cells, ax=axes, fraction=0.07, pad=0.04)
        if logarithmic and high < 1000 * low:  # so few decades hold only one or two powers of ten, too few for ticks
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            bar.ax.yaxis.set_minor_locator(NullLocator())
    if marked is not None:
        rows, columns = np.nonzero(marked.transpose(y, x).values)
        for colour, width in (("white", 3.2), ("black", 1.4)):  # a white edge, to be seen on every colour
            axes.plot(right.centres[columns], upwards.centres[rows], "x", color=colour, markersize=7, mew=width)
    return right, upwards


def save(drawn: Figure, folder: pathlib.Path, name: str, line: str) -> list[pathlib.Path]:
    """Write name.png and name.pdf with the provenance line below, and no dates, so that bytes repeat."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn.text(0.01, 0.02, line, fontsize=5.5, color=COLOURS["grey"])
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    drawn.savefig(paths[0], dpi=160)
    drawn.savefig(paths[1], metadata={"CreationDate": None})
    return paths


def save_animation(frames: Iterable[Image.Image], path: pathlib.Path, milliseconds: int) -> pathlib.Path:
    """Write an animated GIF that loops. All frames use the colours of the last one, so that these do not flicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = list(frames)
    palette = pictures[-1].quantize(128)
    first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0)
    return path
