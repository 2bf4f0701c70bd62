"""The page of a sweep: a map whose cells open the members; of a comparison: its distances and orders."""

import collections
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dynamics.figures.sweep import summaries
from dynamics.plots import SEQUENTIAL, Line, Range, coloured, real, text
from dynamics.report.parts import Article, Group, content_of, number, verdicts_of
from dynamics.report.run import drawn
from dynamics.studies.comparison import AXES, distances, pairs_of
from dynamics.studies.tables import FIRST, Table, tables
from dynamics.sweeps.ledger import STATES
from dynamics.sweeps.results import SweepRecord

MOST_COLUMNS = 12  # of a map; the other axes are beside one another on its left
MOST_MEMBERS = 1000  # that have a cell and a line
EQUAL_CONTRAST = 0.179  # the luminance on which black and white are equally well seen
MOST_ROWS = 40  # of the table of members that did not end well


class Cell(NamedTuple):
    """A member in a map: its number, colour, colour of the text, and the key of what it opens."""

    text: str
    colour: str
    ink: str
    member: str


class Map(NamedTuple):
    """A number of every member over the swept axes.

    Attributes:
        title: says what the number is.
        above: (name, labels) of the axes along the columns.
        beside: names of the axes along the rows.
        columns: as many entries as there are columns.
        rows: (labels, cells) of every row.
    """

    title: str
    above: list[tuple[str, list[str]]]
    beside: list[str]
    columns: range
    rows: list[tuple[list[str], list[Cell | None]]]


class Opened(NamedTuple):
    """What a cell opens: its key, a title, and the numbers of the member by name."""

    key: str
    title: str
    numbers: dict[str, str]


def sweep_article(record: SweepRecord) -> Article:
    """What a page says about a sweep or a comparison."""
    entries = record.entries
    states = collections.Counter(entry.state for entry in entries.values())
    wrong = [state for state in STATES if state != "done" and states[state]]
    axes = ", ".join(record.dims.values()) or "nothing"
    counts = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    is_comparison = record.kind == "compare"
    mapped = not is_comparison and len(entries) <= MOST_MEMBERS
    return Article(
        title=record.path.name,
        what=f"{record.kind}: {len(entries)} members over {axes}; {counts}",
        state=wrong[0] if wrong else "done",
        reason="",
        origin=record.provenance,
        content=content_of(record),
        tables=[*(tables(record) if is_comparison else ()), *_wrong(record)],
        groups=[_compared(record) if is_comparison else [], losses({law: record[law].load() for law in record.laws})],
        maps=[map_ for law in record.laws for map_ in _maps(record, law)] if mapped else [],
        members=[_opened(record, row) for row in record.table()] if mapped else [],
        claims=verdicts_of(record.path),
    )


def _wrong(record: SweepRecord) -> Iterator[Table]:
    rows = [row for row in record.table() if row["reason"]]
    if rows:
        columns = ("id", *(column for column in record.dims.values()), "state", "reason")
        title = "Members that did not end well" + (f", the first {MOST_ROWS} of {len(rows)}" * (len(rows) > MOST_ROWS))
        yield Table(title, columns, [tuple(text(row.get(key, "")) for key in columns) for row in rows[:MOST_ROWS]])


def _opened(record: SweepRecord, row: dict[str, Any]) -> Opened:
    sets = ", ".join(f"{key} = {text(row[key])}" for key in record.dims.values() if key in row)
    numbers = {key: text(value) for key, value in row.items() if value not in ("", None)}
    return Opened(f"member-{row['id']}", sets or row["id"], numbers)


def _maps(record: SweepRecord, law: str) -> Iterator[Map]:
    """A map for every summary of a law: of all members, also along axes on which the law does not depend."""
    axes = record.sweep.axes
    names = [record.dims.get(key, key) for key in axes.dims]
    labels = [axes.labels[key][1] if key in axes.labels else range(size) for key, size in axes.dims.items()]
    grid = dict(zip(names, ([text(label) for label in some] for some in labels), strict=True))
    for what, values in summaries(record[law].load()).items():
        cells = {}
        for place, member in zip(axes.places, record.sweep.members, strict=True):
            at = {name: i for name, i in zip(names, place, strict=True) if name in values.dims}
            cells[place] = (float(values.isel(at)), member.id)
        yield map_of(f"{what} of {law}; a cell opens the member", grid, cells)


