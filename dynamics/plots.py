"""Bokeh figures of labelled arrays over time: curves, and matrices as a movie.

They are drawn the same way on the page of a report and in a notebook. Titles, legends and colour bars are text beside a
figure, since Bokeh would load a library from the network for a text that looks like TeX.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    CustomJSHover,
    CustomJSTickFormatter,
    FixedTicker,
    HoverTool,
    Image,
    LinearColorMapper,
    MultiLine,
    PlainText,
)
from bokeh.models.annotations import Span
from bokeh.palettes import RdBu11, Viridis256, interp_palette
from bokeh.plotting import figure

# Okabe and Ito's palette, in an order in which neighbours differ in lightness too, and dashes for those who see no hue.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
DASHES = ("solid", "dashed", "dotted", "dashdot")
DIVERGING, SEQUENTIAL = list(interp_palette(RdBu11, 256)), list(Viridis256)
SHADES = (60, 150)  # the first, and how far the last is from it: seen on white and on black
LEVELS = 255  # of a frame's bytes, from the lowest value to the highest
WIDE = 20  # the ratio of the largest to the smallest value from which on an axis is logarithmic
NAMED = 16  # an axis of a matrix with at most so many labels has all of them
MOST_LINES = 64
MOST_CELLS = 64  # of a matrix, along each axis


class Range(NamedTuple):
    """Lowest and highest value of what is drawn on one scale."""

    low: float
    high: float

    @classmethod
    def of(cls, arrays: Sequence[Any]) -> "Range":
        """The range of the finite values of arrays; (0, 1) if there are none."""
        finite = [values[np.isfinite(values)] for values in map(np.asarray, arrays)]
        finite = [values for values in finite if values.size]
        if not finite:
            return cls(0.0, 1.0)
        return cls(float(min(values.min() for values in finite)), float(max(values.max() for values in finite)))

    @property
    def is_wide(self) -> bool:
        """Whether a logarithmic axis shows more."""
        return self.low > 0 and self.high > WIDE * self.low

    @property
    def has_signs(self) -> bool:
        """Whether there are values of both signs, so that zero must be seen."""
        return self.low < 0 < self.high

    @property
    def of_colours(self) -> "Range":
        """The range of the colours: symmetric if there are both signs, and never empty."""
        end = max(-self.low, self.high)
        low, high = (-end, end) if self.has_signs else self
        return Range(low, high if high > low else low + (abs(low) or 1.0))

    @property
    def palette(self) -> list[str]:
        """Red and blue around zero if there are both signs, and from dark to light otherwise."""
        return DIVERGING if self.has_signs else SEQUENTIAL


class Line(NamedTuple):
    """A curve over time in a figure: its data and how it is drawn.

    Attributes:
        name: shown when the pointer is over it.
        t: its times.
        values: at these times.
        colour: as #RRGGBB.
        dash: the name of a dash pattern of Bokeh.
    """

    name: str
    t: np.ndarray
    values: np.ndarray
    colour: str
    dash: str = "solid"


def coloured(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """{name: (colour, dash)}: all different for a few names, and shades from dark to light for many."""
    if len(names) > len(COLOURS):
        shades = [SEQUENTIAL[SHADES[0] + round(SHADES[1] * i / (len(names) - 1))] for i in range(len(names))]
        return {name: (shade, "solid") for name, shade in zip(names, shades, strict=True)}
    return {name: (COLOURS[i], DASHES[i % len(DASHES)]) for i, name in enumerate(names)}


def lines_of(values: Any) -> list[Line]:
    """The lines of a DataArray over t (or checkpoint), one for every other label; of many, MOST_LINES evenly chosen."""
    over = time_of(values)
    rest = [dim for dim in values.dims if dim != over]
    if not rest:
        return [Line(str(values.name), values[over].values, real(values), COLOURS[0])]
    columns = real(values.transpose(over, *rest))
    columns = columns.reshape(len(columns), -1)
    chosen = np.unique(np.linspace(0, columns.shape[1] - 1, min(columns.shape[1], MOST_LINES)).round().astype(int))
    places = np.transpose(np.unravel_index(chosen, [values.sizes[dim] for dim in rest])).tolist()
    names = [", ".join(label_at(values, dim, i) for dim, i in zip(rest, place, strict=True)) for place in places]
    styles = coloured(names)
    return [
        Line(name, values[over].values, columns[:, i], *styles[name]) for name, i in zip(names, chosen, strict=True)
    ]


def label_at(values: Any, dim: Any, i: int) -> str:
    """The label of a DataArray's dimension at a place; its number where there are no labels."""
    return text(values[dim].values[i])


