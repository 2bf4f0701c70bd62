"""The shared look of figures, and how they are saved: every one with its provenance, the same bytes every time."""

import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dynamics.record import Record

__all__ = ["COLOURS", "DIVERGING", "figure", "mark_phases", "provenance", "save", "save_animation", "styled"]

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's palette: told apart by colour-blind readers and in grey.
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
    """Decorate a function that draws: everything in it gets the shared style."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def figure(width: float, height: float, right: float = 0.3, **spacing: float) -> Figure:
    """An empty figure; no window and no global state.

    Args:
        width: in inches.
        height: in inches.
        right: the margin for a legend, in inches.
        spacing: wspace and hspace between panels, in units of a panel.
    """
    drawn = Figure(figsize=(width, height))
    # Fixed margins: a layout engine draws every figure several times over.
    drawn.subplots_adjust(
        left=0.75 / width, right=1 - right / width, bottom=0.75 / height, top=1 - 0.65 / height, **spacing
    )
    return drawn


def provenance(record: Record) -> str:
    """Config, commit, dtype, solver and tolerance, device, in one line."""
    origin = record.provenance
    laws = []
    for law in record.laws:
        settings = record.config.laws[law]
        numbers = ", ".join(f"{key} {settings[key]:g}" for key in ("rtol", "learning_rate") if key in settings)
        laws.append(f"{law} ({settings.get('solver', settings.name)} {numbers})")
    if len(laws) > 2:
        laws = [f"{len(laws)} laws"]
    parts = (f"config {origin['config']}", f"commit {origin['commit']}", origin["dtype"], *laws, origin["device"])
    return " · ".join(parts)


def mark_phases(axes: Axes, t1: float, end: float) -> None:
    """Phase 1 shaded until T1, both phases named."""
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


def save(drawn: Figure, folder: pathlib.Path, name: str, line: str) -> list[pathlib.Path]:
    """Write name.png and name.pdf with the provenance line below; without dates, so that bytes repeat."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn.text(0.01, 0.02, line, fontsize=5.5, color=COLOURS["grey"])
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    drawn.savefig(paths[0], dpi=160)
    drawn.savefig(paths[1], metadata={"CreationDate": None})
    return paths


def save_animation(frames: Iterable[Image.Image], path: pathlib.Path, milliseconds: int) -> pathlib.Path:
    """Write an animated GIF that loops, in the colours of its last frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = list(frames)
    palette = pictures[-1].quantize(128)
    first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0)
    return path
