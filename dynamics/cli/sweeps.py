"""The command `dynamics sweep`, and how every command that integrates many paths launches them."""

import argparse
import functools
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dynamics.cli.commands import draw, reported
from dynamics.cli.console import Paths
from dynamics.cli.modules import ConfigFile, check_module, config_of
from dynamics.cli.status import print_states, print_table, sets
from dynamics.config import ConfigError, build, require
from dynamics.environment import use_compile_cache
from dynamics.mistakes import check_name
from dynamics.runs import processes
from dynamics.runs.tracking import SweepTracker
from dynamics.sweeps.launch import Launch, Resources, attempts, changed_code, prepare
from dynamics.sweeps.launchers import LAUNCHERS
from dynamics.sweeps.ledger import FINISHED, Ledger, is_full
from dynamics.sweeps.paths import Plan, estimate, plan
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.sweep import Sweep
from dynamics.sweeps.worker import follow


def check_launching(arguments: argparse.Namespace) -> None:
    """Refuse a launcher that cannot be used here, and a limit of less than one failure."""
    allowed = f"must be one of {', '.join(LAUNCHERS)}"
    require(arguments.launcher in LAUNCHERS, "--launcher", arguments.launcher, allowed)
    LAUNCHERS[arguments.launcher]().check()
    most = arguments.max_failures
    require(most is None or most >= 1, "--max-failures", most, "must be at least 1")


def sweep(arguments: argparse.Namespace) -> int:
    """Run the members of a sweep that have not been run."""
    begin = time.monotonic()
    use_compile_cache()  # before a config file uses a device
    file, config = config_of(arguments)
    name = file.stem + (f"-{file.variant}" if file.variant else "")
    check_name("name", arguments.name or name)
    check_module("figures", config.figures)
    swept = Sweep.of(name, config, overrides_of(file))
    folder = arguments.workdir / (arguments.name or name)
    check_launching(arguments)
    if arguments.coordinator:
        processes.join(arguments.coordinator, arguments.processes, arguments.process)
    planned = plan({"": swept})
    if arguments.dry_run:
        _print_cost(swept, planned)
        return 0
    if not processes.is_first():
        follow(planned)
        return 0
    tracker = SweepTracker(swept.config["wandb"], folder, name, len(swept.members))
    mirror = _Mirror(tracker, SweepRecord(folder))
    record, interrupted = launched(folder, "sweep", file.path, planned, arguments, mirror)
    tracker.finish(swept.config, record.table())
    entries = record.entries
    ended = sum(entry.state in FINISHED for entry in entries.values())
    print_states(record.sweep.name, record.sweep.members, entries)
    print(f"{ended} of {len(entries)} members have ended, after {time.monotonic() - begin:.0f} s: {folder}")
    for path in [*draw(record), *reported(record, arguments)] if ended and not interrupted else ():
        print(path)
    print(f"next: {sys.argv[0]} sweep status {folder}   or the same command again for what is left")
    return 130 if interrupted else int(any(entry.state != "done" for entry in entries.values()))


def overrides_of(file: ConfigFile) -> list[Mapping[Any, Any]]:
    """The overrides that get_sweep of a config file returns."""
    overrides = file.call("get_sweep")
    are_overrides = isinstance(overrides, list) and all(isinstance(override, Mapping) for override in overrides)
    allowed = "its get_sweep() must return a list of overrides, such as seeds(3)"
    require(are_overrides, "--config", str(file.path), allowed)
    return overrides


class _Mirror:
    """Mirrors members to wandb when all their paths have ended."""

    def __init__(self, tracker: SweepTracker, record: SweepRecord):
        self._tracker, self._record, self._ended = tracker, record, set[str]()

    def __call__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Paths have ended."""
        ended = self._record.members.ended(lines, self._ended)
        for member in self._record.sweep.members if ended else ():
            if member.id in ended:
                self._tracker.member(sets(member), functools.partial(self._record.mirrored, member))


def launched(
    folder: pathlib.Path,
    kind: str,
    file: pathlib.Path,
    planned: Plan,
    arguments: argparse.Namespace,
    mirror: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _: None,
) -> tuple[SweepRecord, bool]:
    """Integrate the paths of a folder that have not ended, with progress; record what they gave.

    Args:
        folder: of the sweep; made if it is not there.
        kind: see dynamics.sweeps.launch.prepare.
        file: see dynamics.sweeps.launch.prepare.
        planned: the sweeps and their paths.
        arguments: of the command: launcher, retry_failed and max_failures.
        mirror: called with the lines of the journal of paths that have ended.

    Returns:
        The record of the first case, and whether Ctrl-C came.

    Raises:
        ConfigError: for a folder of something else, and when a disk is full.
    """
    case, first = next(iter(planned.sweeps.items()))
    resources = build(Resources, first.config["launch"], "launch.")
    record, interrupted = SweepRecord(folder, case), False
    say_what_changed(folder, planned)
    try:
        prepare(folder, kind, file, planned)
        wanted = attempts(Ledger(folder).entries(record.members.ids), arguments.retry_failed)
        launch = Launch(folder, planned, wanted, resources, arguments.max_failures)
        with Paths(len(wanted)) as bar:

            def report(lines: list[dict[str, Any]]) -> None:
                bar(lines)
                mirror(lines)

            try:
                LAUNCHERS[arguments.launcher]().run(launch, report)
            except KeyboardInterrupt:
                interrupted = True
        record.consolidate()
    except OSError as error:
        if not is_full(error):
            raise
        raise ConfigError(f"{folder}: {error.strerror}; what had finished is kept") from None
    return record, interrupted


def say_what_changed(folder: pathlib.Path, planned: Plan) -> None:
    """Print that a user's code is not what it was at the last launch, if paths are integrated again for it."""
    if line := changed_code(folder, planned):
        print(line, flush=True)


def _print_cost(swept: Sweep, planned: Plan) -> None:
    rows = []
    for key, (dim, labels) in swept.axes.labels.items():
        shown = ", ".join(f"{label:.6g}" if isinstance(label, float) else str(label) for label in labels[:8])
        more = f", ... ({len(labels)})" if len(labels) > 8 else ""
        rows.append((key, shown + more + ("" if dim in (key, None) else f"   with {dim}")))
    print_table(("axis", "values"), rows)
    seconds, megabytes = estimate(planned)
    counts = (len(swept.members), sum(len(group.paths) for group in planned.groups), len(planned.groups))
    cost = (*map(str, counts), f"{seconds:.3g} s", f"{megabytes:.3g} MB")
    print_table(("members", "paths", "compiled programs", "estimated time", "estimated disk"), [cost])
    for member in swept.members:
        if member.id in planned.refused:
            print(f"cannot run: {member.overrides}: {planned.refused[member.id]}")
