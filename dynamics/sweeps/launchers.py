"""Launchers integrate the paths of a sweep in this process, in processes on this machine, or in jobs of a cluster.

A launcher of your own is a class with the methods of Launcher, or of JobLauncher if it starts processes that share the
folder. LAUNCHERS["name"] = YourClass makes it the one for --launcher=name.
"""

import abc
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dynamics.config import ConfigError, require
from dynamics.environment import use_compile_cache
from dynamics.runs.identity import changed
from dynamics.runs.stopping import ask
from dynamics.sweeps.launch import Attempts, Launch, Resources
from dynamics.sweeps.ledger import FINISHED, Ledger
from dynamics.sweeps.paths import plan
from dynamics.sweeps.sweep import execute_config, read_sweeps
from dynamics.sweeps.worker import Report, work

POLL_S = 1.0  # between looks at jobs
# States of SLURM in which a job is over.
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
OVER |= {"PREEMPTED", "REVOKED"}


class Launcher(abc.ABC):
    """A place where paths are integrated; abstract."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raise ConfigError if it cannot be used here."""

    @abc.abstractmethod
    def run(self, launch: Launch, report: Report) -> None:
        """Integrate all paths, until they have ended or too many failed.

        Raises:
            ConfigError: if its jobs end and leave paths.
        """


class Here(Launcher):
    """In this process."""

    def check(self) -> None:
        """Always possible."""

    def run(self, launch: Launch, report: Report) -> None:
        """One worker."""
        work(launch, report)


class JobLauncher(Launcher):
    """In processes of their own, which share the folder of the sweep with this one; abstract.

    Attributes:
        outlives: whether the jobs go on after Ctrl-C in this process.
    """

    outlives: ClassVar[bool] = False

    @abc.abstractmethod
    def start(self, launch: Launch, jobs: Sequence["Job"]) -> Any:
        """Start jobs, each a function to call; returns what `alive` and `cancel` need to know of them."""

    @abc.abstractmethod
    def alive(self, handle: Any) -> bool:
        """Whether a job waits or runs."""

    @abc.abstractmethod
    def cancel(self, handle: Any) -> None:
        """End all jobs."""

    def run(self, launch: Launch, report: Report) -> None:
        """Deal out the paths to jobs, and deal out again what jobs that ended have left."""
        attempts = launch.attempts
        while attempts:
            handle = self.start(launch, _dealt_out(launch, attempts))
            stopped = not self.outlives
            try:
                stopped = self._follow(launch, attempts, handle, report)
            finally:
                if stopped:  # by too many failures, or by Ctrl-C
                    self.cancel(handle)
            if stopped:
                return
            entries = Ledger(launch.folder).entries(attempts)
            left = {i: e.attempts + 1 for i, e in entries.items() if e.state in ("waiting", "interrupted")}
            allowed = f"its jobs ended before {len(left)} paths were done; their logs are in {launch.folder / 'jobs'}"
            require(len(left) < len(attempts), "--launcher", type(self).__name__.lower(), allowed)
            attempts = left

    def _follow(self, launch: Launch, attempts: Attempts, handle: Any, report: Report) -> bool:
        """Report what ends until the jobs have ended; whether too many paths failed."""
        ledger, reported = Ledger(launch.folder), set[str]()
        while True:
            alive = self.alive(handle)
            entries = ledger.entries(attempts)
            outcomes = {i: e for i, e in entries.items() if e.state in (*FINISHED, "failed") and i not in reported}
            ended = [i for i, entry in outcomes.items() if entry.line["attempt"] >= attempts[i]]
            reported |= set(ended)
            report([dict(entries[i].line) for i in ended])
            failures = sum(entries[i].state in ("failed", "diverged") for i in reported)
            if launch.max_failures is not None and failures >= launch.max_failures:
                return True
            # A worker that died on another machine seems to run for a while: its paths must not be forgotten.
            if not alive and not any(entry.state == "running" for entry in entries.values()):
                return False
            time.sleep(POLL_S)


def _dealt_out(launch: Launch, attempts: Attempts) -> list["Job"]:
    """A job for every share of the paths, its own share first and then the others'."""
    ids = list(attempts)
    shares = [ids[i :: launch.resources.jobs] for i in range(min(launch.resources.jobs, len(ids)))]
    orders = [[*share, *(i for i in ids if i not in set(share))] for share in shares]
    dealt = ({i: attempts[i] for i in order} for order in orders)
    return [Job(launch.folder.absolute(), own, launch.resources, launch.max_failures) for own in dealt]


