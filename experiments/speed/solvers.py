"""Work against error of the solvers of flows, from records of configs/speed/solvers.py.

peers.json in the folder of a run, by experiments.speed.solver_peers, adds solvers of other libraries.
"""

import itertools
import json
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.record import Record
from dynamics.runs.storage import write_text

COLOUR = {"tsit5": "blue", "dopri8": "sky", "rkc2": "orange", "auto": "vermilion"}
VARIABLES = {"flow": ("weights", "-", "o"), "gram_flow": ("Gram variables", "--", "s")}
PEERS = ("D", "v", "P", "X", "*", "^", "<")
STATED = 1e-4  # the error at which the title compares
ERRORS = (1e-2, 1e-4, 1e-6, 1e-8)  # those at which the table compares


class Point(NamedTuple):
    """What one solve of a problem took, and how exact it was.

    Attributes:
        error: the largest relative error of the loss over the saved times.
        evaluations: of the velocity.
        seconds: of integrating, without compiling.
        last: the relative error of the loss at the last time.
        rtol: the relative tolerance.
    """

    error: float
    evaluations: float
    seconds: float
    last: float
    rtol: float


Solves = dict[tuple[str, str], list[Point]]


def points(record: Record) -> Solves:
    """{(variables, solver): a point for every tolerance, the loosest first}.

    Of solves that were repeated the shortest counts; solves that failed are left out.
    """
    exact, shortest = record["reference"].loss.values, dict[tuple[str, str, float], Point]()
    status = record.status["laws"]
    for law, settings in record.config.laws.items():
        summary = status.get(law, {})
        if law == "reference" or summary.get("state") != "done":
            continue
        key = settings.name, settings.solver, settings.rtol
        if key in shortest and shortest[key].seconds <= summary["solve_s"]:
            continue
        error = np.abs(record[law].loss.values / exact - 1)
        work = summary["evaluations"], summary["solve_s"]
        shortest[key] = Point(float(error.max()), *work, float(error[-1]), float(settings.rtol))
    found = Solves()
    for variables in VARIABLES:
        for solver in COLOUR:
            of_solver = [point for key, point in shortest.items() if key[:2] == (variables, solver)]
            if of_solver:
                found[variables, solver] = sorted(of_solver, key=lambda point: -point.rtol)
    return found


def work_at(error: float, solves: list[Point], work: str) -> float:
    """The least work for which a solver reaches this error or a smaller one; nan if it does not reach it.

    Between neighbouring tolerances the logarithm of the work is interpolated in that of the error. Where stability
    decides the steps, every tolerance has a smaller error: then the result is the least work of all tolerances.
    """
    enough = [getattr(point, work) for point in solves if point.error <= error]
    for one, other in itertools.pairwise(solves):
        if min(one.error, other.error) < error < max(one.error, other.error):
            part = math.log(error / one.error) / math.log(other.error / one.error)
            enough.append(getattr(one, work) ** (1 - part) * getattr(other, work) ** part)
    return min(enough, default=math.nan)


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
    drawn.suptitle(title(solves), x=0.01, y=0.98, ha="left", fontsize=10)
    reference = record.config.laws.reference
    origin = f"{provenance(record)} · reference: {reference.solver}, rtol {reference.rtol:g}"
    paths = save(drawn, folder, "solvers", origin)
    paths.append(folder / "solvers.md")
    write_text(paths[-1], table(solves))
    return paths


def title(solves: Solves) -> str:
    """What the record says about the default solver in weights."""

    def ratio(work: str) -> float:
        default, explicit = (work_at(STATED, solves.get(("flow", solver), []), work) for solver in ("auto", "tsit5"))
        return default / explicit

    seconds, evaluations = ratio("seconds"), ratio("evaluations")
    if math.isnan(seconds):
        return f"Work against error; a solver does not reach {STATED:g}"
    return (
        f"To an error of {STATED:g} of the loss in weights, the default solver takes {seconds:.2g} of the seconds of "
        f"tsit5 and {evaluations:.2g} of its evaluations"
    )


def table(solves: Solves) -> str:
    """Two tables: the work at the errors of ERRORS with its ratios, and every solve."""
    lines = [
        "Evaluations / seconds that a relative error of the loss takes, and ratios of them.",
        "",
        "| variables | error | tsit5 | dopri8 | rkc2 | auto | tsit5 to auto | auto to the better of tsit5 and rkc2 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variables, (name, *_) in VARIABLES.items():
        if (variables, "auto") not in solves:
            continue
        for error in ERRORS:
            works = {
                solver: [
                    work_at(error, solves.get((variables, solver), []), work) for work in ("evaluations", "seconds")
                ]
                for solver in COLOUR
            }
            of_explicit, of_better = [], []
            for explicit, stabilised, default in zip(works["tsit5"], works["rkc2"], works["auto"], strict=True):
                of_explicit.append(explicit / default)
                of_better.append(default / np.fmin(explicit, stabilised))
            cells = [_pair(works[solver], ".0f", " s") for solver in ("tsit5", "dopri8", "rkc2", "auto")]
            ratios = [_pair(of_explicit, ".3g"), _pair(of_better, ".3g")]
            lines.append(f"| {' | '.join([name, f'{error:g}', *cells, *ratios])} |")
    lines += [
        "",
        "| variables | solver | rtol | evaluations | seconds | largest error | error at the last time |",
        "|---|---|---|---|---|---|---|",
    ]
    for (variables, solver), of_solver in solves.items():
        for point in of_solver:
            numbers = [f"{point.rtol:g}", f"{point.evaluations:g}", f"{point.seconds:.3g}"]
            numbers += [f"{point.error:.1e}", f"{point.last:.1e}"]
            lines.append(f"| {' | '.join([VARIABLES[variables][0], solver, *numbers])} |")
    return "\n".join(lines) + "\n"


def _pair(works: list[float], form: str, unit: str = "") -> str:
    """Evaluations and seconds, or their ratios; a dash where the error is not reached."""
    evaluations, seconds = works
    return f"{evaluations:{form}} / {seconds:.3g}{unit}" if math.isfinite(evaluations) else "–"


def _peers(record: Record) -> dict[str, list[dict[str, float]]]:
    """{solver of another library: its solves}."""
    path = record.path / "peers.json"
    return json.loads(path.read_text()) if path.is_file() else {}
