"""The command `dynamics sweep status`, and tables as all commands print them; no JAX, so that it answers at once."""

import argparse
import collections
from collections.abc import Iterable, Mapping, Sequence

import rich.table
from rich.console import Console
from rich.markup import escape

from dynamics.sweeps.ledger import STATES, Entry, entries_of
from dynamics.sweeps.members import Member
from dynamics.sweeps.sweep import read_sweeps

SHOWN = 40  # most members that are printed with their reasons
NARROWEST = 160  # characters that a table may take, also where no terminal says how wide it is


def status(arguments: argparse.Namespace) -> int:
    """Print the states of a sweep's members, and why some of them failed."""
    sweeps, entries = read_sweeps(arguments.sweep), entries_of(arguments.sweep)
    for case, sweep in sweeps.items():
        print_states(case or sweep.name, sweep.members, entries)
    return 0


def sets(member: Member) -> str:
    """The overrides of a member in one line."""
    return " ".join(f"{key}={value}" for key, value in member.overrides.items())


def print_states(name: str, members: Sequence[Member], entries: Mapping[str, Entry]) -> None:
    """Print how many members are in each state, and why some of them failed."""
    counts = collections.Counter(entries[member.id].state for member in members)
    print(f"{name}: {len(members)} members, " + ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s]))
    shown = [(member, entries[member.id]) for member in members if entries[member.id].reason]
    rows = [
        (member.id, sets(member), entry.state, str(entry.attempts), entry.line.get("host", ""), entry.reason)
        for member, entry in shown[:SHOWN]
    ]
    if shown:
        print_table(("member", "sets", "state", "attempts", "host", "reason"), rows)
    if len(shown) > SHOWN:
        print(f"and {len(shown) - SHOWN} more; all of them are in members.csv when the launch has ended")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print rows of texts as a table in the terminal."""
    table = rich.table.Table(*columns, title=title, title_justify="left", box=None)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(width=max(Console().width, NARROWEST)).print(table)
