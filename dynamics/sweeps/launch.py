"""Sweeps on this machine or a cluster: the folder, what is to run in it, and where."""

import importlib.util
import os
import pathlib
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from dynamics.config import ConfigError, require
from dynamics.runs.record import provenance, write_json
from dynamics.sweeps.groups import Group, groups, integrated
from dynamics.sweeps.jobs import Jobs, Settings
from dynamics.sweeps.ledger import FINISHED, Entry, Ledger
from dynamics.sweeps.sweep import Member, Sweep, read_sweep
from dynamics.sweeps.worker import Report, follow, work

__all__ = [
    "LAUNCHERS",
    "Plan",
    "attempts",
    "check_launcher",
    "estimate",
    "follows",
    "grouped",
    "join",
    "launch",
    "prepare",
]

LAUNCHERS = ("here", "local", "slurm")
PILOTS = 3  # groups of which a member is run for an estimate


def check_launcher(name: str) -> None:
    """Refuse a launcher that there is not, or that is not installed."""
    require(name in LAUNCHERS, "--launcher", name, f"must be one of {', '.join(LAUNCHERS)}")
    if name != "here":
        installed = importlib.util.find_spec("submitit") is not None
        require(installed, "--launcher", name, "needs submitit: install the extra, dynamics[slurm]")
    if name == "slurm":
        found = shutil.which("sbatch") and shutil.which("squeue")
        require(bool(found), "--launcher", name, "needs the commands sbatch and squeue of SLURM")


def join(coordinator: str, processes: int, process: int) -> None:
    """Make this process one of several that integrate together.

    Args:
        coordinator: HOST:PORT, the same for all; the first process listens there.
        processes: how many there are.
        process: which one this is, from 0 on.
    """
    require(process < processes, "--process", process, f"must be below --processes = {processes}")
    jax.distributed.initialize(coordinator, processes, process)


def follows(found: Sequence[Group]) -> bool:
    """Whether another process claims and writes; then this one has integrated with it, to the end."""
    if jax.process_index() == 0:
        return False
    follow(found)
    return True


def grouped(sweep: Sweep) -> tuple[list[Group], dict[int, str]]:
    """See groups; a sweep without any member that can run is refused."""
    found, refused = groups(sweep)
    if not found:
        number, reason = next(iter(refused.items()))
        raise ConfigError(f"no member can run; the first, {sweep.members[number].overrides}: {reason}")
    return found, refused


class Plan(NamedTuple):
    """What a sweep would take.

    Attributes:
        programs: to be compiled.
        seconds: on this machine, by compiling the programs of at most PILOTS groups and running one member of each.
        megabytes: on disk.
        refused: members that cannot run, and why.
    """

    programs: int
    seconds: float
    megabytes: float
    refused: list[tuple[Member, str]]


def estimate(sweep: Sweep, found: tuple[Sequence[Group], Mapping[int, str]]) -> Plan:
    """Measure what members take; nothing is written."""
    all_of_them, refused = found
    laws = [len(next(iter(group.members.values())).laws) for group in all_of_them]
    compile_s, member_s, size = [], [], []
    for group in all_of_them[:: -(-len(all_of_them) // PILOTS)]:
        begin = time.perf_counter()
        programs = group.programs(size=1)
        for program in programs.values():
            program.wait()
        integrated(programs, [next(iter(group.members.values()))])
        compiled = time.perf_counter()
        rows = integrated(programs, [next(iter(group.members.values()))])
        compile_s.append(compiled - begin)
        member_s.append(time.perf_counter() - compiled)
        size.append(sum(values.nbytes for values in rows.values()))
    members = sum(len(group.members) for group in all_of_them)
    seconds = np.mean(compile_s) * len(all_of_them) + np.mean(member_s) * members / jax.device_count()
    # Rows are stored as they finish, and once more on the swept axes.
    return Plan(
        sum(laws),
        float(seconds),
        2 * float(np.mean(size)) * members / 1e6,
        [(sweep.members[n], why) for n, why in refused.items()],
    )


def prepare(folder: pathlib.Path, sweep: Sweep, config_file: pathlib.Path) -> None:
    """Make the folder of a sweep, or bring it up to date.

    Raises:
        ConfigError: for a folder of something else.
    """
    if folder.exists():
        require((folder / "sweep.json").is_file(), "name", folder.name, f"exists in {folder.parent} and is no sweep")
        name = read_sweep(folder).name
        require(name == sweep.name, "name", folder.name, f"holds the sweep {name!r}, not {sweep.name!r}")
        _describe(folder, sweep, config_file)
        return
    beside = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        _describe(beside, sweep, config_file)
        beside.rename(folder)
    except OSError:
        if not (folder / "sweep.json").is_file():  # it may have been made by a launch beside this one
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _describe(folder: pathlib.Path, sweep: Sweep, config_file: pathlib.Path) -> None:
    Ledger(folder).create()
    for part in ("parts", "checkpoints"):
        (folder / part).mkdir(exist_ok=True)
    path = folder / "sweep.json"
    if not path.exists() or read_sweep(folder) != sweep:
        write_json(path, sweep.as_dict())
    write_json(folder / "provenance.json", {**provenance(sweep.config["dtype"]), "config": sweep.hash})
    shutil.copyfile(config_file, folder / "config.py")


def attempts(sweep: Sweep, entries: Mapping[str, Entry], retry_failed: bool) -> dict[int, int]:
    """{number of a member: which attempt at it is next} of those that a launch is to run.

    Those that wait, were interrupted or failed; with retry_failed also those that diverged. Those that run elsewhere
    are there with the attempt that goes on, to be waited for.
    """
    found = {}
    for number, member in enumerate(sweep.members):
        entry = entries[member.id]
        if entry.state == "running":
            found[number] = entry.attempts
        elif entry.state not in FINISHED or (retry_failed and entry.state == "diverged"):
            found[number] = entry.attempts + 1
    return found


def launch(
    folder: pathlib.Path,
    sweep: Sweep,
    found: tuple[Sequence[Group], Mapping[int, str]],
    launcher: str,
    settings: Settings,
    wanted: Mapping[int, int],
    report: Report,
    max_failures: int | None,
) -> None:
    """Run members until all have ended, or too many failed.

    Args:
        folder: prepared.
        sweep: its members.
        found: their groups.
        launcher: one of LAUNCHERS.
        settings: of the launch.
        wanted: see attempts.
        report: see work.
        max_failures: stop after so many members that failed or diverged.

    Raises:
        ConfigError: when jobs end and leave members.
    """
    if launcher == "here":
        work(folder, sweep, *found, wanted, report, True, max_failures, settings.checkpoint_s)
        return
    while wanted:
        jobs = Jobs(folder, launcher, settings, wanted, max_failures)
        entries = jobs.follow(sweep, report)
        states = {number: entries[sweep.members[number].id] for number in wanted}
        left = {n: e.attempts + 1 for n, e in states.items() if e.state in ("waiting", "interrupted")}
        if jobs.stopped:
            return
        allowed = f"its jobs end and leave {len(left)} members; see {folder / 'jobs'}"
        require(len(left) < len(wanted), "--launcher", launcher, allowed)
        wanted = left
