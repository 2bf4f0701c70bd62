"""Write and read run folders.

    RUN/config.json       the resolved config          RUN/provenance.json   format, versions, commit, device, command
    RUN/status.json       state, reason, timings       RUN/checkpoints/LAW/T the parameters at time T (orbax)
    RUN/trajectory.zarr   a group for each law, and `data`, the training set
    RUN/probes/LAW/NAME   probes asked for later       RUN/manifest.jsonl    the SHA-256 of all that is above
    RUN/figures, wandb    drawn from the record, and not in the manifest

Files and groups are written under a hidden name and then renamed, so that no reader sees half of one. The format is the
number dynamics.runs.manifest.FORMAT; a record of another format is not read.
"""

import contextlib
import functools
import json
import os
import pathlib
import platform
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
import zarr
from jaxtyping import PyTree

from dynamics.config import ConfigError
from dynamics.files import one_line
from dynamics.runs.manifest import FORMAT, Manifest, check_format
from dynamics.runs.storage import Arrays, consolidate, overwrite_json, write_group, write_json

STORE = "trajectory.zarr"


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
        write_json(partial / "provenance.json", {"format": FORMAT, **origin})
        status = {"state": "running", "reason": "", "laws": {}, "pid": os.getpid(), "host": platform.node()}
        write_json(partial / "status.json", status)
        zarr.create_group(partial / STORE)
        consolidate(partial / STORE)
        for path in ("config.json", "provenance.json", f"{STORE}/zarr.json"):
            Manifest(partial).add(path)
        Manifest(partial).begin("status.json")  # until the end, so that it needs no room on a full disk then
        try:
            partial.rename(self.path)
        except OSError:  # another process made it meanwhile
            shutil.rmtree(partial)
            raise exists from None
        self._manifest = Manifest(self.path)
        self._checkpointer = ocp.StandardCheckpointer()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writes: list[Future] = []

    def _later(self, write: Callable[..., None], *inputs: Any) -> None:
        self._writes.append(self._thread.submit(write, *inputs))

    def status(self, **status: Any) -> None:
        """Replace status.json."""
        with self._manifest.writing("status.json"):
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
        with self._manifest.writing(f"{STORE}/zarr.json"), self._manifest.writing(f"{STORE}/{name}"):
            partial.rename(self.path / STORE / name)
            consolidate(self.path / STORE)

    def checkpoint(self, law: str, t: float, params: PyTree, memory: PyTree) -> None:
        """Store parameters and what else the law needs to go on, in the background."""
        self._later(self._write_checkpoint, f"checkpoints/{law}/{float(t)!r}", {"params": params, "memory": memory})

    def _write_checkpoint(self, path: str, state: PyTree) -> None:
        with self._manifest.writing(path):
            self._checkpointer.save((self.path / path).absolute(), state)
            self._checkpointer.wait_until_finished()

    def failed(self, error: BaseException, laws: Mapping[str, Any]) -> None:
        """Record that the run ends with an exception; what was written before is kept.

        Args:
            error: the exception; Ctrl-C is an interruption, any other a failure.
            laws: the summaries of the laws that had ended.
        """
        with contextlib.suppress(Exception):  # the first error is the one to be seen
            self.close()
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        status = {"state": state, "reason": one_line(error), "laws": dict(laws)}
        with contextlib.suppress(OSError):
            overwrite_json(self.path / "status.json", status)
            try:
                self._manifest.add("status.json")
            except OSError as full:
                overwrite_json(self.path / "status.json", {**status, "manifest": one_line(full)})

    def close(self) -> None:
        """Wait until all writes that go on in the background are on disk, and end the thread that makes them.

        Raises:
            OSError: the first error of a write.
        """
        self._thread.shutdown()
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
        return json.loads((self.path / name).read_text())

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
        """Format, versions, commit, device, dtype and command."""
        return self._json("provenance.json")

    def groups(self) -> set[str]:
        """The names of all recorded groups: laws, and "data"."""
        metadata = json.loads((self.path / STORE / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
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
        return xarray.open_zarr(self.path / STORE, group=group)

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
        """
        return jax.tree.map(np.asarray, self._restored(law, t)["params"])

    def state_at(self, law: str, t: float, like: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        """The stored parameters and memory of a law at time t; `like` are others of the same structure.

        Raises:
            KeyError: when none are stored at t (see `checkpoints`).
        """
        state = jax.tree.map(np.asarray, self._restored(law, t, {"params": like[0], "memory": like[1]}))
        return state["params"], state["memory"]

    def probe(self, name: str, law: str, t: float | Sequence[float] | None = None) -> Any:
        """A probe that was not recorded, as an xarray DataArray over t with the bits that it would have had.

        It is found by integrating again from the checkpoint before, by the program of the recorded config with this
        probe; where that does not end at the next checkpoint, a warning says so. What `dynamics probe` found is kept in
        RUN/probes, and is read from there.

        Args:
            name: of a registered probe.
            law: of the record.
            t: one or more times, multiples of the step if the law makes steps; if not given, all saved times, for a
                large probe all checkpoints. A flow is interpolated at times that are not saved, as at those that are,
                and for large probes integrated up to them.

        Raises:
            ConfigError: for a probe that is not registered or does not fit, and a time that the law does not reach.
        """
        from dynamics.runs.asking import ask  # here, since it reads records

        return ask(self, name, law, t)

    def _restored(self, law: str, t: float, like: PyTree = None) -> Any:
        stored = self.checkpoints(law)
        matches = [time for time in stored if np.isclose(time, t, rtol=1e-9, atol=0.0)]  # t may be a rounded sum
        if not matches:
            times = ", ".join(map(str, stored)) or "never"
            raise KeyError(f"no parameters of {law!r} at t = {t}; stored at t = {times}")
        with ocp.StandardCheckpointer() as checkpointer, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # orbax warns that no sharding is given; these become numpy arrays
            return checkpointer.restore((self.path / "checkpoints" / law / repr(matches[0])).absolute(), like)


def load_run(path: pathlib.Path) -> Record:
    """The record in a run folder, whose arrays are read when they are used.

    Raises:
        ConfigError: when the folder does not hold a run, or one of another format.
    """
    if not (path / "config.json").is_file():
        raise ConfigError("run", str(path), "must be the folder of a run or of a sweep (config.json or sweep.json)")
    check_format(path)
    return Record(path)


def runs(workdir: str | os.PathLike[str]) -> list[Record]:
    """The records of all runs in a folder, the oldest run first."""
    folders = [p.parent for p in pathlib.Path(workdir).glob("*/config.json") if not p.parent.name.startswith(".")]
    return [Record(p) for p in sorted(folders, key=lambda p: (p / "config.json").stat().st_mtime)]
