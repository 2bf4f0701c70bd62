"""Write and read run folders.

    RUN/config.json       the resolved config          RUN/provenance.json   versions, commit, device, dtype, command
    RUN/status.json       state, reason, timings       RUN/checkpoints/LAW/T the parameters at time T (orbax)
    RUN/trajectory.zarr   a group for each law, and `data`, the training set

Files and groups are written under a hidden name and then renamed, so that no reader sees half of one.
"""

import contextlib
import functools
import json
import logging
import os
import pathlib
import platform
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
import zarr
from jaxtyping import PyTree
from zarr.codecs import Crc32cCodec, ZstdCodec

from dynamics.config import ConfigError
from dynamics.files import one_line, read_json

Arrays = dict[str, tuple[tuple[str, ...], Any]]  # {name: (dimension names, values)}
STORE = "trajectory.zarr"
COMPRESSORS = (ZstdCodec(), Crc32cCodec())  # without a checksum, a flipped bit gives another number


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a file completely or not at all."""
    with replacing(path) as partial:
        partial.write_text(text)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path to write to; the file there then replaces the one at `path`, unless there was an error."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: pathlib.Path, content: Any) -> None:
    """Write plain values as JSON, completely or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def overwrite_json(path: pathlib.Path, content: Any) -> None:
    """As write_json; if there is no room for another file, write into the old one, which has its place on the disk."""
    try:
        write_json(path, content)
    except OSError:
        with path.open("r+") as file:
            file.write(json.dumps(content, ensure_ascii=False) + "\n")
            file.truncate()


def consolidate(store: pathlib.Path) -> None:
    """List all groups in the root's metadata, where readers look for them."""
    # The standard of zarr 3 does not have this metadata yet, but xarray reads it, and warns where it is missing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)


def write_group(
    path: pathlib.Path, arrays: Arrays, coordinates: Mapping[str, Any], attributes: Mapping[str, Any]
) -> None:
    """Write a zarr group that xarray opens; the arguments are those of Recorder.group."""
    group = zarr.create_group(path, attributes=dict(attributes))
    used = {dim for dims, _ in arrays.values() for dim in dims}
    labels = {dim: ((dim,), values) for dim, values in coordinates.items() if dim in used}
    for key, (dims, values) in {**arrays, **labels}.items():
        data = np.asarray(values)
        if data.dtype.kind == "U":
            data = data.astype(np.dtypes.StringDType())
        chunks = tuple(max(s, 1) for s in data.shape)
        group.create_array(key, data=data, dimension_names=dims, chunks=chunks, compressors=COMPRESSORS)


@contextlib.contextmanager
def _system_errors(path: pathlib.Path) -> Iterator[None]:
    """Raise OSError for the errors of the operating system that orbax's store raises as ValueError."""
    try:
        yield
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        # Its other tasks that failed would print their tracebacks when Python ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None


