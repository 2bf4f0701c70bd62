"""Jobs: members of a sweep dealt out to processes on this machine or to a cluster, through submitit."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dynamics.config import ConfigError, module_of, require
from dynamics.environment import configure_compiler
from dynamics.sweeps.groups import groups
from dynamics.sweeps.ledger import FINISHED, Entry, Ledger
from dynamics.sweeps.sweep import Sweep, read_sweep
from dynamics.sweeps.worker import Report, work

__all__ = ["Job", "Jobs", "Settings"]

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


class Job:
    """What one job does: its own members first, then what others leave."""

    def __init__(self, folder: pathlib.Path, wanted: Mapping[int, int], checkpoint_s: float, max_failures: int | None):
        self._folder, self._wanted = folder, dict(wanted)
        self._checkpoint_s, self._max_failures = checkpoint_s, max_failures

    def __call__(self) -> None:
        """Run; a signal to end leaves what goes on marked as interrupted."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGUSR2, _interrupting(signal.getsignal(signal.SIGUSR2)))
        configure_compiler()
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


class Jobs:
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
