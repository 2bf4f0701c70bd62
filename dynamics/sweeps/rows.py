"""Trajectories on disk: ended paths are rows of a common file, and a path to be continued has a file of its own."""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dynamics.config import ConfigError
from dynamics.runs.engine import Path, State
from dynamics.runs.record import replacing
from dynamics.trajectory import Trajectory

Rows = dict[str, Any]  # {name: [path, ...]}, numpy arrays


def rows_of(paths: Sequence[Path], trajectories: Sequence[Trajectory]) -> Rows:
    """Stack trajectories with the same probes as rows.

    Returns:
        {"t": [path, t], "probes/NAME": [path, t, ...], "notes/NAME": [path, t], "checkpoints/NAME": [path, checkpoint,
        ...]}, nan after the end of a path that stopped early.
    """
    rows = {"t": np.stack([path.experiment.times for path in paths])}
    lengths = {"probes": rows["t"].shape[1], "notes": rows["t"].shape[1]}
    lengths["checkpoints"] = len(paths[0].experiment.segments) + 1
    contents = [_content(trajectory) for trajectory in trajectories]
    for name in contents[0]:
        kind, _, _ = name.partition("/")
        rows[name] = _padded([content[name] for content in contents], lengths[kind])
    return rows


def _content(trajectory: Trajectory) -> Rows:
    """The arrays of a trajectory by their names in a file."""
    kinds = {"probes": trajectory.probes, "notes": trajectory.notes, "checkpoints": trajectory.at_checkpoints}
    return {f"{kind}/{name}": values for kind, arrays in kinds.items() for name, values in arrays.items()}


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
    """The rows of a file, whose checksums are compared.

    Raises:
        ConfigError: naming a file that is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (EOFError, KeyError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path} is damaged: {error}") from None


def write_checkpoint(file: pathlib.Path, trajectory: Trajectory, state: State) -> None:
    """Write all that one path needs to continue: its trajectory so far, and its state."""
    content = _content(trajectory) | {
        f"state/{i}": leaf for i, leaf in enumerate(jax.tree.leaves((state.params, state.memory)))
    }
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
        notes=under("notes/"),
    )
    return trajectory, State(int(rows["segment"]), params, memory, rows["outcome"])
