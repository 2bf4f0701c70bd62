"""Integrating the paths of a sweep: claimed in batches, integrated together, committed as they finish."""

import contextlib
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dynamics.config import ConfigError
from dynamics.files import one_line
from dynamics.runs import processes
from dynamics.runs.content import summary_of
from dynamics.runs.engine import MOST_PATHS, Program
from dynamics.runs.manifest import Manifest, hashes
from dynamics.runs.origin import numerics, provenance
from dynamics.runs.path import Path, State
from dynamics.runs.programs import MEASURED, STRATEGIES, Strategy
from dynamics.runs.stopping import check, heard
from dynamics.runs.storage import Rows, read_rows, write_rows
from dynamics.runs.unfinished import write_state
from dynamics.sweeps.launch import Attempts, Launch
from dynamics.sweeps.ledger import Ledger, Worker, is_full
from dynamics.sweeps.paths import Group, Plan, integrated
from dynamics.sweeps.rows import rows_of
from dynamics.trajectory import NON_FINITE, Trajectory

BATCH_S = 5.0  # a call is to take about that long: what it finished is on disk then
PAUSE_S = 1.0  # between looks at paths that run elsewhere
AHEAD = 2  # groups whose programs compile while one integrates; all of them at once would be in its way
NO_GROUP = -1  # to the processes that follow: there is nothing left to do

Report = Callable[[list[dict[str, Any]]], None]  # called with the lines of the journal of paths that have ended


def work(launch: Launch, report: Report = lambda _: None, stays: bool = True) -> None:
    """Integrate paths until this process has nothing left to do.

    Paths that another process runs are left alone; those of a process that died are taken over. With jax.distributed
    the first process calls this and the others `follow`: all integrate, the first one claims and writes.

    Args:
        launch: the paths, and when to stop.
        report: see Report.
        stays: until no other process runs any of the paths, to take over what it may leave.

    Raises:
        KeyboardInterrupt: after what was going on is marked as interrupted.
        OSError: when a disk is full.
    """
    ledger, attempts = Ledger(launch.folder), launch.attempts
    plan = launch.plan.with_strategy(strategy_of(launch.folder, launch.plan.groups))
    with Worker(ledger) as worker, _leading(), heard():
        crew = _Crew(launch, worker, report)
        while True:
            for member, reason in plan.refused.items():
                if member in attempts and not crew.stopped and worker.claim(member, attempts[member]):
                    crew.commit({member: attempts[member]}, [{"state": "failed", "reason": reason}])
            crew.run(plan.groups, attempts)
            if crew.stopped:
                return
            entries = ledger.entries(attempts)
            lost = {i: entry.attempts + 1 for i, entry in entries.items() if entry.state == "interrupted"}
            running = {i: entry.attempts for i, entry in entries.items() if entry.state == "running"}
            if not lost and not (stays and running):
                return
            attempts = {**running, **lost}
            if not lost:
                time.sleep(PAUSE_S)
            check()


def strategy_of(folder: pathlib.Path, groups: Sequence[Group]) -> Strategy:
    """How each device integrates its paths: one after another, or all at once.

    The choice is stored in the sweep's folder, since the last bits of the results depend on it.

    Where no measurement of this backend is known it is measured now, with a call of the largest group.
    """
    path = folder / "strategy"
    if not path.exists() and groups:
        chosen = MEASURED.get(jax.default_backend()) or _faster(max(groups, key=lambda group: group.size))
        with contextlib.suppress(FileExistsError), path.open("x") as file, Manifest(folder).writing("strategy"):
            file.write(chosen)
            file.flush()
    return "batched" if path.exists() and path.read_text() == "batched" else "sequential"


def _faster(group: Group) -> Strategy:
    paths = list(group.paths.values())[: group.size]
    seconds: dict[Strategy, float] = {}
    for strategy in STRATEGIES:
        program = Program(paths[0], group.size, strategy)
        integrated(program, paths)
        begin = time.perf_counter()
        integrated(program, paths)
        seconds[strategy] = time.perf_counter() - begin
    return min(STRATEGIES, key=lambda strategy: seconds[strategy])


