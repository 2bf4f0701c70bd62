"""From sweeps to a folder in which they run: what has to run, with which resources, and where it is recorded."""

import pathlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from dynamics.config import config_hash, require
from dynamics.files import read_json
from dynamics.runs.identity import changed
from dynamics.runs.manifest import FORMAT, Manifest
from dynamics.runs.origin import provenance
from dynamics.runs.storage import folder_beside, replacing, write_json
from dynamics.sweeps.ledger import FINISHED, Entry, Ledger, read_members
from dynamics.sweeps.paths import Plan
from dynamics.sweeps.sweep import Sweep, read_sweeps

Attempts = Mapping[str, int]  # {id: which attempt at it this is}; a first attempt is 1


@dataclass(frozen=True)
class Resources:
    """The group `launch` of a config.

    Attributes:
        jobs: over which paths are dealt out, by launchers that start jobs.
        cpus, gpus, memory_gb: of a job.
        minutes: that a job may take.
        partition: of a cluster; empty for its default.
        checkpoint_s: seconds after which a run, or a batch of paths, that goes on is stored, to be resumed there.
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
    """The work of a launcher and of its workers.

    Attributes:
        folder: of the sweep, prepared.
        plan: all of its paths, so that what is left of a group does not compile another program.
        attempts: at what, by ids of paths and of members that are refused.
        resources: of jobs, and how often batches are saved.
        max_failures: stop after so many paths that failed or diverged; None for no limit.
    """

    folder: pathlib.Path
    plan: Plan
    attempts: Attempts
    resources: Resources
    max_failures: int | None


def prepare(folder: pathlib.Path, kind: str, file: pathlib.Path, planned: Plan) -> None:
    """Make the folder of a sweep, or bring it up to date.

    Args:
        folder: the folder.
        kind: the command that makes it: "sweep", "compare" or "claims".
        file: the config file or the module; a copy of it is executed by jobs, for what it registers.
        planned: the sweeps and their paths.

    Raises:
        ConfigError: for a folder of something else.
    """
    if folder.exists():
        require((folder / "sweep.json").is_file(), "name", folder.name, f"exists in {folder.parent} and is not a sweep")
        names = {case: sweep.name for case, sweep in read_sweeps(folder).items()}
        same = all(names.get(case, sweep.name) == sweep.name for case, sweep in planned.sweeps.items())
        require(same, "name", folder.name, f"holds another sweep, {', '.join(map(repr, names.values()))}")
        _describe(folder, kind, file, planned)
        return
    beside = folder_beside(folder)
    try:
        beside.mkdir(parents=True)
        _describe(beside, kind, file, planned)
        beside.rename(folder)
    except OSError:
        if not (folder / "sweep.json").is_file():  # it may have been made by a launch beside this one
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _describe(folder: pathlib.Path, kind: str, file: pathlib.Path, planned: Plan) -> None:
    Ledger(folder).create()
    for part in ("parts", "checkpoints"):
        (folder / part).mkdir(exist_ok=True)
    sweeps, manifest = planned.sweeps, Manifest(folder)
    if not (folder / "sweep.json").exists() or read_sweeps(folder) != sweeps:
        content = {
            "kind": kind,
            "file": str(file.absolute()),
            "sweeps": {case: sweep.as_dict() for case, sweep in sweeps.items()},
            "paths": planned.members,
            "refused": planned.refused,
        }
        with manifest.writing("sweep.json"):
            write_json(folder / "sweep.json", content)
    dtypes = " ".join(dict.fromkeys(sweep.config["dtype"] for sweep in sweeps.values()))
    members = {case: [member.id for member in sweep.members] for case, sweep in sweeps.items()}
    origin = provenance(dtypes, config_hash({"members": members}), planned.code)
    judges = {"judges": dict(planned.judges)} if planned.judges else {}
    with manifest.writing("provenance.json"):
        write_json(folder / "provenance.json", {"format": FORMAT, **origin, **judges})
    with manifest.writing("config.py"), replacing(folder / "config.py") as partial:
        shutil.copyfile(file, partial)


def changed_code(folder: pathlib.Path, planned: Plan) -> str:
    """Which modules of a user have changed since the last launch, and what that costs, in one line.

    Empty if nothing has changed, or if no path that has ended depends on it. To be called before `prepare`.
    """
    if not (folder / "sweep.json").is_file():
        return ""
    before = _places(read_sweeps(folder), read_members(folder).paths)
    now = _places(planned.sweeps, planned.members)
    entries = Ledger(folder).entries(dict.fromkeys(before.values()))
    again = {now[place] for place, path in before.items() if entries[path].state in FINISHED and place in now}
    again -= set(before.values())
    code = read_json(folder / "provenance.json").get("code", {})
    names = ", ".join(changed(code, planned.code))
    if not again or not names:
        return ""
    return f"the code of {names} has changed since: {len(again)} of {len(set(now.values()))} paths are integrated again"


def _places(sweeps: Mapping[str, Sweep], members: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, ...], str]:
    """{(case, config of a member, law): id of the path}."""
    return {
        (case, config_hash(sweep.config_of(member)), law): path
        for case, sweep in sweeps.items()
        for member in sweep.members
        for law, path in members[member.id].items()
    }


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
