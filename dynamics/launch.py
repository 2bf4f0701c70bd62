"""Sweeps on this machine or a cluster: the folder, what is to run in it, and where."""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from dynamics.config import ConfigError, module_of, require
from dynamics.ledger import FINISHED, Entry, Ledger
from dynamics.record import provenance, write_json
from dynamics.run import keep_compiled_programs
from dynamics.sweep import Member, Sweep, read_sweep
from dynamics.work import Group, Report, follow, groups, integrated, work

__all__ = [
    "LAUNCHERS",
    "Plan",
    "Settings",
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
PILOTS = 3
POLL_S = 1.0  # between looks at jobs
ENDED = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"),
    *("PREEMPTED", "REVOKED"),
)


@dataclass(frozen=True)
class Settings:
    """The group `launch` of a config.

    Attributes:
        jobs: over which members are dealt out, by the launchers "local" and "slurm".
        cpus, gpus, memory_gb: of a job.
        minutes: that a job may take.
        partition: of a cluster; empty for its default.
        checkpoint_s: seconds after which a batch of members that goes on is saved, to be resumed there.
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
        for key in ("gpus", "memory_gb", "checkpoint_s"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "must not be negative")
        require(self.memory_gb > 0, "memory_gb", self.memory_gb, "must be positive")


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
        keep_compiled_programs()
        work(folder, sweep, *found, wanted, report, True, max_failures, settings.checkpoint_s)
        return
    while wanted:
        jobs = _Jobs(folder, launcher, settings, wanted, max_failures)
        entries = jobs.follow(sweep, report)
        states = {number: entries[sweep.members[number].id] for number in wanted}
        left = {n: e.attempts + 1 for n, e in states.items() if e.state in ("waiting", "interrupted")}
        if jobs.stopped:
            return
        allowed = f"its jobs end and leave {len(left)} members; see {folder / 'jobs'}"
        require(len(left) < len(wanted), "--launcher", launcher, allowed)
        wanted = left


class Job:
    """What one job does: its own members first, then what others leave."""

    def __init__(self, folder: pathlib.Path, wanted: Mapping[int, int], checkpoint_s: float, max_failures: int | None):
        self._folder, self._wanted = folder, dict(wanted)
        self._checkpoint_s, self._max_failures = checkpoint_s, max_failures

    def __call__(self) -> None:
        """Run; a signal to end leaves what goes on marked as interrupted."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGUSR2, _interrupting(signal.getsignal(signal.SIGUSR2)))
        keep_compiled_programs()
        module_of(self._folder / "config.py")  # for its tasks, models, laws and probes
        sweep = read_sweep(self._folder)
        found, refused = groups(sweep)
        work(
            self._folder,
            sweep,
            found,
            refused,
            self._wanted,
            stay=False,
            max_failures=self._max_failures,
            checkpoint_s=self._checkpoint_s,
        )

    def checkpoint(self) -> Any:
        """Called before a preemption or a time limit ends the job: the same again, from what is on disk."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _interrupting(requeue: Any) -> Any:
    """The handler of submitit for a preemption or a time limit, followed by an interruption.

    By itself it exits, or raises after several time limits: members would seem to run until their worker is taken for
    dead, or to have failed.
    """

    def handle(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes with the requeueing, amid what is written now
        try:
            requeue(signum, frame)
        except BaseException as error:
            raise KeyboardInterrupt from error

    return handle


class _Jobs:
    """The jobs of one submission; their number and the logs are in SWEEP/jobs."""

    def __init__(
        self,
        folder: pathlib.Path,
        launcher: str,
        settings: Settings,
        wanted: Mapping[int, int],
        max_failures: int | None,
    ):
        import submitit

        self._folder, self._launcher, self._wanted, self._max_failures = folder, launcher, wanted, max_failures
        self.stopped = False
        # A folder of its own: job numbers come again, and submitit takes what it finds under one for its result.
        logs = folder / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        executor = submitit.AutoExecutor(logs.absolute(), cluster=launcher)
        executor.update_parameters(
            name=folder.name,
            timeout_min=settings.minutes,
            cpus_per_task=settings.cpus,
            mem_gb=settings.memory_gb,
            gpus_per_node=settings.gpus,
            slurm_additional_parameters={"requeue": True},
            **({"slurm_partition": settings.partition} if settings.partition else {}),
        )
        numbers = list(wanted)
        shares = [numbers[i :: settings.jobs] for i in range(min(settings.jobs, len(numbers)))]
        orders = [[*share, *(number for number in numbers if number not in set(share))] for share in shares]
        calls = [
            Job(folder.absolute(), {number: wanted[number] for number in order}, settings.checkpoint_s, max_failures)
            for order in orders
        ]
        try:
            with _environment(JAX_NUM_CPU_DEVICES=str(settings.cpus)), executor.batch():
                self._jobs = [executor.submit(call) for call in calls]
        except submitit.core.utils.FailedJobError as error:
            raise ConfigError("--launcher", launcher, " ".join(str(error).split())) from None

    def follow(self, sweep: Sweep, report: Report) -> dict[str, Entry]:
        """Until they have ended; after Ctrl-C jobs of a cluster go on, local ones end."""
        ledger, ids = Ledger(self._folder), {sweep.members[n].id: k for n, k in self._wanted.items()}
        seen: set[str] = set()
        try:
            while True:
                alive = self._alive()
                entries = ledger.entries(ids)
                running = any(entry.state == "running" for entry in entries.values())
                outcomes = {i: e for i, e in entries.items() if e.state in (*FINISHED, "failed") and i not in seen}
                ended = [i for i, e in outcomes.items() if e.line["attempt"] >= ids[i]]
                seen |= set(ended)
                report([dict(entries[i].line) for i in ended])
                failures = sum(entries[i].state in ("failed", "diverged") for i in seen)
                self.stopped = self._max_failures is not None and failures >= self._max_failures
                # A worker that died on another machine seems to run for a while: its members are not to be forgotten.
                if self.stopped or not (alive or running):
                    break
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            if self._launcher == "local":
                self._cancel()
            raise
        if self.stopped:
            self._cancel()
        return ledger.entries(ids)

    def _alive(self) -> bool:
        if self._launcher == "local":
            return not all(job.done() for job in self._jobs)
        array = self._jobs[0].job_id.partition("_")[0]
        asked = subprocess.run(
            ["squeue", "-h", "-r", "-t", "all", "-j", array, "-o", "%T"], capture_output=True, text=True, check=False
        )
        gone = "Invalid job id" in asked.stderr
        return not gone and (asked.returncode != 0 or any(state not in ENDED for state in asked.stdout.split()))

    def _cancel(self) -> None:
        for job in self._jobs:
            job.cancel()
        while self._launcher == "local" and self._alive():
            time.sleep(POLL_S)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Jobs inherit it."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
