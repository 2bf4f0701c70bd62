"""Trajectories on disk: ended paths are rows of a common file, and a path to be continued has a file of its own."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dynamics.runs.engine import Path, State
from dynamics.runs.record import replacing
from dynamics.trajectory import Trajectory

Rows = dict[str, Any]  # {name: [path, ...]}, numpy arrays


def rows_of(paths: Sequence[Path], trajectories: Sequence[Trajectory]) -> Rows:
    """Stack trajectories with the same probes as rows.

    Returns:
        {"t": [path, t], "probes/NAME": [path, t, ...], "checkpoints/NAME": [path, checkpoint, ...]}, nan after
        the end of a path that stopped early.
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
    for row, entries in zip(padded, values, strict=True):
        row[: len(entries)] = entries
    return padded


def write_rows(path: pathlib.Path, rows: Rows) -> None:
    """Write rows completely or not at all."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **rows)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: pathlib.Path) -> Rows:
    """The rows of a file."""
    with np.load(path) as file:
        return dict(file)


def write_checkpoint(file: pathlib.Path, trajectory: Trajectory, state: State) -> None:
    """Write all that one path needs to continue: its trajectory so far, and its state."""
    content: Rows = {f"probes/{name}": values for name, values in trajectory.probes.items()}
    content |= {f"checkpoints/{name}": values for name, values in trajectory.at_checkpoints.items()}
    content |= {f"state/{i}": leaf for i, leaf in enumerate(jax.tree.leaves((state.params, state.memory)))}
    ends = {"t": trajectory.t, "steps": trajectory.steps, "outcome": trajectory.outcome, "end": trajectory.end}
    write_rows(file, {**content, **ends, "segment": np.asarray(state.segment)})


def read_checkpoint(file: pathlib.Path, at_start: State) -> tuple[Trajectory, State]:
    """The trajectory of a path so far, and the state to continue from; `at_start` is any state of this structure."""
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
