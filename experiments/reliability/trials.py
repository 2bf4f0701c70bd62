"""Commands in processes that are disturbed: killed at a time or at a named point, started again, and compared.

Every trial forks a process that gives one command, as a terminal would.
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import tempfile
import threading
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
from dynamics.figures.style import figure, save
from dynamics.runs.record import Record
from dynamics.runs.verify import check_run
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.verify import check_sweep

SMALL = pathlib.Path(__file__).with_name("small.py")
KINDS = ("run", "compare", "sweep")
NAME = "disturbed"
FORK = multiprocessing.get_context("fork")
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
    "adding to the manifest": ("dynamics.runs.manifest.Manifest", "_append", ("run", "sweep", "compare"), "disabled"),
    "claiming": ("dynamics.sweeps.ledger.Worker", "claim", ("sweep", "compare"), "disabled"),
    "committing": ("dynamics.sweeps.ledger.Worker", "commit", ("sweep", "compare"), "disabled"),
    "wandb writing": ("dynamics.runs.tracking", "_log", ("run",), "offline"),
    "drawing": ("experiments.reliability.small", "figure", ("run", "sweep"), "disabled"),
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


def draw_once() -> None:
    """Read fonts and styles here, so that no process that is forked has to."""
    drawn = figure(4, 3)
    drawn.subplots().set(xlabel="t", ylabel="loss", xscale="symlog", yscale="log")
    with tempfile.TemporaryDirectory() as folder:
        save(drawn, pathlib.Path(folder), "once", "nothing")


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

    def __init__(self, kind: str, folder: pathlib.Path, *changes: str, config: pathlib.Path = SMALL):
        """A command with changes of its config, in an empty folder or in that of a trial before."""
        self.kind, self.folder = kind, folder
        self.path = folder / NAME
        # The page about a record takes half of its time; it is drawn of the record, and nothing reads it.
        command = ["dynamics", kind, f"--config={config}", f"--workdir={folder}", f"--name={NAME}", "--no-report"]
        self._command = [*command, "--config.wandb.mode=disabled", "--config.launch.checkpoint_s=0.1", *changes]
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

    @property
    def state(self) -> str:
        """Of a run, as it is on disk; "" if there is none yet."""
        file = self.path / "status.json"
        return str(json.loads(file.read_text())["state"]) if file.exists() else ""

    def tail(self) -> str:
        """The last lines that the command wrote."""
        return self._log.read_text()[-1500:]
