"""The page of a run: its laws in a table, every probe over time, and its certificates."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dynamics.analysis.invariants import allowed_drift
from dynamics.plots import Line, Range, coloured, curves, lines_of, matrices, movie, pictures_of, real, time_of
from dynamics.report.parts import CURVES, MOVIE, Article, Bar, Group, Panel, content_of, number
from dynamics.runs.record import Record
from dynamics.studies.tables import Table
from dynamics.trajectory import NOTES

FIRST = ("loss", "margin", "scores", "attention")
PICTURES = 8  # of one probe of one law: more layers, heads or types are named, not drawn
ALL_PICTURES = 32  # of one record
FRAME_BYTES = 900_000  # of all movies of a page
NAMED_LINES = 12  # a legend with more is longer than its figure


class Runs:
    """The runs of a page, which share the scales of their probes and the room for frames."""

    def __init__(self, records: Sequence[Record]):
        """Read the laws of the records."""
        self.data = {(record.path, law): record[law].load() for record in records for law in record.laws}
        self._scales: dict[str, Range] = {}

    def scale(self, probe: str) -> Range:
        """The range of a probe in all laws of all runs."""
        if probe not in self._scales:
            self._scales[probe] = Range.of([real(data[probe]) for data in self.data.values() if probe in data])
        return self._scales[probe]

    @functools.cached_property
    def frames(self) -> int:
        """Frames of every movie, so many that all of them have room."""
        cells = sum(
            sum(picture[0].size for picture in matrices(data[probe], PICTURES).values())
            for data in self.data.values()
            for probe in data
            if dims(data[probe]) >= 2
        )
        return max(2, FRAME_BYTES // max(cells, 1))

    def article(self, record: Record) -> Article:
        """What the page says about one of the runs."""
        laws = {law: self.data[record.path, law] for law in record.laws}
        status, config = record.status, record.config
        return Article(
            title=record.path.name,
            what=f"run: {config.model.name} on {config.task.name}, seed {config.seed}",
            state=record.state,
            reason=status["reason"],
            origin=record.provenance,
            content=content_of(record),
            tables=[_table(status["laws"])],
            notes=[note for law, summary in status["laws"].items() for note in _certificate(law, summary)],
            groups=[list(part) for part in (self._numbers(record, laws), self._movies(laws), self._many(laws))]
            + [[*self._errors(record), *self._solver(laws)]],
        )

    def _numbers(self, record: Record, laws: Mapping[str, Any]) -> Iterator[Group]:
        """Probes with one number at a time, all laws in one figure."""
        panels = [self._together(probe, laws) for probe in named(laws, 0) if probe not in NOTES]
        if panels:
            yield Group("Numbers over time", panels)

    def _solver(self, laws: Mapping[str, Any]) -> Iterator[Group]:
        """What the solvers noted."""
        panels = [self._together(probe, laws) for probe in named(laws, 0) if probe in NOTES]
        if panels:
            yield Group("Notes of the solvers", panels)

    def _together(self, probe: str, laws: Mapping[str, Any]) -> Panel:
        """A probe with one number at a time, all laws in one figure."""
        styles = coloured(list(laws))
        found = {law: data[probe] for law, data in laws.items() if has(data, probe)}
        lines = [Line(law, over(x), real(x), *styles[law]) for law, x in found.items()]
        return drawn(probe, lines, self.scale(probe))

    def _errors(self, record: Record) -> Iterator[Group]:
        """The errors of flows that were measured."""
        panels = []
        for law in (law for law in record.laws if f"{law}_error" in record.groups()):
            data = record[f"{law}_error"].load()
            styles = coloured([str(name) for name in data.data_vars])
            lines = [Line(name, data.t.values, real(data[name]), *style) for name, style in styles.items()]
            panels.append(drawn(law, lines, Range.of([line.values[line.values > 0] for line in lines]), of="errors"))
        if panels:
            note = "The largest relative difference of every probe to an integration at tighter tolerances."
            yield Group("Measured errors", panels, note)

    def _movies(self, laws: Mapping[str, Any]) -> Iterator[Group]:
        """Probes with a matrix at a time: a picture for every law, layer, head, ... that moves with the slider."""
        left = ALL_PICTURES
        for probe in named(laws, 2):
            panels, most, all_of = [], max(1, min(PICTURES, left // len(laws))), 0
            for law, data in laws.items():
                if not has(data, probe):
                    continue
                all_of = max(all_of, pictures_of(data[probe]))
                for label, values in matrices(data[probe], most).items():
                    caption = ", ".join(filter(None, (law, label)))
                    words = f"{probe} of {caption} as colours over {' and '.join(map(str, values.dims[1:]))}"
                    says = f"{words}; the slider at the end of the page chooses the time"
                    panels.append(Panel(MOVIE, movie(values, self.scale(probe), self.frames), caption, says))
            left = max(0, left - len(panels))
            more = f"The first {most} of {all_of} pictures of every law." if all_of > most else ""
            yield Group(probe, panels, more, Bar.of(self.scale(probe)))

    def _many(self, laws: Mapping[str, Any]) -> Iterator[Group]:
        """Probes with several numbers at a time, such as spectra and norms: a figure for every law."""
        for probe in named(laws, 1):
            panels = []
            for law, data in laws.items():
                if has(data, probe):
                    panels.append(drawn(law, lines_of(data[probe]), self.scale(probe), of=probe))
            yield Group(probe, panels)


def dims(values: Any) -> int:
    """The number of dimensions of a probe beside time; -1 for what is no probe over time."""
    is_probe = {"t", "checkpoint"} & set(values.dims) and values.dtype.kind in "iufcb"
    return len(values.dims) - 1 if is_probe and np.isfinite(values.values).any() else -1


def has(data: Any, probe: str) -> bool:
    """Whether a Dataset has finite values of a probe over time."""
    return probe in data and dims(data[probe]) >= 0


def named(laws: Mapping[str, Any], count: int) -> list[str]:
    """The probes of laws with `count` dimensions beside time (2: two or more)."""
    probes = dict.fromkeys(str(name) for data in laws.values() for name in data.data_vars)
    chosen = [
        name for name in probes if any(name in data and min(dims(data[name]), 2) == count for data in laws.values())
    ]
    return sorted(chosen, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def over(values: Any) -> Any:
    """The times of a probe."""
    return values[time_of(values)].values


def drawn(caption: str, lines: Sequence[Line], scale: Range, of: str = "") -> Panel:
    """Curves as a panel.

    Args:
        caption: above it.
        lines: to draw.
        scale: of their values.
        of: the name of what is drawn, where the caption does not say it.
    """
    said = [f"{line.name}: {number(float(line.values[0]))} to {number(float(line.values[-1]))}" for line in lines]
    t = max((float(line.t[-1]) for line in lines), default=0.0)
    words = f"{' of '.join(filter(None, (of, caption)))} over time up to t = {t:.4g}. {'; '.join(said[:NAMED_LINES])}"
    legend = list(dict.fromkeys((line.name, line.colour, line.dash) for line in lines))
    if len(lines) == 1 and lines[0].name == of:
        legend = []
    if len(legend) > NAMED_LINES:  # from the first to the last shade
        legend = [legend[i * (len(legend) - 1) // 4] for i in range(5)]
    return Panel(CURVES, curves(lines, scale), caption, words, legend)


def _table(laws: Mapping[str, Any]) -> Table:
    keys = {"loss": "last loss", "classification_time": "classified at t", "drift": "drift", "steps": "steps"}
    keys |= {"solve_s": "seconds", "compile_s": "seconds to compile"}
    has = {key: name for key, name in keys.items() if any(key in summary for summary in laws.values())}
    rows = [
        (law, summary["state"], number(summary.get("end")), *(number(summary.get(key)) for key in has))
        for law, summary in laws.items()
    ]
    return Table("Laws, each from the same start", ("law", "state", "end t", *has.values()), rows)


def _certificate(law: str, summary: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on how far a law can be trusted."""
    if summary["state"] != "done":
        yield f"{law}: {summary['reason']}."
    if "rtol" in summary and "drift" in summary:
        allowed, rule = allowed_drift(summary["rtol"], bool(summary.get("stabilised")))
        kept = "kept" if summary["drift"] <= allowed else "BROKEN: do not trust this flow"
        yield f"Certificate of {law}: drift {summary['drift']:.1e}, allowed {rule} = {allowed:.1e}: {kept}."
    if "error" in summary:
        errors = ", ".join(f"{probe} {error:.1e}" for probe, error in summary["error"].items())
        yield f"Largest relative errors of {law} against tighter tolerances: {errors}."
