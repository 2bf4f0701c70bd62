"""The figure: the loss and the log-odds over time, with what theory says of their limits."""

import math
import pathlib

import dynamics
from dynamics.figures.style import COLOURS, figure, provenance, save, styled

__all__ = ["draw"]


@styled
def draw(record: dynamics.Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """Every law of a run, the first one broad; dashed: where the loss and the log-odds must end."""
    p = record.config.task.flipped
    drawn = figure(7.2, 3.4, wspace=0.35)
    left, right = drawn.subplots(1, 2, sharex=True)
    for law, colour, width in zip(record.laws, ("sky", "black"), (4, 1), strict=False):
        data = record[law].load().isel(t=slice(1, None))  # t = 0 is not on a logarithmic axis
        left.plot(data.t, data.loss, color=COLOURS[colour], linewidth=width, label=law)
        right.plot(data.t, data.log_odds.isel(word=slice(1, None)), color=COLOURS[colour], linewidth=width)
    if 0 < p < 1:
        left.axhline(-p * math.log(p) - (1 - p) * math.log(1 - p), color=COLOURS["grey"], linestyle="--")
        for sign in (1, -1):
            right.axhline(sign * math.log((1 - p) / p), color=COLOURS["grey"], linestyle="--")
    left.set(xscale="log", xlabel="t = η k", ylabel="loss", title="dashed: entropy of the labels")
    right.set(xlabel="t = η k", ylabel="log-odds of every word", title="dashed: ± log((1 − p)/p)")
    left.legend()
    return save(drawn, folder, "training", provenance(record))