def time_of(values: Any) -> str:
    """The dimension of a DataArray that is time: "t", or "checkpoint" for a large probe."""
    return "t" if "t" in values.dims else "checkpoint"


def real(values: Any) -> np.ndarray:
    """The values as real numbers; of complex ones the magnitude."""
    array = np.asarray(values)
    return np.abs(array) if np.iscomplexobj(array) else array.astype(float)


def text(label: Any) -> str:
    """A label as people write it."""
    return f"{label:.4g}" if isinstance(label, (float, np.floating)) else str(label)


def curves(lines: Sequence[Line], scale: Range, over: str = "t = ηk") -> Any:
    """A plot of lines over t. An axis is logarithmic where its values span more than a factor of WIDE.

    Its first tag has `now`, a vertical line that marks one time.

    Args:
        lines: to draw.
        scale: of the values; several figures may share it.
        over: the name of the horizontal axis.
    """
    times = Range.of([line.t[line.t > 0] for line in lines])
    late = times.is_wide
    drawn = _figure(
        240,
        x_axis_type="log" if late else "linear",
        y_axis_type="log" if scale.is_wide else "linear",
        x_range=(times.low, times.high) if late else Range.of([line.t for line in lines]).of_colours,
        y_range=_padded(scale),
    )
    with np.errstate(over="ignore"):  # what has diverged is beyond any axis
        drawn_values = [line.values.astype(np.float32) for line in lines]
    shown = [np.flatnonzero(line.t > 0) if late else np.arange(len(line.t)) for line in lines]
    source = ColumnDataSource(
        {
            "x": [line.t[at].astype(np.float32) for line, at in zip(lines, shown, strict=True)],
            "y": [values[at] for values, at in zip(drawn_values, shown, strict=True)],
            "name": [line.name for line in lines],
            "colour": [line.colour for line in lines],
            "dash": [line.dash for line in lines],
        }
    )
    many = len(lines) > len(COLOURS)
    width = 1 if many else 2
    drawn.add_glyph(
        source, MultiLine(xs="x", ys="y", line_color="colour", line_dash="dash", line_width=width, line_alpha=0.9)
    )
    drawn.add_tools(HoverTool(tooltips=[("", "@name"), ("t", "$x"), ("value", "$y")], line_policy="nearest"))
    # An overlay, which has a canvas of its own: the curves are not painted again when it moves.
    now = Span(
        location=times.high,
        dimension="height",
        level="overlay",
        line_color=COLOURS[-1],
        line_dash="dotted",
        line_width=1.5,
    )
    drawn.add_layout(now)
    drawn.xaxis.axis_label = PlainText(text=over)
    drawn.xgrid.visible = False
    drawn.axis.ticker.desired_num_ticks = 4  # labels take most of the time of a repaint
    drawn.tags = [{"now": now}]
    return drawn


def _padded(scale: Range) -> tuple[float, float]:
    if scale.is_wide:
        pad = (scale.high / scale.low) ** 0.05
        return scale.low / pad, scale.high * pad
    pad = 0.05 * (scale.high - scale.low) or 0.5
    return scale.low - pad, scale.high + pad


