"""Kill runs, comparisons and sweeps at any moment, start them again, and compare with what was not disturbed.

    python -m experiments.reliability.kills --kills=500 --terms=50

Every trial forks a process that gives one command, as a terminal would. It is killed with SIGKILL at a random time, or
at one of the POINTS: at the n-th call of a function, up to 20 ms after the call began. After every kill the record must
be readable; at the end it must have the bits of a record that was not disturbed, and pass its manifest. SIGTERM is
timed until the record says that it was interrupted.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint  # noqa: F401  (before the fork, as the others)
import wandb  # noqa: F401
import xarray  # noqa: F401

import dynamics
import dynamics.cli
import dynamics.cli.commands
import dynamics.cli.studies
import experiments.reliability.small  # noqa: F401
from dynamics.runs.record import Record
from dynamics.runs.verify import check_run
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.verify import check_sweep

CONFIG = f"--config={pathlib.Path(__file__).with_name('small.py')}"
KINDS = ("run", "compare", "sweep")
NAME = "disturbed"
FORK = multiprocessing.get_context("fork")
KILLS_OF_A_RECORD = (2, 8)
SLACK_S = 0.02  # after a call began
# What goes on: the function, in which commands, and the mode of wandb.
POINTS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "tracing": ("dynamics.runs.engine.Program", "__init__", ("run", "sweep", "compare"), "disabled"),
    "compiling": ("dynamics.runs.programs", "_in_background", ("run", "sweep", "compare"), "disabled"),
    "integrating": ("dynamics.runs.engine.Program", "stretch", ("run", "sweep", "compare"), "disabled"),
    "writing zarr": ("zarr.Group", "create_array", ("run", "sweep", "compare"), "disabled"),
    "giving a name": ("pathlib.Path", "rename", ("run", "sweep", "compare"), "disabled"),
    "replacing a file": ("pathlib.Path", "replace", ("run", "sweep", "compare"), "disabled"),
    "orbax committing": ("orbax.checkpoint.StandardCheckpointer", "wait_until_finished", ("run",), "disabled"),
    "storing what goes on": ("dynamics.runs.recorder.Recorder", "_write_unfinished", ("run",), "disabled"),
    "adding to the manifest": ("dynamics.runs.manifest.Manifest", "_append", ("run", "sweep"), "disabled"),
    "claiming": ("dynamics.sweeps.ledger.Worker", "claim", ("sweep", "compare"), "disabled"),
    "committing": ("dynamics.sweeps.ledger.Worker", "commit", ("sweep", "compare"), "disabled"),
    "wandb writing": ("dynamics.runs.tracking", "_log", ("run",), "offline"),
    "drawing": ("dynamics.figures.style", "figure", ("run", "sweep"), "disabled"),
}


class Kill(NamedTuple):
    """When a process is killed.

    Attributes:
        point: one of POINTS, or "" for a time.
        call: the number of the call of that function.
        delay: seconds after the call began, or after the start.
    """

    point: str
    call: int
    delay: float


def _command(kind: str, workdir: pathlib.Path, mode: str) -> list[str]:
    place = [f"--workdir={workdir}", f"--name={NAME}"]
    more = [f"--config.wandb.mode={mode}", "--config.launch.checkpoint_s=0.1"]
    return ["dynamics", kind, CONFIG, *place, *more]


def _child(command: list[str], kill: Kill | None, log: pathlib.Path) -> None:
    """Give the command; set the trap first."""
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if kill is not None and kill.point:
        _set_trap(kill)
    # As at the end of a script, where no thread is left: the fork must not go on with the parent's program.
    os._exit(_code(command))


def _code(command: list[str]) -> int:
    try:
        code = dynamics.cli.main(command)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _set_trap(kill: Kill) -> None:
    """Let a function start the timer of the kill at one of its calls."""
    place, name, _, _ = POINTS[kill.point]
    try:
        owner: Any = importlib.import_module(place)
    except ImportError:
        module, _, member = place.rpartition(".")
        owner = getattr(importlib.import_module(module), member)
    function, calls = getattr(owner, name), iter(range(1, 1_000_000))

    def trapped(*inputs: Any, **options: Any) -> Any:
        if next(calls) == kill.call:
            threading.Timer(kill.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return function(*inputs, **options)

    setattr(owner, name, trapped)


def apart(function: Callable[..., Any], *inputs: Any) -> Any:
    """What a function returns, called in a process of its own: this one must have no threads when it forks."""
    here, there = multiprocessing.Pipe()

    def call() -> None:
        there.send(function(*inputs))
        os._exit(0)

    process = FORK.Process(target=call)
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


class Trial:
    """One record that is disturbed until it is done."""

    def __init__(self, kind: str, folder: pathlib.Path, mode: str = "disabled"):
        self.kind, self.folder = kind, folder
        self.path = folder / NAME
        self._command = _command(kind, folder, mode)
        self._log = folder / "log"

    @contextlib.contextmanager
    def started(self, kill: Kill | None = None) -> Iterator[Any]:
        """The process of the command."""
        process = FORK.Process(target=_child, args=(self._command, kill, self._log))
        process.start()
        try:
            yield process
        finally:
            process.join()

    def disturbed(self, kill: Kill) -> int:
        """Give the command and kill it as planned; its exit code, -9 if it was killed."""
        with self.started(kill) as process:
            if not kill.point:
                process.join(kill.delay)
                process.kill()
        return int(process.exitcode)

    def whole(self) -> int:
        """Give the command; its exit code."""
        with self.started() as process:
            pass
        return int(process.exitcode)

    def readable(self) -> str:
        """What went wrong when all of the record was read; empty if it was read; to be called `apart`."""
        try:
            self.record()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def record(self) -> Any:
        """The record, all of it read; None if there is none yet."""
        if not self.path.exists():
            return None
        record = dynamics.load(self.path)
        if isinstance(record, Record):
            for group in record.groups():
                record[group].load()
            for law in record.config.laws:
                for t in record.checkpoints(law):
                    record.params(law, t)
            assert record.status["state"] in ("running", "done")
        else:
            assert isinstance(record, SweepRecord)
            assert record.entries
        return record

    def content(self) -> dict[str, Any]:
        """{name: array} of all numbers of the record that are not times on a clock; to be called `apart`."""
        record = self.record()
        groups = {group: record[group].load() for group in (record.laws if self.kind != "run" else record.groups())}
        return {
            f"{group}/{name}": values.values
            for group, data in groups.items()
            for name, values in data.variables.items()
            if name not in ("seconds", "host")
        }

    def finding(self, undisturbed: dict[str, Any]) -> str:
        """What is wrong with the record that is done; empty if nothing is; to be called `apart`."""
        content = self.content()
        if content.keys() != undisturbed.keys():
            return f"names {sorted(content.keys() ^ undisturbed.keys())}"
        for name, values in undisturbed.items():
            if values.tobytes() != content[name].tobytes() and not np.array_equal(values, content[name]):
                return f"{name} has other bits"
        damaged = (check_run if self.kind == "run" else check_sweep)(self.path).damaged
        return "; ".join(damaged)

    def tail(self) -> str:
        """The last lines that the command wrote."""
        return self._log.read_text()[-1500:]


def _kills(kind: str, count: int, seconds: float, chance: random.Random) -> Iterator[tuple[Kill, str]]:
    """Kills of records of a kind, in turn at a time and at a point, and the mode of wandb."""
    points = [name for name, (_, _, kinds, _) in POINTS.items() if kind in kinds]
    for i in range(count):
        if i % 2:
            yield Kill("", 0, chance.uniform(0, seconds)), "disabled"
        else:
            point = points[i // 2 % len(points)]
            yield Kill(point, int(2 ** chance.uniform(0, 2.5)), chance.uniform(0, SLACK_S)), POINTS[point][3]


class Counts(NamedTuple):
    """What was tried, and what went wrong.

    Attributes:
        kills: processes that were killed, by the point; "" for a time.
        records: that were done at the end.
        lost: lines of records that could not be read after a kill.
        wrong: lines of records that did not go on, or not to the same bits.
    """

    kills: Counter[str]
    records: Counter[str]
    lost: list[str]
    wrong: list[str]


def kill_at_any_moment(count: int, chance: random.Random, say: Callable[[str], None] = lambda _: None) -> Counts:
    """Kill `count` times; every record is killed several times and then finished."""
    counts = Counts(Counter(), Counter(), [], [])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for place, kind in enumerate(KINDS):
            of_kind = count * (place + 1) // len(KINDS) - count * place // len(KINDS)
            undisturbed, seconds = _undisturbed(kind, pathlib.Path(folder))
            plans = _kills(kind, 100 * of_kind, seconds, chance)
            while sum(counts.kills.values()) < of_kind + count * place // len(KINDS):
                trial = Trial(kind, pathlib.Path(tempfile.mkdtemp(dir=folder)))
                _disturb(trial, chance.randint(*KILLS_OF_A_RECORD), plans, counts)
                code = trial.whole() if not _is_done(trial) else 0
                finding = f"exit code {code}: {trial.tail()}" if code else apart(trial.finding, undisturbed)
                counts.records[kind] += 1
                if finding:
                    counts.wrong.append(f"{kind}: {finding}")
                say(f"{kind}: {sum(counts.kills.values())} kills, {len(counts.lost)} lost, {len(counts.wrong)} wrong")
    return counts


def _undisturbed(kind: str, folder: pathlib.Path) -> tuple[dict[str, Any], float]:
    """The content of a record that nothing disturbed, and the seconds that it took with warm programs."""
    for place in ("first", "second"):
        trial = Trial(kind, folder / f"{kind}-{place}")
        trial.folder.mkdir()
        begin = time.perf_counter()
        if trial.whole():
            raise SystemExit(trial.tail())
    seconds = time.perf_counter() - begin
    return apart(trial.content), seconds


def _disturb(trial: Trial, times: int, plans: Iterator[tuple[Kill, str]], counts: Counts) -> None:
    for _ in range(times):
        kill, mode = next(plans)
        trial = Trial(trial.kind, trial.folder, mode)
        if trial.disturbed(kill) != -signal.SIGKILL:
            return  # it was done before
        counts.kills[kill.point] += 1
        if problem := apart(trial.readable):
            counts.lost.append(f"{trial.kind}, {kill}: {problem}")


def _is_done(trial: Trial) -> bool:
    """Whether a run has ended: the command again would say so and end with 2."""
    return trial.kind == "run" and trial.path.exists() and _state(trial.path) == "done"


def seconds_to_save(count: int, chance: random.Random) -> list[float]:
    """The seconds from SIGTERM until the record of a run says that it was interrupted, or until the process ends."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        undisturbed, whole = _undisturbed("run", pathlib.Path(folder))
        while len(seconds) < count:
            trial = Trial("run", pathlib.Path(tempfile.mkdtemp(dir=folder)))
            with trial.started() as process:
                process.join(chance.uniform(0, whole))
                begun = trial.path.exists()
                begin = time.perf_counter()
                if process.is_alive():
                    os.kill(process.pid, signal.SIGTERM)
                while process.is_alive() and not (begun and _state(trial.path) != "running"):
                    time.sleep(0.002)
                saved = time.perf_counter() - begin
            if _is_done(trial):
                continue
            seconds.append(saved)
            code = trial.whole()
            if finding := f"exit code {code}: {trial.tail()}" if code else apart(trial.finding, undisturbed):
                raise SystemExit(f"after SIGTERM: {finding}")
    return seconds


def _state(path: pathlib.Path) -> str:
    return str(json.loads((path / "status.json").read_text())["state"])


def main() -> None:
    """Print the counts; exit with 1 if a record was lost or a resumed one is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--terms", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    counts = kill_at_any_moment(arguments.kills, chance, lambda line: print(line, file=sys.stderr, flush=True))
    for line in (*counts.lost, *counts.wrong):
        print(line)
    at = ", ".join(f"{point or 'at a random time'} {number}" for point, number in sorted(counts.kills.items()))
    kills, records = sum(counts.kills.values()), sum(counts.records.values())
    print(f"kills tried {kills} ({at}); records {records} ({dict(counts.records)})")
    print(f"records lost {len(counts.lost)}; wrong resumes, those with other bits included, {len(counts.wrong)}")
    if arguments.terms:
        seconds = seconds_to_save(arguments.terms, chance)
        worst = f"worst of {len(seconds)} {max(seconds):.2f}, median {np.median(seconds):.2f}"
        print(f"seconds from SIGTERM to saved: {worst}")
    sys.exit(int(bool(counts.lost or counts.wrong)))


if __name__ == "__main__":
    main()
