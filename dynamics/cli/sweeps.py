"""The command `dynamics sweep`, and how every command that integrates many paths launches them."""

import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rich.table
from absl import flags
from rich.console import Console
from rich.markup import escape

from dynamics.cli.arguments import called, check_module, check_name, config_file, flag_values, parsed, stem
from dynamics.cli.commands import draw
from dynamics.cli.console import Paths
from dynamics.cli.status import print_states, sets
from dynamics.config import ConfigError, build, require
from dynamics.environment import configure_compiler
from dynamics.runs import processes
from dynamics.runs.tracking import SweepTracker
from dynamics.sweeps.launch import Cost, Launch, Resources, Source, attempts, estimate, plan_of, prepare
from dynamics.sweeps.launchers import LAUNCHERS
from dynamics.sweeps.ledger import FINISHED, Ledger, is_full
from dynamics.sweeps.paths import Plan
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.sweep import Sweep
from dynamics.sweeps.worker import Limits, follow


@dataclass(frozen=True)
class Options:
    """The flags of commands that launch paths.

    Attributes:
        launcher: a name in LAUNCHERS.
        retry_failed: whether those that diverged are integrated again, too.
        max_failures: stop after so many failures; None for no limit.
    """

    launcher: str = "here"
    retry_failed: bool = False
    max_failures: int | None = None

    def __post_init__(self):
        require(self.launcher in LAUNCHERS, "--launcher", self.launcher, f"must be one of {', '.join(LAUNCHERS)}")
        LAUNCHERS[self.launcher]().check()


def define(values: flags.FlagValues) -> None:
    """Define the flags of Options."""
    flags.DEFINE_string("launcher", "here", "here, local (processes) or slurm (jobs).", flag_values=values)
    flags.DEFINE_bool("retry-failed", False, "Integrate paths that diverged again, too.", flag_values=values)
    flags.DEFINE_bool("fail-fast", False, "Stop after the first failure.", flag_values=values)
    flags.DEFINE_integer("max-failures", None, "Stop after so many failures.", lower_bound=1, flag_values=values)


def options_of(values: flags.FlagValues) -> Options:
    """The options on a command line."""
    most = 1 if values["fail-fast"].value else values["max-failures"].value
    return Options(str(values["launcher"].value), bool(values["retry-failed"].value), most)


def _define(values: flags.FlagValues) -> None:
    define(values)
    flags.DEFINE_bool("dry-run", False, "Print what would run, and write nothing.", flag_values=values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of jax.distributed.", flag_values=values)
    flags.DEFINE_integer("processes", 1, "Of jax.distributed.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("process", 0, "This one.", lower_bound=0, flag_values=values)


def sweep(argv: list[str], argv0: str) -> int:
    """Run the members of a sweep that have not been run."""
    begin = time.monotonic()
    if {"--help", "-h", "-help"} & set(argv):
        print(
            "dynamics sweep --config=FILE[:variant] [--config.a.b=value ...] [--dry-run] ...\n"
            f"dynamics sweep status DIR\n{flag_values(argv, _define).get_help()}"
        )
        return 0
    values, config = parsed(argv, _define)
    option: dict[str, Any] = {name: values[name].value for name in values}
    file, variant = config_file(argv)
    name = stem(argv) + (f"-{variant}" if variant else "")
    check_name(option["name"])
    check_module("figures", config.figures)
    sweeps = {"": Sweep.of(name, config, _overrides(file, variant))}
    folder = pathlib.Path(option["workdir"]) / (option["name"] or name)
    options = options_of(values)
    if option["coordinator"]:
        processes.join(option["coordinator"], option["processes"], option["process"])
    configure_compiler()
    planned = plan_of(sweeps)
    if option["dry-run"]:
        _print_cost(sweeps[""], planned, estimate(planned))
        return 0
    if not processes.is_first():
        follow(planned)
        return 0
    tracker = SweepTracker(sweeps[""].config["wandb"], folder, name, len(sweeps[""].members))
    record, interrupted = launched(
        folder, Source("sweep", file, sweeps), planned, options, _Mirror(tracker, SweepRecord(folder))
    )
    tracker.finish(sweeps[""].config, record.table())
    for path in () if interrupted else draw(record):
        print(path)
    entries = record.entries
    print_states(record.sweep.name, record.sweep.members, entries)
    ended = sum(entry.state in FINISHED for entry in entries.values())
    print(f"{ended} of {len(entries)} members have ended, after {time.monotonic() - begin:.0f} s: {folder}")
    print(f"next: {argv0} sweep status {folder}   or the same command again for what is left")
    return 130 if interrupted else int(any(entry.state != "done" for entry in entries.values()))


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
    source: Source,
    planned: Plan,
    options: Options,
    mirror: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _: None,
) -> tuple[SweepRecord, bool]:
    """Integrate the paths of a folder that have not ended, with progress; record what they gave.

    Args:
        folder: of the sweep; made if it is not there.
        source: what the folder is made from.
        planned: the paths of its members.
        options: see Options.
        mirror: called with the lines of the journal of paths that have ended.

    Returns:
        The record of the first case, and whether Ctrl-C came.

    Raises:
        ConfigError: for a folder of something else, and when a disk is full.
    """
    case, first = next(iter(source.sweeps.items()))
    resources = build(Resources, first.config["launch"], "launch.")
    record, interrupted = SweepRecord(folder, case), False
    try:
        prepare(folder, source, planned)
        wanted = attempts(Ledger(folder).entries(record.members.ids), options.retry_failed)
        launch = Launch(folder, planned, wanted, resources, Limits(options.max_failures, resources.checkpoint_s))
        with Paths(len(wanted)) as bar:

            def report(lines: list[dict[str, Any]]) -> None:
                bar(lines)
                mirror(lines)

            try:
                LAUNCHERS[options.launcher]().run(launch, report)
            except KeyboardInterrupt:
                interrupted = True
        record.consolidate()
    except OSError as error:
        if not is_full(error):
            raise
        raise ConfigError(f"{folder}: {error.strerror}; what had finished is kept") from None
    return record, interrupted


def _overrides(file: pathlib.Path, variant: str | None) -> list[dict[str, Any]]:
    """The overrides that get_sweep of a config file returns."""
    overrides = called(file, "get_sweep", variant)
    are_overrides = isinstance(overrides, list) and all(isinstance(override, Mapping) for override in overrides)
    require(are_overrides, "--config", str(file), "its get_sweep() must return a list of overrides, such as seeds(3)")
    return overrides


def _print_cost(swept: Sweep, planned: Plan, cost: Cost) -> None:
    table = rich.table.Table("axis", "values", box=None)
    for key, (dim, labels) in swept.axes.labels.items():
        shown = ", ".join(f"{label:.6g}" if isinstance(label, float) else str(label) for label in labels[:8])
        more = f", ... ({len(labels)})" if len(labels) > 8 else ""
        table.add_row(escape(key), escape(shown + more) + ("" if dim in (key, None) else f"   with {dim}"))
    Console(width=max(Console().width, 140)).print(table)
    plain = rich.table.Table("members", "paths", "compiled programs", "estimated time", "estimated disk", box=None)
    plain.add_row(
        str(len(swept.members)),
        str(cost.paths),
        str(cost.programs),
        f"{cost.seconds:.3g} s",
        f"{cost.megabytes:.3g} MB",
    )
    Console().print(plain)
    for member in swept.members:
        if member.id in planned.refused:
            print(f"cannot run: {member.overrides}: {planned.refused[member.id]}")
