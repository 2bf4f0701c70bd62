"""The command `dynamics sweep status`, which needs no arrays: it answers at once."""

import argparse
import collections
from collections.abc import Mapping

import rich.table
from rich.console import Console
from rich.markup import escape

from dynamics.sweeps.ledger import STATES, Entry, Ledger
from dynamics.sweeps.sweep import Member, Sweep, read_sweep

__all__ = ["print_states", "sets", "status"]

SHOWN = 40  # members with a reason, printed


def status(arguments: argparse.Namespace) -> int:
    """The states of a sweep's members, and why some of them failed."""
    found = read_sweep(arguments.sweep)
    print_states(found, Ledger(arguments.sweep).entries(member.id for member in found.members))
    return 0


def sets(member: Member) -> str:
    """What a member sets, in one line."""
    return " ".join(f"{key}={value}" for key, value in member.overrides.items())


def print_states(found: Sweep, entries: Mapping[str, Entry]) -> None:
    """How many members are in which state, and why some of them failed."""
    counts = collections.Counter(entry.state for entry in entries.values())
    print(f"{found.name}: {len(found.members)} members, " + ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s]))
    shown = [(member, entries[member.id]) for member in found.members if entries[member.id].reason]
    table = rich.table.Table("member", "sets", "state", "attempts", "host", "reason", box=None)
    for member, entry in shown[:SHOWN]:
        cells = (member.id, sets(member), entry.state, str(entry.attempts), entry.line.get("host", ""), entry.reason)
        table.add_row(*map(escape, cells))
    if shown:
        Console(width=max(Console().width, 160)).print(table)
    if len(shown) > SHOWN:
        print(f"and {len(shown) - SHOWN} more; all of them are in members.csv when the launch has ended")
