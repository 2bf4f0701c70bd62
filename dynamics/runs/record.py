"""Read run folders.

    RUN/config.json          the resolved config
    RUN/status.json          state, reason, timings
    RUN/provenance.json      format, versions, commit, device, command
    RUN/trajectory.zarr      a group for each law, and `data`, the training set
    RUN/checkpoints/LAW/T    the parameters at time T (orbax)
    RUN/unfinished           trajectories that go on
    RUN/probes/LAW/NAME      probes asked for later
    RUN/manifest.jsonl       the SHA-256 of all that is above
    RUN/figures, wandb       drawn from the record, and not in the manifest

Files and groups are written under a hidden name and then renamed, so that no reader sees half of one. The format is the
number dynamics.runs.manifest.FORMAT; a record of another format is not read.
"""

import contextlib
import fcntl
import functools
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import PyTree

from dynamics.config import ConfigError
from dynamics.files import one_line, read_json
from dynamics.notebook import Plots, table
from dynamics.runs.manifest import check_format

STORE = "trajectory.zarr"
LOCK = ".lock"  # held by the process that writes


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

    def _repr_html_(self) -> str:
        """The laws as a table, for notebooks."""
        rows = []
        for law in self.laws:
            data, summary = self[law], self.status["laws"].get(law, {})
            numbers = [
                f"{summary[key]:.4g}" if summary.get(key) is not None else "-" for key in ("end", "loss", "drift")
            ]
            rows.append((law, summary.get("state", "-"), *numbers, ", ".join(map(str, data.data_vars))))
        reason = f" ({self.status['reason']})" if self.status["reason"] else ""
        return table(f"{self.path}: {self.state}{reason}", ("law", "state", "end t", "loss", "drift", "probes"), rows)

    @property
    def plot(self) -> Plots:
        """Plots of the probes, such as `record.plot.loss()`; see dynamics.notebook.Plots."""
        return Plots({law: functools.partial(self.__getitem__, law) for law in self.laws})

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
        """status["state"]; "killed" if no process runs that should."""
        state = self.status["state"]
        return "killed" if state == "running" and not self._is_locked() else state

    def _is_locked(self) -> bool:
        try:
            with (self.path / LOCK).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    @property
    def ended(self) -> dict[str, Any]:
        """{law: its summary} of the laws that have ended, not by an interruption."""
        return {law: summary for law, summary in self.status["laws"].items() if summary["state"] != "interrupted"}

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """Format, versions, commit, device, dtype and command."""
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
        """
        return jax.tree.map(np.asarray, self._restored(law, t)["params"])

    def state_at(self, law: str, t: float, like: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        """The stored parameters and memory of a law at time t.

        Args:
            law: its name.
            t: one of its `checkpoints`.
            like: parameters and memory of the same structure.

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
        import orbax.checkpoint as ocp  # here, since few read parameters

        stored = self.checkpoints(law)
        matches = [time for time in stored if np.isclose(time, t, rtol=1e-9, atol=0.0)]  # t may be a rounded sum
        if not matches:
            times = ", ".join(map(str, stored)) or "never"
            raise KeyError(f"no parameters of {law!r} at t = {t}; stored at t = {times}")
        with ocp.StandardCheckpointer() as checkpointer, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # orbax warns that no sharding is given; these become numpy arrays
            folder = self.path / "checkpoints" / law / repr(matches[0])
            try:
                return checkpointer.restore(folder.absolute(), like)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{folder} is damaged: {one_line(error)}") from None


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
