"""The states of a sweep's members, which follow from the states of their paths."""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dynamics.sweeps.ledger import Entry, Ledger

__all__ = ["Members", "entries_of", "read_members"]

# A member's state is the first of these that one of its paths has.
PRECEDENCE = ("running", "interrupted", "waiting", "failed", "diverged", "done")


class Members(NamedTuple):
    """The paths that the members of a folder need; see dynamics.sweeps.paths.Plan.

    Attributes:
        paths: {id of a member: {law: id of its path}}.
        refused: {id of a member: why it cannot run}; the ledger has an entry for it under the member's own id.
    """

    paths: Mapping[str, Mapping[str, str]]
    refused: Mapping[str, str]

    @property
    def ids(self) -> list[str]:
        """The ids in the ledger: those of all paths, and of the members that are refused."""
        return [*dict.fromkeys(path for paths in self.paths.values() for path in paths.values()), *self.refused]

    def id_of(self, member: str, law: str) -> str:
        """The id in the ledger of one law of a member."""
        return member if member in self.refused else self.paths[member][law]

    def entries(self, of_paths: Mapping[str, Entry]) -> dict[str, Entry]:
        """The entry of every member."""
        return {member: self._entry(member, of_paths) for member in self.paths}

    def _entry(self, member: str, of_paths: Mapping[str, Entry]) -> Entry:
        if member in self.refused:
            return of_paths[member]
        entries = {law: of_paths[path] for law, path in self.paths[member].items()}
        state = min((entry.state for entry in entries.values()), key=PRECEDENCE.index)
        reasons = {law: entry.reason for law, entry in entries.items() if entry.state != "done" and entry.reason}
        line: dict[str, Any] = {
            "reason": "; ".join(f"{law}: {reason}" for law, reason in reasons.items()),
            "laws": {law: entry.line["numbers"] for law, entry in entries.items() if "numbers" in entry.line},
        }
        seconds = [entry.line["seconds"] for entry in entries.values() if "seconds" in entry.line]
        line |= {"seconds": sum(seconds)} if seconds else {}
        hosts = list(dict.fromkeys(entry.line["host"] for entry in entries.values() if "host" in entry.line))
        line |= {"host": " ".join(hosts)} if hosts else {}
        return Entry(state, max(entry.attempts for entry in entries.values()), line)

    def ended(self, lines: Iterable[Mapping[str, Any]], before: set[str]) -> list[str]:
        """The members whose last path ended with these lines of the journal; the new ids are added to `before`."""
        new = {line["id"] for line in lines} - before
        before |= new
        needed = {member: self.ids_of(member) for member in self.paths}
        return [member for member, ids in needed.items() if ids <= before and ids & new]

    def ids_of(self, member: str) -> set[str]:
        """The ids in the ledger of all laws of a member."""
        return {member} if member in self.refused else set(self.paths[member].values())


def read_members(folder: pathlib.Path) -> Members:
    """The members of a sweep folder."""
    content = json.loads((folder / "sweep.json").read_text())
    return Members(content["paths"], content["refused"])


def entries_of(folder: pathlib.Path) -> dict[str, Entry]:
    """The entry of every member of a sweep folder."""
    members = read_members(folder)
    return members.entries(Ledger(folder).entries(members.ids))
