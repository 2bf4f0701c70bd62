"""The table and the picture of the record of the peers.

    python -m experiments.speed.peers.report FOLDER

Puts the table into the page on speed, and draws the picture into FOLDER.
"""

import json
import pathlib
import statistics
import sys
from typing import Any

from dynamics.figures.style import COLOURS, figure, save, styled
from experiments.speed.peers.comparisons import OURS, RECORD
from experiments.speed.peers.side import ROOT

PAGE = ROOT / "experiments" / "speed" / "README.md"
BEGIN, END = "<!-- measured by make bench PEERS=1 -->\n\n", "\n<!-- until here -->"  # around the table


def table(record: dict[str, Any]) -> str:
    """A line for every side of every comparison, ratios first."""
    lines = [
        "| what, threads of each | side | times ours: median (least to largest; rounds) "
        "| seconds, median | for each | largest relative error, or difference from ours, of the loss | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for problem in record["problems"].values():
        what = _titled(problem)
        for name, side in problem["sides"].items():
            seconds, accuracy = statistics.median(side["seconds"]), _accuracy(side)
            cells = [what, name, ratio(name, side), f"{seconds:.3g}", each(side, seconds), accuracy]
            cells.append(f"{side['peak_mb']:.0f} MB")
            lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
            what = ""
        lines += [f"| | {name} | not measured: {why} | | | | |" for name, why in problem["left_out"].items()]
    return "\n".join(lines) + "\n"


def ratio(name: str, side: dict[str, Any]) -> str:
    """How many times ours it took."""
    if name == OURS:
        return "1"
    return f"{side['ratio']:.3g} ({side['least_ratio']:.3g} to {side['largest_ratio']:.3g}; {len(side['seconds'])})"


def each(side: dict[str, Any], seconds: float) -> str:
    """The time of a step, or of an evaluation of a flow's velocity with all that comes with it."""
    evaluations = side.get("evaluations")
    count, what = (evaluations, "evaluations") if evaluations else (side["steps"], "steps")
    one = 1e3 * seconds / count
    return f"{count:g} {what} of {one:.3g} ms"


def _titled(problem: dict[str, Any]) -> str:
    threads = problem["threads"]
    return f"{problem['what']}, {threads} thread{'s' * (threads > 1)}"


def _accuracy(side: dict[str, Any]) -> str:
    of_flow = f"{side['error']:.1e}, rtol {side['rtol']:.1e}" if "error" in side else ""
    return of_flow or f"{side['difference']:.0e}"


@styled
def draw(record: dict[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """The ratios of all peers, a panel for each comparison, and the least and the largest of each as a line."""
    rows: list[tuple[str, dict[str, Any] | None]] = []  # None for a title
    for problem in record["problems"].values():
        rows.append((_titled(problem), None))
        rows += [(name, side) for name, side in problem["sides"].items() if name != OURS]
    drawn = figure(9.0, 1.4 + 0.2 * len(rows), left=4.8, top=0.45)
    axes = drawn.subplots()
    for place, (name, side) in enumerate(rows):
        if side is None:
            where = axes.get_yaxis_transform()
            axes.text(-0.02, place, name, ha="right", va="center", fontweight="bold", transform=where)
            continue
        colour = COLOURS["blue" if side["ratio"] > 1 else "vermilion"]
        axes.plot([side["least_ratio"], side["largest_ratio"]], [place, place], color=colour, linewidth=1.2)
        axes.plot(side["ratio"], place, "o", color=colour, markersize=5)
        axes.text(side["largest_ratio"] * 1.1, place, f"{side['ratio']:.3g}", va="center", fontsize=8)
    axes.axvline(1, color=COLOURS["black"], linewidth=0.8)
    measured = [place for place, (_, side) in enumerate(rows) if side is not None]
    axes.set_yticks(measured, [rows[place][0] for place in measured])
    axes.set(xscale="log", xlabel="seconds, times ours; right of the line ours is faster", ylim=(len(rows) - 0.5, -0.7))
    drawn.suptitle("Other libraries on the same problems, in turn", x=0.01, y=0.98, ha="left", fontsize=10)
    versions = ", ".join(f"{library} {version}" for library, version in record["versions"].items())
    return save(drawn, folder, "peers", f"experiments.speed.peers · {record['machine']} · {versions}")


def in_page(page: str, lines: str) -> str:
    """The page with these lines in the place of its table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{lines}{END}{after}"


def main(folder: str) -> None:
    """Write and draw."""
    record = json.loads(RECORD.read_text())
    PAGE.write_text(in_page(PAGE.read_text(), table(record)))
    draw(record, pathlib.Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
