"""From sweeps to a folder in which they run: what has to run, where it is recorded, and what it would take."""

import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from dynamics.config import ConfigError, config_hash, require
from dynamics.runs.record import provenance, write_json
from dynamics.sweeps.ledger import FINISHED, Entry, Ledger
from dynamics.sweeps.paths import Plan, plan
from dynamics.sweeps.rows import rows_of
from dynamics.sweeps.sweep import Sweep, read_sweeps
from dynamics.sweeps.worker import Attempts, Limits, integrated

PILOTS = 3  # groups of which a path is integrated for an estimate


class Source(NamedTuple):
    """The origin of a sweep folder.

    Attributes:
        kind: the command that makes it: "sweep", "compare" or "claims".
        file: the config file or the module; executed again by jobs, for what it registers.
        sweeps: by their cases; the only one of a folder without cases is called "".
    """

    kind: str
    file: pathlib.Path
    sweeps: Mapping[str, Sweep]


@dataclass(frozen=True)
class Resources:
    """The group `launch` of a config.

    Attributes:
        jobs: over which paths are dealt out, by launchers that start jobs.
        cpus, gpus, memory_gb: of a job.
        minutes: that a job may take.
        partition: of a cluster; empty for its default.
        checkpoint_s: seconds after which a batch of paths that goes on is saved, to be resumed there.
    """

    jobs: int
    cpus: int
    gpus: int
    memory_gb: float
    minutes: int
    partition: str
    checkpoint_s: float

    def __post_init__(self):
        for key in ("jobs", "cpus", "minutes"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "must be at least 1")
        for key in ("gpus", "checkpoint_s"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "must not be negative")
        require(self.memory_gb > 0, "memory_gb", self.memory_gb, "must be positive")


@dataclass(frozen=True)
class Launch:
    """The work of a launcher.

    Attributes:
        folder: of the sweep, prepared.
        plan: its paths.
        attempts: at which of them; see dynamics.sweeps.worker.work.
        resources: of its jobs.
        limits: when to stop.
    """

    folder: pathlib.Path
    plan: Plan
    attempts: Attempts
    resources: Resources
    limits: Limits


def plan_of(sweeps: Mapping[str, Sweep]) -> Plan:
    """The plan of sweeps, of which at least one member can run.

    Raises:
        ConfigError: if none of the members can run.
    """
    planned = plan(sweeps)
    if planned.refused and not planned.groups:
        members = {member.id: member for sweep in sweeps.values() for member in sweep.members}
        member, reason = next(iter(planned.refused.items()))
        raise ConfigError(f"no member can run; the first, {members[member].overrides}: {reason}")
    return planned


class Cost(NamedTuple):
    """The estimated cost of a sweep.

    Attributes:
        programs: to be compiled.
        paths: to be integrated.
        seconds: on this machine, from compiling the programs of at most PILOTS groups and integrating a path of each.
        megabytes: on disk.
    """

    programs: int
    paths: int
    seconds: float
    megabytes: float


def estimate(planned: Plan) -> Cost:
    """Measure what paths take; nothing is written."""
    groups = planned.groups
    compile_s, path_s, size = [], [], []
    for group in groups[:: -(-len(groups) // PILOTS)]:
        paths = list(group.paths.values())[:1]
        begin = time.perf_counter()
        program = group.program(size=1)
        integrated(program, paths)
        compiled = time.perf_counter()
        trajectories = integrated(program, paths)
        compile_s.append(compiled - begin)
        path_s.append(time.perf_counter() - compiled)
        size.append(sum(values.nbytes for values in rows_of(paths, trajectories).values()))
    count = sum(len(group.paths) for group in groups)
    seconds = float(np.mean(compile_s)) * len(groups) + float(np.mean(path_s)) * count / jax.device_count()
    # Rows are stored as they finish, and once more on the swept axes.
    return Cost(len(groups), count, seconds, 2 * float(np.mean(size)) * count / 1e6)


def prepare(folder: pathlib.Path, source: Source, planned: Plan) -> None:
    """Make the folder of a sweep, or bring it up to date.

    Raises:
        ConfigError: for a folder of something else.
    """
    if folder.exists():
        require((folder / "sweep.json").is_file(), "name", folder.name, f"exists in {folder.parent} and is not a sweep")
        names = {case: sweep.name for case, sweep in read_sweeps(folder).items()}
        same = all(names.get(case, sweep.name) == sweep.name for case, sweep in source.sweeps.items())
        require(same, "name", folder.name, f"holds another sweep, {', '.join(map(repr, names.values()))}")
        _describe(folder, source, planned)
        return
    beside = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        _describe(beside, source, planned)
        beside.rename(folder)
    except OSError:
        if not (folder / "sweep.json").is_file():  # it may have been made by a launch beside this one
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _describe(folder: pathlib.Path, source: Source, planned: Plan) -> None:
    Ledger(folder).create()
    for part in ("parts", "checkpoints"):
        (folder / part).mkdir(exist_ok=True)
    sweeps = source.sweeps
    if not (folder / "sweep.json").exists() or read_sweeps(folder) != sweeps:
        content = {
            "kind": source.kind,
            "file": str(source.file.absolute()),
            "sweeps": {case: sweep.as_dict() for case, sweep in sweeps.items()},
            "paths": planned.members,
            "refused": planned.refused,
        }
        write_json(folder / "sweep.json", content)
    dtypes = " ".join(dict.fromkeys(sweep.config["dtype"] for sweep in sweeps.values()))
    members = {case: [member.id for member in sweep.members] for case, sweep in sweeps.items()}
    write_json(folder / "provenance.json", {**provenance(dtypes), "config": config_hash({"members": members})})
    shutil.copyfile(source.file, folder / "config.py")


def attempts(entries: Mapping[str, Entry], retry_failed: bool) -> dict[str, int]:
    """{id: number of the next attempt} for the paths and refused members that a launch has to run.

    Those that wait, were interrupted or failed; with retry_failed also those that diverged. Those that run elsewhere
    are there with the attempt that goes on, to be waited for.
    """
    wanted = {}
    for path, entry in entries.items():
        if entry.state == "running":
            wanted[path] = entry.attempts
        elif entry.state not in FINISHED or (retry_failed and entry.state == "diverged"):
            wanted[path] = entry.attempts + 1
    return wanted