@dataclass(frozen=True)
class Job:
    """The work of one job: its own share of the paths, then paths that no other job has claimed.

    Its attributes are those of Launch, but for the plan, which the job makes itself.
    """

    folder: pathlib.Path
    attempts: Attempts
    resources: Resources
    max_failures: int | None

    def __call__(self) -> None:
        """Run; a signal to end leaves what goes on marked as interrupted."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGUSR2, _interrupting(signal.getsignal(signal.SIGUSR2)))
        use_compile_cache()
        execute_config(self.folder)
        planned = plan(read_sweeps(self.folder))
        known = {path for group in planned.groups for path in group.paths} | planned.refused.keys()
        if not known.issuperset(self.attempts):
            before = json.loads((self.folder / "provenance.json").read_text()).get("code", {})
            names = ", ".join(changed(before, planned.code))
            raise ConfigError(f"{self.folder}: the code of {names} has changed since this job was started")
        work(Launch(self.folder, planned, self.attempts, self.resources, self.max_failures), stays=False)

    def checkpoint(self) -> Any:
        """Called by submitit before a preemption or a time limit ends the job: the same again, from what is on disk."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _interrupting(requeue: Any) -> Any:
    """The handler of submitit for a preemption or a time limit, followed by an interruption.

    By itself it exits, or raises after several time limits: paths would seem to run until their worker is taken for
    dead, or to have failed. The interruption comes after the stretch that goes on.
    """

    def handle(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes with the requeueing, amid what is written now
        try:
            requeue(signum, frame)
        except BaseException:
            ask()

    return handle


class Submitit(JobLauncher):
    """Jobs of submitit; their logs are in SWEEP/jobs; abstract."""

    cluster: ClassVar[str]

    def check(self) -> None:
        """Whether submitit is installed."""
        installed = importlib.util.find_spec("submitit") is not None
        require(installed, "--launcher", self.cluster, "needs submitit: install the extra, dynamics[slurm]")

    def start(self, launch: Launch, jobs: Sequence[Job]) -> list[Any]:
        """A job for each, in one array."""
        import submitit

        resources = launch.resources
        # A folder of its own: job numbers come again, and submitit takes what it finds under one for its result.
        logs = launch.folder / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        executor = submitit.AutoExecutor(logs.absolute(), cluster=self.cluster)
        executor.update_parameters(
            name=launch.folder.name,
            timeout_min=resources.minutes,
            cpus_per_task=resources.cpus,
            mem_gb=resources.memory_gb,
            gpus_per_node=resources.gpus,
            slurm_additional_parameters={"requeue": True},
            **({"slurm_partition": resources.partition} if resources.partition else {}),
        )
        try:
            with _environment(JAX_NUM_CPU_DEVICES=str(resources.cpus)), executor.batch():
                return [executor.submit(job) for job in jobs]
        except submitit.core.utils.FailedJobError as error:
            raise ConfigError("--launcher", self.cluster, " ".join(str(error).split())) from None


class Local(Submitit):
    """Processes on this machine; Ctrl-C ends them, too."""

    cluster = "local"

    def alive(self, handle: list[Any]) -> bool:
        """Whether a process runs."""
        return not all(job.done() for job in handle)

    def cancel(self, handle: list[Any]) -> None:
        """Ask all to end, and wait for them."""
        for job in handle:
            job.cancel()
        while self.alive(handle):
            time.sleep(POLL_S)


class Slurm(Submitit):
    """A job array of a SLURM cluster; Ctrl-C leaves the jobs running."""

    cluster = "slurm"
    outlives = True

    def check(self) -> None:
        """Whether submitit and the commands of SLURM are installed."""
        super().check()
        installed = shutil.which("sbatch") and shutil.which("squeue")
        require(bool(installed), "--launcher", self.cluster, "needs the commands sbatch and squeue of SLURM")

    def alive(self, handle: list[Any]) -> bool:
        """Whether squeue still lists one of the jobs as waiting or running.

        submitit's own job.done() asks sacct, which knows nothing on a cluster without accounting: a job whose node died
        would be awaited for ever.
        """
        array = handle[0].job_id.partition("_")[0]
        command = ["squeue", "-h", "-r", "-t", "all", "-j", array, "-o", "%T"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        forgotten = "Invalid job id" in answer.stderr
        return not forgotten and (answer.returncode != 0 or not OVER.issuperset(answer.stdout.split()))

    def cancel(self, handle: list[Any]) -> None:
        """Take all of them back."""
        for job in handle:
            job.cancel()


LAUNCHERS: dict[str, type[Launcher]] = {"here": Here, "local": Local, "slurm": Slurm}


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
