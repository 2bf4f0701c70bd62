"""Write a run folder; dynamics.runs.record says what is in it."""

import contextlib
import fcntl
import logging
import os
import pathlib
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from jaxtyping import PyTree

from dynamics.config import ConfigError
from dynamics.files import one_line
from dynamics.runs.manifest import FORMAT, Manifest
from dynamics.runs.path import State
from dynamics.runs.record import LOCK, STORE, Record
from dynamics.runs.storage import Arrays, consolidate, folder_beside, json_text, overwrite_json, write_group, write_json
from dynamics.runs.unfinished import write_state
from dynamics.trajectory import Trajectory


@contextlib.contextmanager
def _system_errors(path: pathlib.Path) -> Iterator[None]:
    """Raise OSError for the errors of the operating system that orbax's store raises as ValueError."""
    try:
        yield
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None


@contextlib.contextmanager
def _not_logged() -> Iterator[None]:
    """Errors of orbax's threads and tasks are raised at the end of a write: they are not logged with tracebacks too.

    After an error they are not logged until Python ends, since other tasks of the write fail later.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


class Recorder:
    """Writes one run folder. Arrays and checkpoints are written by a background thread, in the order of the calls.

    Attributes:
        path: the folder.
        lock: a file whose lock says that the folder is being written to; it ends when the file is closed.
    """

    def __init__(self, path: pathlib.Path, lock: BinaryIO):
        import orbax.checkpoint as ocp  # here, so that programs compile meanwhile

        self.path = path
        self.lock = lock
        self._manifest = Manifest(path)
        self._checkpointer = ocp.StandardCheckpointer()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writes: list[Future] = []
        self._broken = False  # whether a write has failed; none is made after it
        self._laws: dict[str, Any] = {}  # the summaries of the laws that have ended and are on disk

    @classmethod
    def new(cls, workdir: pathlib.Path, name: str, config: Mapping[str, Any], origin: Mapping[str, Any]) -> "Recorder":
        """Create a folder with its config, provenance and status "running".

        Raises:
            ConfigError: when another process makes a folder of that name meanwhile.
        """
        import zarr

        workdir.mkdir(parents=True, exist_ok=True)
        partial = folder_beside(workdir / name)
        partial.mkdir()
        write_json(partial / "config.json", config)
        write_json(partial / "provenance.json", {"format": FORMAT, **origin})
        write_json(partial / "status.json", _running({}))
        zarr.create_group(partial / STORE)
        consolidate(partial / STORE)
        for path in ("config.json", "provenance.json", f"{STORE}/zarr.json"):
            Manifest(partial).add(path)
        Manifest(partial).begin("status.json")  # until the end, so that it needs no room on a full disk then
        lock = _locked(partial)
        try:
            partial.rename(workdir / name)
        except OSError:
            shutil.rmtree(partial)
            raise ConfigError("name", name, f"exists in {workdir}; choose another") from None
        return cls(workdir / name, lock)

    @classmethod
    def again(cls, record: Record, origin: Mapping[str, Any]) -> "Recorder":
        """Open the folder of a run that has not ended, to go on with it.

        Raises:
            ConfigError: when another process has it open.
        """
        path = record.path
        try:
            lock = _locked(path)
        except BlockingIOError:
            who = "process {pid} on {host}".format(**record.status)
            raise ConfigError("name", path.name, f"is being run in {path.parent} by {who}; choose another") from None
        recorder = cls(path, lock)
        # What a process left that was killed amid a write.
        for left in [*path.glob(".*partial*"), *path.glob("*/.*partial*"), *path.glob("checkpoints/*/*orbax*")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        recorder._manifest.settle()
        with recorder._manifest.writing(f"{STORE}/zarr.json"):
            consolidate(path / STORE)
        origins = {**record.provenance, "resumed": [*record.provenance.get("resumed", []), dict(origin)]}
        with recorder._manifest.writing("provenance.json"):
            write_json(path / "provenance.json", origins)
        recorder._laws = record.ended
        write_json(path / "status.json", _running(recorder._laws))
        recorder._manifest.begin("status.json")
        return recorder

    def _later(self, write: Callable[..., None], *inputs: Any) -> None:
        self._writes.append(self._thread.submit(self._in_order, write, *inputs))

    def _in_order(self, write: Callable[..., None], *inputs: Any) -> None:
        if not self._broken:
            self._broken = True
            write(*inputs)
            self._broken = False

    def status(self, **status: Any) -> None:
        """Replace status.json. The manifest has it first: a status that says "done" is never without its line."""
        self._manifest.announce("status.json", json_text(status).encode())
        write_json(self.path / "status.json", status)

    def group(self, name: str, arrays: Arrays, coordinates: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """Add a group to trajectory.zarr, or replace it, in the background.

        Args:
            name: of the group.
            arrays: {name: (dimension names, values)}.
            coordinates: {dimension: labels}; dimensions that no array has are skipped.
            attributes: plain values.
        """
        self._later(self._write_group, name, arrays, coordinates, attributes)

    def _write_group(
        self, name: str, arrays: Arrays, coordinates: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> None:
        partial, path = self.path / f".{name}.partial", self.path / STORE / name
        write_group(partial, arrays, coordinates, attributes)
        with self._manifest.writing(f"{STORE}/zarr.json"), self._manifest.writing(f"{STORE}/{name}"):
            if path.exists():  # of a trajectory that was interrupted
                shutil.rmtree(path)
            partial.rename(path)
            consolidate(self.path / STORE)

    def checkpoint(self, law: str, t: float, params: PyTree, memory: PyTree) -> None:
        """Store parameters and what else the law needs to go on, in the background."""
        self._later(self._write_checkpoint, f"checkpoints/{law}/{float(t)!r}", {"params": params, "memory": memory})

    def _write_checkpoint(self, path: str, state: PyTree) -> None:
        if not (self.path / path).exists():  # a process that was killed may have written it
            with self._manifest.writing(path), _not_logged():
                self._checkpointer.save((self.path / path).absolute(), state)
                self._checkpointer.wait_until_finished()

    def unfinished(self, name: str, trajectory: Trajectory, state: State) -> None:
        """Store a trajectory so far, and the state in which it goes on, in the background."""
        self._later(self._write_unfinished, name, trajectory, state)

    def _write_unfinished(self, name: str, trajectory: Trajectory, state: State) -> None:
        path = unfinished_path(name)
        (self.path / path).parent.mkdir(exist_ok=True)
        with self._manifest.writing(path):
            write_state(self.path / path, trajectory, state)

    def ended(self, law: str, summary: Mapping[str, Any]) -> None:
        """Say, in the background, that a law has ended and is recorded."""
        self._later(self._write_ended, law, summary)

    def _write_ended(self, law: str, summary: Mapping[str, Any]) -> None:
        self._laws = {**self._laws, law: dict(summary)}
        write_json(self.path / "status.json", _running(self._laws))
        for name in (law, f"{law}_error"):
            if (self.path / unfinished_path(name)).exists():
                with self._manifest.writing(unfinished_path(name)):
                    (self.path / unfinished_path(name)).unlink()
        with contextlib.suppress(OSError):  # it is not there, or not empty
            (self.path / unfinished_path(law)).parent.rmdir()

    def failed(self, error: BaseException) -> None:
        """Record that the run ends with an exception, Ctrl-C an interruption; what was written before is kept."""
        with contextlib.suppress(Exception):  # the first error is the one to be seen
            self.close()
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        status = {"state": state, "reason": one_line(error), "laws": self._laws}
        try:
            self._manifest.announce("status.json", json_text(status).encode())
        except OSError as full:
            status["manifest"] = one_line(full)
        with contextlib.suppress(OSError):
            overwrite_json(self.path / "status.json", status)

    def close(self) -> None:
        """Wait until all writes that go on in the background are on disk, and end the thread that makes them.

        Raises:
            OSError: the first error of a write.
        """
        self._thread.shutdown()
        with _system_errors(self.path):
            for write in self._writes:
                write.result()
        self._checkpointer.close()


def unfinished_path(name: str) -> str:
    """The file of a trajectory that has not ended, in the folder of its run."""
    return f"unfinished/{name}.npz"


def _running(laws: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": "running", "reason": "", "laws": dict(laws), "pid": os.getpid(), "host": platform.node()}


def _locked(folder: pathlib.Path) -> BinaryIO:
    """The open file whose lock this process has.

    Raises:
        BlockingIOError: when another one has it.
    """
    file = (folder / LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    return file