def movie(values: Any, scale: Range, most: int) -> Any:
    """A matrix [t, rows, columns] as a picture of its last time, with its other times as bytes.

    Its first tag has `times` and `frames`, one row for every time: byte b means low + b (high − low) / 255, and the
    first row of the picture is the lowest, the last row of the matrix. Not-finite values are drawn as the lowest.

    Args:
        values: a DataArray over t (or checkpoint) and two more dimensions; their first MOST_CELLS labels are drawn.
        scale: of the colours; several pictures may share it.
        most: frames at most; evenly chosen, with the first and the last.
    """
    over = time_of(values)
    rows, columns = (dim for dim in values.dims if dim != over)
    values = values.isel({rows: slice(MOST_CELLS), columns: slice(MOST_CELLS)}).transpose(over, rows, columns)
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int))
    frames = levels(real(values.isel({over: chosen})), scale)[:, ::-1]
    height, width = frames.shape[1:]
    low, high = scale.of_colours
    # A few labels take as much room as many, so that pictures beside one another have the same size.
    drawn = _figure(None, x_range=(0, width), y_range=(0, height), aspect_ratio=1)
    source = ColumnDataSource({"image": [frames[-1].copy()]})
    mapper = LinearColorMapper(palette=scale.palette, low=0, high=LEVELS)
    drawn.grid.visible = False
    drawn.add_glyph(source, Image(image="image", x=0, y=0, dw=width, dh=height, color_mapper=mapper))
    names = {"x": [text(x) for x in values[columns].values], "y": [text(y) for y in values[rows].values[::-1]]}
    for axis, dim, labels in ((drawn.xaxis, columns, names["x"]), (drawn.yaxis, rows, names["y"])):
        axis.ticker = FixedTicker(ticks=[i + 0.5 for i in range(0, len(labels), -(-len(labels) // NAMED))])
        axis.formatter = CustomJSTickFormatter(args={"labels": labels}, code="return labels[Math.floor(tick)]")
        axis.axis_label = PlainText(text=str(dim))
        axis.major_tick_line_color = None
    drawn.xaxis.major_label_orientation = math.pi / 2
    place = CustomJSHover(args={"names": names}, code="return names[format][Math.floor(value)] ?? ''")
    value = CustomJSHover(code=f"return ({low!r} + value / {LEVELS} * {high - low!r}).toPrecision(3)")
    drawn.add_tools(
        HoverTool(
            tooltips=[(str(rows), "$y{y}"), (str(columns), "$x{x}"), ("value", "@image{custom}")],
            formatters={"$x": place, "$y": place, "@image": value},
        )
    )
    drawn.tags = [{"times": values[over].values[chosen], "frames": frames.reshape(len(frames), -1)}]
    return drawn


def levels(values: np.ndarray, scale: Range) -> np.ndarray:
    """Values as bytes, evenly from the lowest colour to the highest."""
    low, high = scale.of_colours
    with np.errstate(invalid="ignore"):
        share = np.nan_to_num((values - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    return np.round(np.clip(share, 0, 1) * LEVELS).astype(np.uint8)


def matrices(values: Any, most: int) -> dict[str, Any]:
    """{labels of its other dimensions: a matrix over time}, the first `most` of a DataArray.

    The last two dimensions are those of the matrix; without other dimensions, its label is empty.
    """
    *rest, _, _ = (dim for dim in values.dims if dim != time_of(values))
    found = {}
    for place in itertools.islice(np.ndindex(*(values.sizes[dim] for dim in rest)), most):
        label = ", ".join(f"{dim} {label_at(values, dim, i)}" for dim, i in zip(rest, place, strict=True))
        found[label] = values.isel(dict(zip(rest, place, strict=True)))
    return found


def pictures_of(values: Any) -> int:
    """How many matrices a DataArray holds at one time; `matrices` returns the first of them."""
    *rest, _, _ = (dim for dim in values.dims if dim != time_of(values))
    return math.prod(values.sizes[dim] for dim in rest)


def _figure(height: int | None, **settings: Any) -> Any:
    """An empty figure that is as wide as its place and does not catch the wheel or a finger that scrolls."""
    drawn = figure(
        height=height,
        sizing_mode="stretch_width",
        tools="",
        toolbar_location=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border=4,
        **settings,
    )
    drawn.axis.minor_tick_line_color = None
    drawn.axis.axis_label_text_font_style = "normal"
    return drawn