def _ended(path: Path, trajectory: Trajectory) -> dict[str, Any]:
    """State, reason and numbers of a path, as the journal has them."""
    numbers = summary_of(path.experiment.laws[path.law], trajectory)
    state, reason = numbers.pop("state"), numbers.pop("reason")
    if trajectory.outcome == NON_FINITE:
        state = "diverged"
    return {"state": state, "reason": "" if state == "done" else reason, "numbers": numbers}


class _Crew:
    """What a process does that claims paths and writes results: alone, or as the first process of jax.distributed."""

    def __init__(self, launch: Launch, worker: Worker, report: Report):
        self._folder, self._worker, self._report = launch.folder, worker, report
        self._manifest = Manifest(launch.folder)
        self._numerics = numerics(provenance("", "", {}))
        self._failures_left = launch.max_failures
        self._checkpoint_s = np.inf if processes.several() else launch.resources.checkpoint_s
        self._parts = 0
        self._programs: dict[tuple[int, int], Program] = {}

    @property
    def stopped(self) -> bool:
        """Whether there were too many failures."""
        return self._failures_left is not None and self._failures_left <= 0

    def run(self, groups: Sequence[Group], attempts: Attempts) -> None:
        """Make these attempts, group after group."""
        waiting = [index for index, group in enumerate(groups) if group.paths.keys() & attempts.keys()]
        for place, index in enumerate(waiting):
            self._run_group(index, groups, attempts, waiting[place + 1 : place + 1 + AHEAD])
            self._programs = {key: program for key, program in self._programs.items() if key[0] != index}

    def _run_group(self, index: int, groups: Sequence[Group], attempts: Attempts, ahead: Sequence[int]) -> None:
        group = groups[index]
        by_segment: dict[int | None, dict[str, int]] = {}
        for path, attempt in attempts.items():
            if path in group.paths:
                by_segment.setdefault(self._segment(path), {})[path] = attempt
        if not processes.several():
            for later in (index, *ahead):
                self._begin_compiling(later, groups[later])
        fewest = size = min(jax.device_count(), group.size)
        for of_segment in by_segment.values():
            waiting = iter(of_segment.items())
            while not self.stopped and (batch := self._claimed(waiting, size)):
                seconds = self._attempt(index, group, batch, group.size)
                size = int(np.clip(BATCH_S / seconds, fewest, group.size))

    def _claimed(self, waiting: Iterator[tuple[str, int]], size: int) -> Attempts:
        batch: dict[str, int] = {}
        for path, attempt in waiting:
            if self._worker.claim(path, attempt):
                batch[path] = attempt
            if len(batch) == size:
                break
        return batch

    def _attempt(self, index: int, group: Group, batch: Attempts, size: int) -> float:
        """Integrate a batch and commit it; if the batch raises an error, try its paths one by one.

        Returns:
            The seconds that a path took.
        """
        paths = [group.paths[i] for i in batch]
        stored = [self._checkpoint(i) for i in batch if self._segment(i) is not None]

        def keep(trajectories: Sequence[Trajectory], state: State) -> None:
            for i, (path, trajectory) in enumerate(zip(batch, trajectories, strict=True)):
                with self._manifest.writing(f"checkpoints/{path}.npz"):
                    write_state(self._checkpoint(path), trajectory, state.of_path(i))

        begin = time.perf_counter()
        try:
            _lead(index, list(group.paths), batch, size, group.strategy)
            program = self._compiled(index, group, size)
            begin = time.perf_counter()
            trajectories = integrated(program, paths, stored, self._checkpoint_s, keep)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                self.commit(batch, [{"state": "interrupted", "reason": "stopped"}] * len(batch))
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            if len(batch) == 1 or (index, size) not in self._programs:  # no path of this form can be integrated
                self.commit(batch, [{"state": "failed", "reason": one_line(error)}] * len(batch))
                return time.perf_counter() - begin
            return max(self._attempt(index, group, {path: attempt}, 1) for path, attempt in batch.items())
        seconds = (time.perf_counter() - begin) / len(batch)
        how = {"seconds": seconds, "size": size, "numerics": self._numerics}
        ends = [{**_ended(*pair), **how} for pair in zip(paths, trajectories, strict=True)]
        self.commit(batch, ends, rows_of(paths, trajectories))
        return seconds

    def _begin_compiling(self, index: int, group: Group) -> None:
        """Compile in the background; what a law refuses is said when its turn comes."""
        if (index, group.size) not in self._programs:
            with contextlib.suppress(Exception):
                self._programs[index, group.size] = group.program()

    def _compiled(self, index: int, group: Group, size: int) -> Program:
        """The program of a group, compiled."""
        program = self._programs.pop((index, size), None) or group.program(size)
        program.wait()
        self._programs[index, size] = program
        return program

    def commit(self, batch: Attempts, ends: Sequence[Mapping[str, Any]], rows: Rows | None = None) -> None:
        """Write how a batch ended, but for paths that another process has taken over meanwhile."""
        lines = [
            {"id": path, "attempt": attempt, **end} for (path, attempt), end in zip(batch.items(), ends, strict=True)
        ]
        if rows is not None:
            part = f"{self._worker.name}-{self._parts}.npz"
            self._parts += 1
            write_rows(self._folder / "parts" / part, rows)
            listed = hashes(self._folder, f"parts/{part}")
            lines = [{**line, "part": part, "row": row, "files": listed} for row, line in enumerate(lines)]
        lines = [line for line in lines if self._worker.owns(line["id"], line["attempt"])]
        self._worker.commit(lines)
        if rows is not None:
            for path in batch:
                self._checkpoint(path).unlink(missing_ok=True)
        if self._failures_left is not None:
            self._failures_left -= sum(line["state"] in ("failed", "diverged") for line in lines)
        self._report(lines)

    def _checkpoint(self, path: str) -> pathlib.Path:
        return self._folder / "checkpoints" / f"{path}.npz"

    def _segment(self, path: str) -> int | None:
        """The segment in which a path goes on; None for one that begins."""
        file = self._checkpoint(path)
        if self._checkpoint_s == np.inf or not file.exists():
            return None
        try:
            return int(read_rows(file)["segment"])
        except ConfigError as error:  # it begins again
            warnings.warn(str(error), stacklevel=1)
            file.unlink()
            return None


