"""The figure of the population loss at T*, where the training loss is 1/m, against width."""

import pathlib

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.studies.evidence import ClaimsRecord
from experiments.cooccurrence.population_claims import LARGER, SMALLEST, WIDTHS, at_training_loss, predicted

SHOWN = ("blue", "vermilion", "green")


@styled
def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw the losses with the smallest vocabularies, and with the larger ones."""
    drawn = figure(9.2, 3.8, wspace=0.1)
    panels = drawn.subplots(1, 2, sharey=True)
    for axes, cases, title in zip(
        panels, (SMALLEST, LARGER), ("all random words are in the training set", "d = nL"), strict=True
    ):
        for case, colour in zip(cases, SHOWN, strict=True):
            runs = record[case].load()
            values = at_training_loss(runs, 1 / runs.width).transpose("width", ...)
            axes.plot(runs.width, values, "o", color=COLOURS[colour], markersize=4)
            axes.plot(WIDTHS, predicted(case, WIDTHS), color=COLOURS[colour], linewidth=1, label=case)
        axes.set(xscale="log", yscale="log", xlabel="width m", title=title)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("population loss at T*")
    drawn.suptitle("Dots: the flow with trained attention; lines: the flow of three numbers", x=0.01, y=0.99, ha="left")
    return save(drawn, folder, "population", provenance(record))
