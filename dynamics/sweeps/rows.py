"""Trajectories of paths on disk: those that have ended, as rows of one file, and those that go on, one file each."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dynamics.runs.engine import Path, State
from dynamics.trajectory import Trajectory

Rows = dict[str, Any]  # {name: [path, ...]}, numpy arrays


def rows_of(paths: Sequence[Path], trajectories: Sequence[Trajectory]) -> Rows:
    """Trajectories of one form as rows.

    Returns:
        {"t": [path, t], "probes/NAME": [path, t, ...], "checkpoints/NAME": [path, checkpoint, ...]}, nan where a path
        did not come.
    """
    rows = {"t": np.stack([path.experiment.times for path in paths])}
    for name in trajectories[0].probes:
        values = [trajectory.probes[name] for trajectory in trajectories]
        rows[f"probes/{name}"] = _padded(values, rows["t"].shape[1])
    for name in trajectories[0].at_checkpoints:
        values = [trajectory.at_checkpoints[name] for trajectory in trajectories]
        rows[f"checkpoints/{name}"] = _padded(values, len(paths[0].experiment.segments) + 1)
    return rows


def _padded(values: Sequence[Any], length: int) -> np.ndarray:
    padded = np.full((len(values), length, *values[0].shape[1:]), np.nan)
    for row, one in zip(padded, values, strict=True):
        row[: len(one)] = one
    return padded


def write_rows(path: pathlib.Path, rows: Rows) -> None:
    """Write rows, whole or not at all."""
    beside = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.savez(file, **rows)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_rows(path: pathlib.Path, names: Sequence[str] | None = None) -> Rows:
    """The rows of a file with these names, of all names if none are given; names that it does not have are left out."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files if names is None or name in names}


def write_checkpoint(file: pathlib.Path, trajectory: Trajectory, state: State) -> None:
    """Write what one path needs to go on: its trajectory so far, and its place in the state of its batch."""
    content: Rows = {f"probes/{name}": values for name, values in trajectory.probes.items()}
    content |= {f"checkpoints/{name}": values for name, values in trajectory.at_checkpoints.items()}
    content |= {f"state/{i}": leaf for i, leaf in enumerate(jax.tree.leaves((state.params, state.memory)))}
    ends = {"t": trajectory.t, "steps": trajectory.steps, "outcome": trajectory.outcome, "end": trajectory.end}
    write_rows(file, {**content, **ends, "segment": np.asarray(state.segment)})


def read_checkpoint(file: pathlib.Path, at_start: State) -> tuple[Trajectory, State]:
    """The trajectory of a path so far, and where it goes on; `at_start` is any state of the same structure."""
    rows = read_rows(file)

    def under(prefix: str) -> Rows:
        return {name.removeprefix(prefix): values for name, values in rows.items() if name.startswith(prefix)}

    leaves = under("state/")
    structure = jax.tree.structure((at_start.params, at_start.memory))
    params, memory = jax.tree.unflatten(structure, [leaves[str(i)] for i in range(len(leaves))])
    trajectory = Trajectory(
        t=rows["t"],
        probes=under("probes/"),
        valid=np.ones(len(rows["t"]), bool),
        params=params,
        steps=rows["steps"],
        outcome=rows["outcome"],
        end=rows["end"],
        memory=memory,
        at_checkpoints=under("checkpoints/"),
    )
    return trajectory, State(int(rows["segment"]), params, memory, rows["outcome"])