@contextlib.contextmanager
def _leading() -> Iterator[None]:
    """The processes that follow are let go at the end."""
    try:
        yield
    finally:
        if processes.several():
            processes.broadcast([NO_GROUP], MOST_PATHS + 4)


def _lead(index: int, ids: Sequence[str], batch: Attempts, size: int, strategy: Strategy | None) -> None:
    """Tell the other processes which paths of a group come next, and the size and strategy of their program.

    They are told before it is compiled: all compile at the same time, and none waits longer than the others' patience.
    """
    if processes.several():
        numbers = [ids.index(path) for path in batch]
        processes.broadcast([index, size, len(batch), int(strategy == "batched"), *numbers], MOST_PATHS + 4)


def follow(plan: Plan) -> None:
    """Integrate with the first process of jax.distributed what it says; the plan is the same as there."""
    programs: dict[tuple[int, int], Program] = {}
    while True:
        index, size, count, batched, *numbers = processes.broadcast([], MOST_PATHS + 4)
        if index == NO_GROUP:
            return
        paths = list(plan.groups[index].paths.values())
        with contextlib.suppress(Exception):  # the first process meets it too, and records it
            if (index, size) not in programs:
                programs[index, size] = Program(paths[0], size, "batched" if batched else "sequential")
            integrated(programs[index, size], [paths[number] for number in numbers[:count]])
