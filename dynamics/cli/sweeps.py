"""The command `dynamics sweep`."""

import functools
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import rich.table
from absl import flags
from rich.console import Console
from rich.markup import escape

from dynamics.cli.arguments import check_module, check_name, config_file, flag_values, parsed
from dynamics.cli.commands import draw
from dynamics.cli.console import Members
from dynamics.cli.status import print_states, sets
from dynamics.config import ConfigError, build, module_of, require
from dynamics.environment import configure_compiler
from dynamics.runs.tracking import SweepTracker
from dynamics.sweeps.jobs import Settings
from dynamics.sweeps.launch import (
    Plan,
    attempts,
    check_launcher,
    estimate,
    follows,
    grouped,
    join,
    launch,
    prepare,
)
from dynamics.sweeps.ledger import FINISHED, Ledger, is_full
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.sweep import Sweep

__all__ = ["sweep"]


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_bool("dry-run", False, "Print what would run, and write nothing.", flag_values=values)
    flags.DEFINE_string("launcher", "here", "here, local (processes) or slurm (jobs).", flag_values=values)
    flags.DEFINE_bool("retry-failed", False, "Run those that diverged again, too.", flag_values=values)
    flags.DEFINE_bool("fail-fast", False, "Stop after the first failure.", flag_values=values)
    flags.DEFINE_integer("max-failures", None, "Stop after so many failures.", lower_bound=1, flag_values=values)
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
    name = file.stem + (f"-{variant}" if variant else "")
    check_name(option["name"])
    check_module("figures", config.figures)
    found = Sweep.of(name, config, _overrides(file, variant))
    folder = pathlib.Path(option["workdir"]) / (option["name"] or name)

    settings = build(Settings, found.config["launch"], "launch.")
    check_launcher(option["launcher"])
    if option["coordinator"]:
        join(option["coordinator"], option["processes"], option["process"])
    configure_compiler()
    of_form = grouped(found)
    if option["dry-run"]:
        _print_plan(found, estimate(found, of_form))
        return 0
    if follows(of_form[0]):
        return 0
    try:
        return _launched(found, of_form, folder, file, settings, option, argv0, begin)
    except OSError as error:
        if not is_full(error):
            raise
        raise ConfigError(f"{folder}: {error.strerror}; what had finished is kept") from None


def _launched(
    found: Sweep,
    of_form: Any,
    folder: pathlib.Path,
    file: pathlib.Path,
    settings: Any,
    option: Mapping[str, Any],
    argv0: str,
    begin: float,
) -> int:
    prepare(folder, found, file)
    ledger, ids = Ledger(folder), [member.id for member in found.members]
    wanted = attempts(found, ledger.entries(ids), option["retry-failed"])
    most = 1 if option["fail-fast"] else option["max-failures"]
    record, interrupted = SweepRecord(folder), False
    tracker = SweepTracker(found.config["wandb"], folder, found.name, len(wanted))
    names = {member.id: sets(member) for member in found.members}
    with Members(len(wanted)) as bar:

        def report(lines: list[dict[str, Any]]) -> None:
            bar(lines)
            for line in lines:
                if "part" in line:
                    tracker.member(names[line["id"]], functools.partial(record.mirrored, line))

        try:
            launch(folder, found, of_form, option["launcher"], settings, wanted, report, most)
        except KeyboardInterrupt:
            interrupted = True
    record.consolidate()
    tracker.finish(found.config, record.table())
    entries = ledger.entries(ids)
    for path in () if interrupted else draw(record):
        print(path)
    print_states(found, entries)
    ended = sum(entry.state in FINISHED for entry in entries.values())
    print(f"{ended} of {len(ids)} members have ended, after {time.monotonic() - begin:.0f} s: {folder}")
    print(f"next: {argv0} sweep status {folder}   or the same command again for what is left")
    bad = sum(entry.state != "done" for entry in entries.values())
    return 130 if interrupted else int(bad > 0)


def _overrides(file: pathlib.Path, variant: str | None) -> list[dict[str, Any]]:
    """What get_sweep of a config file gives."""
    module = module_of(file)
    require(hasattr(module, "get_sweep"), "--config", str(file), "needs a function get_sweep beside get_config")
    return module.get_sweep(variant) if variant else module.get_sweep()


def _print_plan(found: Sweep, plan: Plan) -> None:
    table = rich.table.Table("axis", "values", box=None)
    for key, (dim, labels) in found.axes.labels.items():
        shown = ", ".join(f"{label:.6g}" if isinstance(label, float) else str(label) for label in labels[:8])
        more = f", ... ({len(labels)})" if len(labels) > 8 else ""
        table.add_row(escape(key), escape(shown + more) + ("" if dim in (key, None) else f"   with {dim}"))
    Console(width=max(Console().width, 140)).print(table)
    plain = rich.table.Table("members", "compiled programs", "estimated time", "estimated disk", box=None)
    plain.add_row(str(len(found.members)), str(plan.programs), f"{plan.seconds:.3g} s", f"{plan.megabytes:.3g} MB")
    Console().print(plain)
    for member, reason in plan.refused:
        print(f"cannot run: {member.overrides}: {reason}")
