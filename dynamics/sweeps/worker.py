"""Running members of a sweep: claimed in batches, integrated together, committed as they finish."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dynamics.runs.ensemble import MEASURED, PATHS, STRATEGIES, Program, Strategy
from dynamics.sweeps.groups import Group, ended, integrated, one_line
from dynamics.sweeps.ledger import Ledger, Worker, is_full
from dynamics.sweeps.results import Rows, read_rows, write_rows
from dynamics.sweeps.sweep import Sweep

__all__ = ["Report", "follow", "strategy_of", "work"]

BATCH_S = 5.0  # a call is to take about that long: what it finished is on disk then
PAUSE_S = 1.0  # between looks at members that run elsewhere
START = (0, 0)  # the first law and its first segment
STOP = -1  # to the processes that follow

Report = Callable[[list[dict[str, Any]]], None]


def work(
    folder: pathlib.Path,
    sweep: Sweep,
    found: Sequence[Group],
    refused: Mapping[int, str],
    attempts: Mapping[int, int],
    report: Report = lambda _: None,
    stay: bool = True,
    max_failures: int | None = None,
    checkpoint_s: float = 60.0,
) -> None:
    """Make attempts at members until there is nothing left to do here.

    Members that somebody else runs are left alone; those of a process that died are taken over. With jax.distributed
    the first process calls this and the others `follow`: all integrate, the first one claims and writes.

    Args:
        folder: of the sweep.
        sweep: its members.
        found: the groups of all of them, so that what is left of a group does not compile another program.
        refused: those that can be in none, and why.
        attempts: {number of a member: which attempt at it this is}; a first attempt is 1.
        report: called with the lines of the journal of members that have ended.
        stay: until no other process runs any of them, to take over what it may leave.
        max_failures: stop after so many members that failed or diverged.
        checkpoint_s: seconds after which a batch that goes on is saved.

    Raises:
        KeyboardInterrupt: after what was going on is marked as interrupted.
        OSError: when a disk is full.
    """
    ledger = Ledger(folder)
    strategy = strategy_of(folder, found)
    for group in found:
        group.strategy = strategy
    with Worker(ledger) as worker, _leading():
        crew = _Crew(folder, sweep, worker, report, max_failures, checkpoint_s)
        while True:
            for number, reason in refused.items():
                if number in attempts and not crew.stopped and worker.claim(sweep.members[number].id, attempts[number]):
                    crew.commit([number], attempts, [{"state": "failed", "reason": reason}])
            for index, group in enumerate(found):
                crew.run(index, group, attempts)
            if crew.stopped:
                return
            ids = {sweep.members[number].id: number for number in attempts}
            entries = ledger.entries(ids)
            lost = {ids[i]: entry.attempts + 1 for i, entry in entries.items() if entry.state == "interrupted"}
            running = {ids[i]: entry.attempts for i, entry in entries.items() if entry.state == "running"}
            if not lost and not (stay and running):
                return
            attempts = {**running, **lost}
            if not lost:
                time.sleep(PAUSE_S)


def strategy_of(folder: pathlib.Path, found: Sequence[Group]) -> Strategy:
    """What is faster here, each device its members one after another or all at once; a sweep keeps it, as its bits.

    Where no measurement of this backend is known it is made now, with a call of the largest group.
    """
    path = folder / "strategy"
    if not path.exists() and found:
        chosen = MEASURED.get(jax.default_backend()) or _faster(max(found, key=lambda group: group.size))
        with contextlib.suppress(FileExistsError), path.open("x") as file:
            file.write(chosen)
    return "batched" if path.exists() and path.read_text() == "batched" else "sequential"


def _faster(group: Group) -> Strategy:
    members = list(group.members.values())[: group.size]
    seconds: dict[Strategy, float] = {}
    for strategy in STRATEGIES:
        programs = replace(group, strategy=strategy).programs()
        integrated(programs, members)
        begin = time.perf_counter()
        integrated(programs, members)
        seconds[strategy] = time.perf_counter() - begin
    return min(STRATEGIES, key=lambda strategy: seconds[strategy])


class _Crew:
    """One process, or the first one of jax.distributed."""

    def __init__(
        self,
        folder: pathlib.Path,
        sweep: Sweep,
        worker: Worker,
        report: Report,
        max_failures: int | None,
        checkpoint_s: float,
    ):
        self._folder, self._sweep, self._worker, self._report = folder, sweep, worker, report
        self._left, self._checkpoint_s = max_failures, checkpoint_s if jax.process_count() == 1 else np.inf
        self._parts = 0
        self._programs: dict[int, dict[str, Program]] = {}

    @property
    def stopped(self) -> bool:
        """Whether there were too many failures."""
        return self._left is not None and self._left <= 0

    def run(self, index: int, group: Group, attempts: Mapping[int, int]) -> None:
        """Make these attempts at the members of a group."""
        at: dict[tuple[int, int], list[int]] = {}
        for number in attempts:
            if number in group.members:
                at.setdefault(self._position(number), []).append(number)
        fewest = size = min(jax.device_count(), group.size)
        for numbers in at.values():
            waiting = iter(numbers)
            while not self.stopped and (batch := self._claimed(waiting, attempts, size)):
                each = self._attempt(index, group, batch, attempts, group.size)
                size = int(np.clip(BATCH_S / each, fewest, group.size))
        self._programs.clear()

    def _claimed(self, waiting: Any, attempts: Mapping[int, int], size: int) -> list[int]:
        batch: list[int] = []
        for number in waiting:
            if self._worker.claim(self._sweep.members[number].id, attempts[number]):
                batch.append(number)
            if len(batch) == size:
                break
        return batch

    def _attempt(self, index: int, group: Group, batch: Sequence[int], attempts: Mapping[int, int], size: int) -> float:
        """Integrate a batch by programs of a size and commit it; one by one where together they raise.

        Returns:
            The seconds that a member took.
        """
        members = [group.members[number] for number in batch]
        stored = [read_rows(self._checkpoint(number)) for number in batch if self._position(number) != START]
        begin = time.perf_counter()
        try:
            _lead(index, batch, size, group.strategy)
            programs = self._compiled(group, size)
            begin = time.perf_counter()
            rows = integrated(programs, members, stored, self._checkpoint_s, functools.partial(self._keep, batch))
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                self.commit(batch, attempts, [{"state": "interrupted", "reason": "stopped"}] * len(batch))
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            if len(batch) == 1 or size not in self._programs:  # no member of this form can be run
                self.commit(batch, attempts, [{"state": "failed", "reason": one_line(error)}] * len(batch))
                return time.perf_counter() - begin
            return max(self._attempt(index, group, [number], attempts, 1) for number in batch)
        seconds = (time.perf_counter() - begin) / len(batch)
        ends = [{**ended(found, rows, i), "seconds": seconds} for i, found in enumerate(members)]
        self.commit(batch, attempts, ends, rows)
        return seconds

    def _compiled(self, group: Group, size: int) -> dict[str, Program]:
        """The programs of the group that is being run."""
        if size not in self._programs:
            programs = group.programs(size)
            for program in programs.values():
                program.wait()
            self._programs[size] = programs
        return self._programs[size]

    def commit(
        self,
        batch: Sequence[int],
        attempts: Mapping[int, int],
        ends: Sequence[Mapping[str, Any]],
        rows: Rows | None = None,
    ) -> None:
        """Write what a batch ended with, but for members that somebody else took over meanwhile."""
        ids = [self._sweep.members[number].id for number in batch]
        lines = [{"id": i, "attempt": attempts[n], **end} for i, n, end in zip(ids, batch, ends, strict=True)]
        if rows is not None:
            part = f"{self._worker.name}-{self._parts}.npz"
            self._parts += 1
            write_rows(self._folder / "parts" / part, rows)
            lines = [{**line, "part": part, "row": row} for row, line in enumerate(lines)]
        lines = [line for line in lines if self._worker.owns(line["id"], line["attempt"])]
        self._worker.commit(lines)
        if rows is not None:
            for number in batch:
                self._checkpoint(number).unlink(missing_ok=True)
        if self._left is not None:
            self._left -= sum(line["state"] in ("failed", "diverged") for line in lines)
        self._report(lines)

    def _checkpoint(self, number: int) -> pathlib.Path:
        return self._folder / "checkpoints" / f"{self._sweep.members[number].id}.npz"

    def _position(self, number: int) -> tuple[int, int]:
        """How far a member has come: the number of its law and of the next segment."""
        path = self._checkpoint(number)
        if self._checkpoint_s == np.inf or not path.exists():
            return START
        law, segment = read_rows(path, ["at"])["at"][0]
        return int(law), int(segment)

    def _keep(self, batch: Sequence[int], rows: Rows) -> None:
        for i, number in enumerate(batch):
            write_rows(self._checkpoint(number), {name: values[i : i + 1] for name, values in rows.items()})


@contextlib.contextmanager
def _leading() -> Iterator[None]:
    """The processes that follow are let go at the end."""
    try:
        yield
    finally:
        _lead(STOP, (), 0, None)


def _lead(index: int, batch: Sequence[int], size: int, strategy: Strategy | None) -> None:
    """Tell the other processes what is integrated next: members of a group, by programs of a size and a strategy.

    Before they are compiled: all do that at the same time, and nobody waits for longer than the others' patience.
    """
    if jax.process_count() > 1:
        message = np.full(PATHS + 4, STOP)
        message[: len(batch) + 4] = index, size, len(batch), int(strategy == "batched"), *batch
        multihost_utils.broadcast_one_to_all(message)


def follow(found: Sequence[Group]) -> None:
    """Integrate with the first process of jax.distributed what it says; `found` are the same groups as there."""
    programs: dict[tuple[int, int], dict[str, Program]] = {}
    while True:
        message = multihost_utils.broadcast_one_to_all(np.zeros(PATHS + 4, int)).tolist()
        index, size, count, batched = message[:4]
        if index == STOP:
            return
        found[index].strategy = "batched" if batched else "sequential"
        if (index, size) not in programs:
            programs[index, size] = found[index].programs(size)
        with contextlib.suppress(Exception):  # the first process meets it too, and says so
            integrated(programs[index, size], [found[index].members[number] for number in message[4 : count + 4]])
