"""Work against error of the solvers of flows, from records of configs/speed/solvers.py.

peers.json in the folder of a run, by experiments.speed.peers, adds solvers of other libraries.
"""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record

COLOUR = {"tsit5": "blue", "dopri8": "sky", "rkc2": "orange", "auto": "vermilion"}
VARIABLES = {"flow": ("weights", "-", "o"), "gram_flow": ("Gram variables", "--", "s")}
PEERS = ("D", "v", "P", "X", "*", "^", "<")
STATED = 1e-4  # the error at which the title compares


class Point(NamedTuple):
    """One solve.

    Attributes:
        error: the largest relative error of the loss over the saved times.
        evaluations: of the velocity.
        seconds: of integrating, without compiling.
    """

    error: float
    evaluations: float
    seconds: float


def points(record: Record) -> dict[tuple[str, str], list[Point]]:
    """{(variables, solver): a point for every tolerance, the loosest first}; solves that failed are left out."""
    exact, found = record["reference"].loss.values, dict[tuple[str, str], list[Point]]()
    status = record.status["laws"]
    for law, settings in record.config.laws.items():
        summary = status.get(law, {})
        if law == "reference" or summary.get("state") != "done":
            continue
        error = float(np.max(np.abs(record[law].loss.values / exact - 1)))
        point = Point(error, summary["evaluations"], summary["solve_s"])
        found.setdefault((settings.name, settings.solver), []).append(point)
    return found


def work_at(error: float, solves: list[Point], work: str) -> float:
    """The work at which a solver has this error, by interpolation in logarithms; nan where it has no such errors."""
    ordered = sorted(point for point in solves if point.error > 0)  # the reference itself has none
    errors = [point.error for point in ordered]
    if not errors[0] <= error <= errors[-1]:
        return float("nan")
    works = [getattr(point, work) for point in ordered]
    return float(np.exp(np.interp(np.log(error), np.log(errors), np.log(works))))


@styled
def draw(record: Record, folder: pathlib.Path) -> list[pathlib.Path]:
    """Evaluations and seconds against the error of the loss, a line for each solver and choice of variables."""
    solves = points(record)
    drawn = figure(9.6, 4.4, right=1.9, wspace=0.3)
    panels = drawn.subplots(1, 2)
    for axes, work in zip(panels, ("evaluations", "seconds"), strict=True):
        for (variables, solver), line in solves.items():
            name, dashes, marker = VARIABLES[variables]
            errors, works = zip(*((point.error, getattr(point, work)) for point in line), strict=True)
            style: Any = {"color": COLOURS[COLOUR[solver]], "linestyle": dashes, "marker": marker, "markersize": 3.5}
            axes.plot(errors, works, linewidth=1.1, label=f"{solver}, {name}", **style)
        for (peer, rows), marker in zip(_peers(record).items(), PEERS, strict=False):
            errors, works = zip(*((row["error"], row[work]) for row in rows), strict=True)
            axes.plot(errors, works, color=COLOURS["grey"], linewidth=0.8, marker=marker, markersize=4, label=peer)
        axes.set(xscale="log", yscale="log", xlabel="largest relative error of the loss", xlim=(3, 1e-10))
    panels[0].set_ylabel("evaluations of the velocity")
    panels[1].set_ylabel("seconds")
    panels[1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    drawn.suptitle(_title(solves), x=0.01, y=0.98, ha="left", fontsize=10)
    reference = record.config.laws.reference
    text = f"{provenance(record)} · reference: {reference.solver}, rtol {reference.rtol:g}"
    return save(drawn, folder, "solvers", text)


def _title(solves: dict[tuple[str, str], list[Point]]) -> str:
    """What the record says about the default solver in weights."""
    auto, tsit5 = ([*solves.get(("flow", solver), [])] for solver in ("auto", "tsit5"))
    # Where stability decides its steps, tsit5 has only errors that are smaller.
    loosest = max((point.error for point in tsit5), default=STATED)
    ratio = work_at(min(STATED, loosest), tsit5, "seconds") / work_at(STATED, auto, "seconds")
    if np.isnan(ratio):
        return "Work against error"
    return f"At an error of {STATED:g} of the loss, the default solver takes {1 / ratio:.2g} of the seconds of tsit5"


def _peers(record: Record) -> dict[str, list[dict[str, float]]]:
    """{solver of another library: its solves}."""
    path = record.path / "peers.json"
    return json.loads(path.read_text()) if path.is_file() else {}