def map_of(title: str, grid: Mapping[str, Sequence[str]], members: Mapping[tuple[int, ...], tuple[float, str]]) -> Map:
    """A map: those axes along the columns that fill them best, the others along the rows.

    Args:
        title: of the map.
        grid: {axis: its labels}.
        members: {place in the grid: (number, id of the member)}.
    """
    names = list(grid)

    def wide(axes: Iterable[int]) -> int:
        return math.prod(len(grid[names[axis]]) for axis in axes)

    some = (axes for count in range(len(names)) for axes in itertools.combinations(range(len(names)), count))
    fitting = [axes for axes in some if wide(axes) <= MOST_COLUMNS]
    # Of equally wide ones the later axes, but no seeds, which are best compared down a column.
    above = max(fitting, key=lambda axes: (wide(axes), "seed" not in {names[axis] for axis in axes}, axes), default=())
    beside = [axis for axis in range(len(names)) if axis not in above]
    right, down = (list(np.ndindex(*(len(grid[names[axis]]) for axis in axes))) for axes in (above, beside))
    scale = Range.of([np.array([value for value, _ in members.values()])])

    def cell(row: tuple[int, ...], column: tuple[int, ...]) -> Cell | None:
        index = dict(zip((*beside, *above), (*row, *column), strict=True))
        place = tuple(index[axis] for axis in range(len(names)))
        return _cell(*members[place], scale) if place in members else None

    return Map(
        title,
        [(names[axis], [grid[names[axis]][column[i]] for column in right]) for i, axis in enumerate(above)],
        [names[axis] for axis in beside] or [""],
        range(len(right)),
        [
            (
                [grid[names[axis]][i] for axis, i in zip(beside, row, strict=True)] or [""],
                [cell(row, column) for column in right],
            )
            for row in down
        ],
    )


def _cell(value: float, member: str, scale: Range) -> Cell:
    """The cell of a member."""
    if not np.isfinite(value):
        return Cell("-", "var(--tint)", "inherit", f"member-{member}")
    low, high = scale
    width = math.log(high / low) if scale.is_wide else high - low
    share = (math.log(value / low) if scale.is_wide else value - low) / (width or 1.0)
    colour = SEQUENTIAL[round(255 * share)]
    return Cell(number(value, 3), colour, "#000" if _luminance(colour) > EQUAL_CONTRAST else "#fff", f"member-{member}")


def _luminance(colour: str) -> float:
    """The relative luminance of a colour #RRGGBB, as the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def losses(sweeps: Mapping[str, Any]) -> list[Group]:
    """The loss of every member over t, in shades along the first axis.

    Args:
        sweeps: {caption: Dataset of a law}, a figure for each.
    """
    has = {caption: data for caption, data in sweeps.items() if "loss" in data}
    scale = Range.of([real(data.loss) for data in has.values()])
    panels = [drawn(caption, _fan(data.loss, data.status.dims), scale, of="loss") for caption, data in has.items()]
    return [Group("loss", panels, "One line for every member.")] if panels else []


def _fan(values: Any, dims: Collection[Any]) -> list[Line]:
    """Draw one curve for each member; members with the same value of the first swept key have the same colour."""
    if not dims:
        return [Line("", values.t.values, real(values), *coloured([""])[""])]
    first, *others = dims
    names = [f"{first} {text(label)}" for label in values[first].values]
    styles = coloured(names)
    columns = real(values.transpose(first, *others, "t")).reshape(len(names), -1, values.sizes["t"])
    lines = [
        Line(name, values.t.values, column, *styles[name])
        for name, members in zip(names, columns, strict=True)
        for column in members
    ]
    return lines[:: -(-len(lines) // MOST_MEMBERS)]


def _compared(record: SweepRecord) -> list[Group]:
    """The distance of every law from its reference over t, the mean over seeds, a line for every step."""
    groups: dict[str, list[Any]] = collections.defaultdict(list)
    for law, reference in pairs_of(record):
        data = distances(record, law, reference)
        for probe in (probe for probe in FIRST if probe in data and "t" in data[probe].dims):
            mean = data[probe].mean([dim for dim in data[probe].dims if dim in AXES and dim != "step"])
            groups[probe].append((f"{law} from {reference}", mean))
    return [
        Group(
            f"distance in {probe}",
            [
                drawn(caption, _fan(x, {"step"} & set(x.dims)), _positive(x), f"distance in {probe}")
                for caption, x in pairs
            ],
        )
        for probe, pairs in groups.items()
    ]


def _positive(distance: Any) -> Range:
    """The range of positive distances: at the start they are zero, and a logarithmic axis leaves that out."""
    values = real(distance)
    return Range.of([values[values > 0]])
