"""What a page is made of, before it is HTML. Texts are plain: the template escapes them."""

import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dynamics.config import plain
from dynamics.plots import Range, text
from dynamics.studies.tables import Table

CURVES, MOVIE = "curves", "movie"  # kinds of panels


@dataclass(frozen=True, eq=False)  # a key, by its identity
class Panel:
    """A figure with its words.

    Attributes:
        kind: CURVES or MOVIE.
        drawn: the Bokeh figure.
        caption: above it.
        description: what a screen reader says instead of the picture.
        legend: (name, colour, dash) of its lines.
    """

    kind: str
    drawn: Any
    caption: str
    description: str
    legend: Sequence[tuple[str, str, str]] = ()


class Bar(NamedTuple):
    """A colour bar: the values at its ends, and its colours from left to right."""

    low: str
    high: str
    stops: str

    @classmethod
    def of(cls, scale: Range) -> "Bar":
        """The bar of a scale."""
        low, high = scale.of_colours
        return cls(text(low), text(high), ", ".join(scale.palette[::15]))


class Group(NamedTuple):
    """Panels of one probe or of one kind, under a heading."""

    heading: str
    panels: list[Panel]
    note: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class Article:
    """All that a page says about one record.

    Attributes:
        title: the name of its folder.
        what: one line on what was run.
        state: of the record.
        reason: why it is not done.
        origin: its provenance.
        config: its resolved config.
        tables: of numbers.
        notes: sentences on how far the numbers can be trusted.
        groups: the parts that lie side by side with those of other records, each a list of groups.
        maps: of a sweep; see dynamics.report.sweep.
        members: of a sweep, by the keys of its maps' cells.
        claims: tables of verdicts.
    """

    title: str
    what: str
    state: str
    reason: str
    origin: Mapping[str, Any]
    content: Mapping[str, Any]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    groups: Sequence[Sequence[Group]] = ()
    maps: Sequence[Any] = ()
    members: Sequence[Any] = ()
    claims: Sequence[Mapping[str, Any]] = ()
    panels: list[Panel] = field(init=False)

    def __post_init__(self):
        panels = [panel for part in self.groups for group in part for panel in group.panels]
        object.__setattr__(self, "panels", panels)

    @property
    def words(self) -> list[str]:
        """The words of the command that made the record, as they can be typed."""
        return [shlex.quote(word) for word in self.origin["command"]]

    @property
    def config(self) -> str:
        """The resolved config as text."""
        return json.dumps(self.content, indent=2, ensure_ascii=False)

    @property
    def provenance(self) -> dict[str, str]:
        """Where the numbers come from, by name."""
        keys = ("config", "commit", "dtype", "device", "machine", "python", "flags")
        shown = {key: str(self.origin.get(key, "")) for key in keys}
        versions = ", ".join(f"{name} {version}" for name, version in self.origin.get("versions", {}).items())
        code = ", ".join(f"{name} {digest}" for name, digest in self.origin.get("code", {}).items())
        return {key: value for key, value in {**shown, "versions": versions, "your code": code}.items() if value}

    @property
    def citation(self) -> str:
        """A BibTeX entry of the record."""
        config, commit = self.origin["config"], self.origin["commit"]
        note = f"Record {self.title}, config {config}, commit {commit}"
        return f"@misc{{dynamics-{config},\n  title = {{dynamics: {' '.join(self.words)}}},\n  note = {{{note}}}\n}}"


def content_of(record: Any) -> dict[str, Any]:
    """The resolved config of a record as plain values."""
    return plain(record.config)


def number(value: Any, digits: int = 4) -> str:
    """A number as people write it; "-" for one that does not exist."""
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def verdicts_of(folder: pathlib.Path) -> list[dict[str, Any]]:
    """[{"title": of a table, "claims": its verdicts}] of a folder; none where nothing was judged."""
    file = folder / "claims.json"
    if not file.is_file():
        return []
    content = json.loads(file.read_text())
    return [
        {"title": content.get("titles", {}).get(key, key), "claims": verdicts}
        for key, verdicts in content["tables"].items()
    ]
