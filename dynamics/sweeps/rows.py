"""Trajectories that have ended, as rows of a common file."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dynamics.runs.path import Path
from dynamics.runs.storage import Rows
from dynamics.runs.unfinished import content
from dynamics.trajectory import Trajectory


def rows_of(paths: Sequence[Path], trajectories: Sequence[Trajectory]) -> Rows:
    """Stack trajectories with the same probes as rows.

    Returns:
        {"t": [path, t], "probes/NAME": [path, t, ...], "notes/NAME": [path, t], "checkpoints/NAME": [path, checkpoint,
        ...]}, nan after the end of a path that stopped early.
    """
    rows = {"t": np.stack([path.experiment.times for path in paths])}
    lengths = {"probes": rows["t"].shape[1], "notes": rows["t"].shape[1]}
    lengths["checkpoints"] = len(paths[0].experiment.segments) + 1
    contents = [content(trajectory) for trajectory in trajectories]
    for name in contents[0]:
        kind, _, _ = name.partition("/")
        rows[name] = _padded([one[name] for one in contents], lengths[kind])
    return rows


def _padded(values: Sequence[Any], length: int) -> np.ndarray:
    padded = np.full((len(values), length, *values[0].shape[1:]), np.nan)
    for row, entries in zip(padded, values, strict=True):
        row[: len(entries)] = entries
    return padded