class Recorder:
    """Writes one run folder; groups and checkpoints are written in a background thread, in order."""

    def __init__(self, workdir: pathlib.Path, name: str, config: Mapping[str, Any], origin: Mapping[str, Any]):
        """Create the folder with its config, provenance and status "running".

        Raises:
            ConfigError: when a run of that name exists.
        """
        self.path = workdir / name
        exists = ConfigError("name", name, f"exists in {workdir}; choose another")
        if self.path.exists():
            raise exists
        workdir.mkdir(parents=True, exist_ok=True)
        partial = workdir / f".{name}.partial-{os.getpid()}"
        partial.mkdir()
        write_json(partial / "config.json", config)
        write_json(partial / "provenance.json", origin)
        status = {"state": "running", "reason": "", "laws": {}, "pid": os.getpid(), "host": platform.node()}
        write_json(partial / "status.json", status)
        zarr.create_group(partial / STORE)
        consolidate(partial / STORE)
        try:
            partial.rename(self.path)
        except OSError:  # another process made it meanwhile
            shutil.rmtree(partial)
            raise exists from None
        self._checkpointer = ocp.StandardCheckpointer()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writes: list[Future] = []

    def _later(self, write: Callable[..., None], *inputs: Any) -> None:
        self._writes.append(self._thread.submit(write, *inputs))

    def status(self, **status: Any) -> None:
        """Replace status.json."""
        write_json(self.path / "status.json", status)

    def group(self, name: str, arrays: Arrays, coordinates: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """Add a group to trajectory.zarr, in the background.

        Args:
            name: a new one.
            arrays: {name: (dimension names, values)}.
            coordinates: {dimension: labels}; dimensions that no array has are skipped.
            attributes: plain values.
        """
        self._later(self._write_group, name, arrays, coordinates, attributes)

    def _write_group(
        self, name: str, arrays: Arrays, coordinates: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> None:
        partial = self.path / f".{name}.partial"
        write_group(partial, arrays, coordinates, attributes)
        partial.rename(self.path / STORE / name)
        consolidate(self.path / STORE)

    def checkpoint(self, law: str, t: float, params: PyTree) -> None:
        """Store parameters, in the background."""
        path = (self.path / "checkpoints" / law / repr(float(t))).absolute()
        self._later(self._checkpointer.save, path, params)

    def failed(self, error: BaseException, laws: Mapping[str, Any]) -> None:
        """Record that the run ends with an exception; what was written before is kept.

        Args:
            error: the exception; Ctrl-C is an interruption, any other a failure.
            laws: the summaries of the laws that had ended.
        """
        with contextlib.suppress(Exception):  # the first error is the one to be seen
            self.close()
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with contextlib.suppress(OSError):
            overwrite_json(self.path / "status.json", {"state": state, "reason": one_line(error), "laws": dict(laws)})

    def close(self) -> None:
        """Wait until all writes that go on in the background are on disk, and end the thread that makes them.

        Raises:
            OSError: the first error of a write.
        """
        self._thread.shutdown()
        with _system_errors(self.path):
            for write in self._writes:
                write.result()
            self._checkpointer.wait_until_finished()
        self._checkpointer.close()


class Record:
    """The content of a run folder.

    `record["flow"]` is a lazy xarray Dataset of the probes of the law `flow` over t, `record["data"]` the training set.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __repr__(self) -> str:
        status = self.status
        lines = [f"Record of {self.path}: {self.state}" + (f" ({status['reason']})" if status["reason"] else "")]
        for law in self.laws:
            t = self[law].t.values
            lines.append(f"  {law}: t = {t[0]:g} to {t[-1]:g}, {len(t)} times; {', '.join(self[law].data_vars)}")
        return "\n".join(lines)

    def _json(self, name: str) -> Any:
        return read_json(self.path / name)

    @functools.cached_property
    def config(self) -> ml_collections.ConfigDict:
        """The resolved config."""
        return ml_collections.ConfigDict(self._json("config.json"))

    @property
    def status(self) -> dict[str, Any]:
        """The content of status.json: the state ("running", "done", "failed", "interrupted"), its reason, timings.

        Under "laws", it has the same and the numbers that matter for each law.
        """
        return self._json("status.json")

    @property
    def state(self) -> str:
        """status["state"]; "killed" if the process that should be running on this machine is gone."""
        status = self.status
        if status["state"] == "running" and status["host"] == platform.node():
            try:
                os.kill(status["pid"], 0)
            except ProcessLookupError:
                return "killed"
            except PermissionError:
                pass  # the process exists, and belongs to another user
        return status["state"]

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, commit, device, dtype and command."""
        return self._json("provenance.json")

    def groups(self) -> set[str]:
        """The names of all recorded groups: laws, and "data"."""
        metadata = read_json(self.path / STORE / "zarr.json")["consolidated_metadata"]["metadata"]
        return {name for name in metadata if "/" not in name}

    @property
    def laws(self) -> list[str]:
        """The laws that are recorded, in the order of the config."""
        groups = self.groups()
        return [law for law in self.config.laws if law in groups]

    def __getitem__(self, group: str) -> Any:
        """The lazy xarray Dataset of a law, or of "data".

        Raises:
            KeyError: for a group that is not recorded.
        """
        import xarray

        if group not in (groups := self.groups()):
            recorded = ", ".join([*self.laws, *sorted(groups.difference(self.laws))])
            raise KeyError(f"{group!r} is not recorded in {self.path} (state: {self.state}); there is: {recorded}")
        return xarray.open_zarr(self.path / STORE, group=group, zarr_format=3)

    def checkpoints(self, law: str) -> list[float]:
        """The times at which parameters of a law are stored."""
        folder = self.path / "checkpoints" / law
        times = []
        for entry in folder.iterdir() if folder.is_dir() else ():
            with contextlib.suppress(ValueError):  # an interrupted save leaves a folder whose name is not a number
                times.append(float(entry.name))
        return sorted(times)

    def params(self, law: str, t: float) -> dict[str, np.ndarray]:
        """The stored parameters of a law at time t.

        Raises:
            KeyError: when none are stored at t (see `checkpoints`).
            ConfigError: when they are damaged.
        """
        stored = self.checkpoints(law)
        matches = [time for time in stored if np.isclose(time, t, rtol=1e-9, atol=0.0)]  # t may be a rounded sum
        if not matches:
            times = ", ".join(map(str, stored)) or "never"
            raise KeyError(f"no parameters of {law!r} at t = {t}; stored at t = {times}")
        with ocp.StandardCheckpointer() as checkpointer, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # orbax warns that no sharding is given; these become numpy arrays
            folder = self.path / "checkpoints" / law / repr(matches[0])
            try:
                params = checkpointer.restore(folder.absolute())
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{folder} is damaged: {one_line(error)}") from None
        return jax.tree.map(np.asarray, params)


def load_run(path: pathlib.Path) -> Record:
    """The record in a run folder, whose arrays are read when they are used.

    Raises:
        ConfigError: when the folder does not hold a run.
    """
    if not (path / "config.json").is_file():
        raise ConfigError("run", str(path), "must be the folder of a run or of a sweep (config.json or sweep.json)")
    return Record(path)


def runs(workdir: str | os.PathLike[str]) -> list[Record]:
    """The records of all runs in a folder, the oldest run first."""
    folders = [p.parent for p in pathlib.Path(workdir).glob("*/config.json") if not p.parent.name.startswith(".")]
    return [Record(p) for p in sorted(folders, key=lambda p: (p / "config.json").stat().st_mtime)]
