"""How records show themselves in a notebook: compact tables, and plots of any probe as methods."""

import functools
import html
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

PICTURES = 8  # of a probe of one law
NAMED = 4  # lines in a legend
SIDE = 260  # of a picture, in pixels
# The slider shows in every picture the last of its frames up to its time.
MOVE = """
const t = times[cb_obj.value];
for (const figure of figures) {
  const {frames, times: at} = figure.tags[0], source = figure.renderers[0].data_source, image = source.data.image[0];
  let i = 0;
  while (i + 1 < at.length && at[i + 1] <= t * (1 + 1e-9)) i++;
  image.set(new Uint8Array(frames.buffer, frames.byteOffset + i * image.length, image.length));
  source.change.emit();
}
cb_obj.title = `t = ${Number(t.toPrecision(4))}, number`;
"""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as HTML; all texts are escaped."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><caption>{html.escape(title)}</caption>{line('th', columns)}{body}</table>"


class Plots:
    """Plots of probes: `record.plot.NAME()` draws the probe NAME of all laws, `record.plot.NAME("flow")` of one.

    The result is an object of Bokeh, which draws the pages of `dynamics report`, too; in a notebook, call
    bokeh.io.output_notebook() once, and then bokeh.io.show(record.plot.loss()). A probe with one number at a time gives
    one figure; one with several gives a figure for each law, a line for each label; and one with a matrix gives
    pictures, and a slider that chooses their time.
    """

    def __init__(self, data: Mapping[str, Callable[[], Any]], members: Collection[str] = ()):
        """Plots of Datasets.

        Args:
            data: {law: a function that reads its Dataset}.
            members: dimensions of members of a sweep, which are no dimensions of a probe.
        """
        self._data, self._members = data, frozenset(members)

    def __dir__(self) -> list[str]:
        return sorted({str(name) for read in self._data.values() for name in read().data_vars})

    def __getattr__(self, probe: str) -> Callable[..., Any]:
        """The function that draws a probe.

        Raises:
            AttributeError: for what is not recorded.
        """
        if probe.startswith("_") or probe not in (names := dir(self)):
            raise AttributeError(
                f"{probe!r} is not recorded" + ("" if probe.startswith("_") else f": {', '.join(names)}")
            )
        return functools.partial(self._drawn, probe)

    def _drawn(self, probe: str, law: str = "") -> Any:
        from bokeh.layouts import gridplot

        from dynamics.plots import Line, Range, coloured, curves, lines_of, real, time_of

        chosen = {
            name: read()[probe].load() for name, read in self._data.items() if law in ("", name) and probe in read()
        }
        if not chosen:
            raise KeyError(f"{probe!r} of {law!r} is not recorded; laws: {', '.join(self._data)}")
        scale = Range.of([real(values) for values in chosen.values()])
        count = max(len(set(values.dims) - self._members) for values in chosen.values()) - 1
        if count >= 2:
            return self._movies(chosen)
        if count == 0 and all(len(values.dims) == 1 for values in chosen.values()):
            styles = coloured(list(chosen))
            lines = [Line(name, x[time_of(x)].values, real(x), *styles[name]) for name, x in chosen.items()]
            return _explained(curves(lines, scale), probe, lines)
        drawn = {f"{probe} of {name}": lines_of(values) for name, values in chosen.items()}
        figures = [_explained(curves(lines, scale), title, lines) for title, lines in drawn.items()]
        return (
            figures[0]
            if len(figures) == 1
            else gridplot(figures, ncols=3, sizing_mode="stretch_width", toolbar_location=None)
        )

    def _movies(self, chosen: Mapping[str, Any]) -> Any:
        from bokeh.layouts import column, gridplot
        from bokeh.models import CustomJS
        from bokeh.models.widgets import Slider

        from dynamics.plots import Range, matrices, movie, real

        scale = Range.of([real(values) for values in chosen.values()])
        figures = [
            _titled(movie(values, scale, len(values)), ", ".join(filter(None, (name, label))))
            for name, all_of in chosen.items()
            for label, values in matrices(all_of, PICTURES).items()
        ]
        times = max((figure.tags[0]["times"] for figure in figures), key=len)
        for figure in figures:
            figure.update(sizing_mode="fixed", width=SIDE, height=SIDE)
        grid = gridplot(figures, ncols=4, toolbar_location=None)
        if len(times) < 2:
            return grid
        last = len(times) - 1
        slider = Slider(start=0, end=last, value=last, title=f"t = {times[-1]:.4g}, number", width=2 * SIDE)
        slider.js_on_change("value", CustomJS(args={"figures": figures, "times": times.tolist()}, code=MOVE))
        return column(slider, grid)


def _titled(figure: Any, title: str) -> Any:
    figure.title.text = title
    return figure


def _explained(figure: Any, title: str, lines: Sequence[Any]) -> Any:
    """Curves with a title, and a legend if there is room for it."""
    from bokeh.models.annotations import Legend, LegendItem

    if len(lines) <= NAMED:
        items = [LegendItem(label=line.name, renderers=figure.renderers, index=i) for i, line in enumerate(lines)]
        figure.add_layout(Legend(items=items, orientation="horizontal", border_line_color=None), "below")
    return _titled(figure, title)
