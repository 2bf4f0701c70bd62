"""Running members of a sweep: claimed in batches, integrated together, committed as they finish."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dynamics.config import ConfigError
from dynamics.ensemble import PATHS, Program, Strategy
from dynamics.experiment import Experiment, form
from dynamics.ledger import Ledger, Worker, is_full
from dynamics.results import Rows, read_rows, write_rows
from dynamics.run import summary_of
from dynamics.sweep import Sweep
from dynamics.trajectory import COMPLETED, NON_FINITE, Trajectory, zero_crossing

__all__ = ["Group", "follow", "groups", "integrated", "work"]

BATCH_S = 5.0  # a call is to take about that long: what it finished is on disk then
PAUSE_S = 1.0  # between looks at members that run elsewhere
STOP = -1  # to the processes that follow

Report = Callable[[list[dict[str, Any]]], None]


@dataclass
class Group:
    """Members that share their programs.

    Attributes:
        members: {their number in the sweep: what they are}.
        strategy: see Program.
    """

    members: dict[int, Experiment] = field(default_factory=dict)
    strategy: Strategy | None = None

    @property
    def size(self) -> int:
        """The largest number of members of a call."""
        return min(len(self.members), PATHS)

    def programs(self, size: int | None = None) -> dict[str, Program]:
        """A program for every law, compiling in the background."""
        first = next(iter(self.members.values()))
        inputs = (first.segment(0), size or self.size, 1, self.strategy)
        return {law: Program(first, law, *inputs) for law in first.laws}


def groups(sweep: Sweep, strategy: Strategy | None = None) -> tuple[list[Group], dict[int, str]]:
    """The groups of all members, and {number of a member: why it can be in none}."""
    of_form: dict[Hashable, Group] = {}
    refused: dict[int, str] = {}
    for number, member in enumerate(sweep.members):
        try:
            found = Experiment.from_config(sweep.config_of(member))
            forms = tuple((law, form(found, law)) for law in found.laws)
            group = of_form.setdefault((forms, len(found.times), len(found.segments)), Group(strategy=strategy))
            group.members[number] = found
        except Exception as error:  # whatever a task, a model or a law of a user's own may raise
            refused[number] = _one_line(error)
    return list(of_form.values()), refused


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
            entries = ledger.entries(ids, worker.now())
            lost = {ids[i]: entry.attempts + 1 for i, entry in entries.items() if entry.state == "interrupted"}
            running = {ids[i]: entry.attempts for i, entry in entries.items() if entry.state == "running"}
            if not lost and not (stay and running):
                return
            attempts = {**running, **lost}
            if not lost:
                time.sleep(PAUSE_S)


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
        stored = [read_rows(path) for path in map(self._checkpoint, batch) if path.exists()]
        begin = time.perf_counter()
        try:
            _lead(index, batch, size)
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
                self.commit(batch, attempts, [{"state": "failed", "reason": _one_line(error)}] * len(batch))
                return time.perf_counter() - begin
            return max(self._attempt(index, group, [number], attempts, 1) for number in batch)
        seconds = (time.perf_counter() - begin) / len(batch)
        ends = [{**_ended(found, rows, i), "seconds": seconds} for i, found in enumerate(members)]
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
            return 0, 0
        law, segment = read_rows(path, ["at"])["at"][0]
        return int(law), int(segment)

    def _keep(self, batch: Sequence[int], rows: Rows) -> None:
        for i, number in enumerate(batch):
            write_rows(self._checkpoint(number), {name: values[i : i + 1] for name, values in rows.items()})


def integrated(
    programs: Mapping[str, Program],
    members: Sequence[Experiment],
    stored: Sequence[Rows] = (),
    checkpoint_s: float = np.inf,
    keep: Callable[[Rows], None] = lambda _: None,
) -> Rows:
    """Integrate all laws of members of one form.

    Args:
        programs: of the laws.
        members: what they are.
        stored: what `keep` was given for each of them, when they are to go on from there.
        checkpoint_s: seconds between calls of `keep`.
        keep: called with all that is needed to go on.

    Returns:
        {"LAW/PROBE": [member, t, ...], nan where the law did not come} and, for every law, its times "LAW/t"
        [member, t] and how it ended, "LAW/end", "LAW/steps" and "LAW/outcome" [member].
    """
    rows: Rows = {name: np.concatenate([one[name] for one in stored]) for name in (stored[0] if stored else ())}
    at_law, at_segment = rows.pop("at")[0].tolist() if rows else (0, 0)
    segments = len(members[0].segments)
    kept = time.perf_counter()
    for number, (law, program) in enumerate(programs.items()):
        if number < at_law:
            continue
        cohort = program.begin(members, [found.segment(0) for found in members])
        places = program.places(len(members))
        begin = at_segment if number == at_law else 0
        if begin:
            state: Any = (cohort.params, cohort.memory)
            leaves = [_with(leaf, places, rows[f"state/{i}"]) for i, leaf in enumerate(jax.tree.leaves(state))]
            state = jax.tree.unflatten(jax.tree.structure(state), leaves)
            outcome = _with(cohort.outcome, places, rows[f"{law}/outcome"])
            cohort = program.onwards(cohort, [found.segment(begin) for found in members], outcome, state)
        for segment in range(begin, segments):
            reached = program(cohort)
            _add(rows, law, members, segment, jax.tree.map(functools.partial(_rows_at, places), reached))
            goes_on = segment + 1 < segments
            state = (reached.params, reached.memory) if goes_on else ()
            if goes_on:
                outcome = _with(reached.outcome, places, rows[f"{law}/outcome"])
                cohort = program.onwards(cohort, [found.segment(segment + 1) for found in members], outcome, state)
            if time.perf_counter() - kept > checkpoint_s:
                now = {f"state/{i}": leaf[places] for i, leaf in enumerate(jax.tree.leaves(state))}
                position = (number, segment + 1) if goes_on else (number + 1, 0)
                keep({**rows, **now, "at": np.tile(position, (len(members), 1))})
                kept = time.perf_counter()
    return {name: values for name, values in rows.items() if not name.startswith("state/")}


def _rows_at(places: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    return leaf[places]


def _with(leaf: Any, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    changed = leaf.copy()
    changed[places] = values
    return changed


def _add(rows: Rows, law: str, members: Sequence[Experiment], segment: int, reached: Trajectory) -> None:
    """Add what members found in a segment; its first row is the last one of the segment before."""
    count = len(members)
    if segment == 0:
        rows[f"{law}/t"] = np.stack([found.times for found in members])
        rows |= {f"{law}/{key}": np.zeros(count) for key in ("end", "steps", "outcome")}
        for probe, values in reached.probes.items():
            rows[f"{law}/{probe}"] = np.full((count, len(members[0].times), *values.shape[2:]), np.nan)
    part = members[0].segments[segment]
    new = slice(int(segment > 0), part.stop - part.start)
    goes_on = rows[f"{law}/outcome"] == COMPLETED
    for probe, values in reached.probes.items():
        valid = (reached.valid & goes_on[:, None])[:, new].reshape(count, -1, *(1,) * (values.ndim - 2))
        rows[f"{law}/{probe}"][:, part.start + new.start : part.stop] = np.where(valid, values[:, new], np.nan)
    rows[f"{law}/steps"] += np.where(goes_on, reached.steps, 0)
    rows[f"{law}/end"] = np.where(goes_on, reached.end, rows[f"{law}/end"])
    rows[f"{law}/outcome"] = np.where(goes_on, reached.outcome, rows[f"{law}/outcome"])


def _ended(found: Experiment, rows: Rows, i: int) -> dict[str, Any]:
    """State, reason and numbers of a member."""
    laws, states, reasons = {}, [], []
    for law in found.laws:
        values = {
            name.removeprefix(f"{law}/"): column[i] for name, column in rows.items() if name.startswith(f"{law}/")
        }
        outcome = int(values.pop("outcome"))
        end, steps, t = values.pop("end"), values.pop("steps"), values.pop("t")
        known = np.ones(len(t), bool) if outcome == COMPLETED else t < end
        probes = {name: column[known] for name, column in values.items()}
        trajectory = Trajectory(t[known], probes, known, None, *map(np.asarray, (int(steps), outcome, float(end))))
        summary = summary_of(found.laws[law], trajectory)
        if "margin" in probes:
            summary["T1"] = zero_crossing(trajectory.t, probes["margin"]) if known.any() else float("nan")
        state = "diverged" if outcome == NON_FINITE else summary.pop("state")
        states.append(state)
        reasons += [f"{law}: {summary['reason']}"] if state != "done" else []
        laws[law] = {key: value for key, value in summary.items() if key not in ("state", "reason")}
    worst = next((state for state in ("failed", "diverged") if state in states), "done")
    return {"state": worst, "reason": "; ".join(reasons), "laws": laws}


def _one_line(error: Exception) -> str:
    kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())[:300]


@contextlib.contextmanager
def _leading() -> Iterator[None]:
    """The processes that follow are let go at the end."""
    try:
        yield
    finally:
        _lead(STOP, (), 0)


def _lead(index: int, batch: Sequence[int], size: int) -> None:
    """Tell the other processes what is integrated next: members of a group, by programs of a size.

    Before they are compiled: all do that at the same time, and nobody waits for longer than the others' patience.
    """
    if jax.process_count() > 1:
        message = np.full(PATHS + 3, STOP)
        message[: len(batch) + 3] = index, size, len(batch), *batch
        multihost_utils.broadcast_one_to_all(message)


def follow(found: Sequence[Group]) -> None:
    """Integrate with the first process of jax.distributed what it says; `found` are the same groups as there."""
    programs: dict[tuple[int, int], dict[str, Program]] = {}
    while True:
        message = multihost_utils.broadcast_one_to_all(np.zeros(PATHS + 3, int)).tolist()
        index, size, count = message[:3]
        if index == STOP:
            return
        if (index, size) not in programs:
            programs[index, size] = found[index].programs(size)
        with contextlib.suppress(Exception):  # the first process meets it too, and says so
            integrated(programs[index, size], [found[index].members[number] for number in message[3 : count + 3]])
