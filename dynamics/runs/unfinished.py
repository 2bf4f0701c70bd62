"""Trajectories that have not ended, on disk: what a path has given so far, and the state in which it goes on."""

import pathlib

import jax
import numpy as np

from dynamics.runs.path import Path, State
from dynamics.runs.storage import Rows, read_rows, write_rows
from dynamics.trajectory import PAUSED, Trajectory

POSITION = ("outcome", "t", "row", "turn")  # of a path; see State


def content(trajectory: Trajectory) -> Rows:
    """The arrays of a trajectory by their names in a file."""
    kinds = {"probes": trajectory.probes, "notes": trajectory.notes, "checkpoints": trajectory.at_checkpoints}
    return {f"{kind}/{name}": values for kind, arrays in kinds.items() for name, values in arrays.items()}


def write_state(file: pathlib.Path, trajectory: Trajectory, state: State) -> None:
    """Write all that one path needs to go on: its trajectory so far, and its state."""
    leaves = jax.tree.leaves((state.params, state.memory, state.pauses))
    arrays = content(trajectory) | {f"state/{i}": leaf for i, leaf in enumerate(leaves)}
    ends = {"times": trajectory.t, "steps": trajectory.steps, "end": trajectory.end}
    position = {name: getattr(state, name) for name in ("segment", *POSITION)}
    write_rows(file, {**arrays, **ends, **position})


def read_state(file: pathlib.Path, path: Path, at_start: State) -> tuple[Trajectory, State]:
    """The trajectory of a path so far, and the state in which it goes on; `at_start` is any state of its form."""
    rows = read_rows(file)

    def under(prefix: str) -> Rows:
        return {name.removeprefix(prefix): values for name, values in rows.items() if name.startswith(prefix)}

    turn, outcome = int(rows["turn"][0]), int(rows["outcome"][0])
    law = path.experiment.laws[path.law].turns[turn]
    pauses = {turn: jax.eval_shape(law.state, at_start.params)} if outcome == PAUSED else {}
    structure = jax.tree.structure((at_start.params, at_start.memory, pauses))
    leaves = under("state/")
    params, memory, pauses = jax.tree.unflatten(structure, [leaves[str(i)] for i in range(len(leaves))])
    trajectory = Trajectory(
        t=rows["times"],
        probes=under("probes/"),
        valid=np.ones(len(rows["times"]), bool),
        params=jax.tree.map(lambda leaf: leaf[0], params),
        steps=rows["steps"],
        outcome=rows["outcome"][0],
        end=rows["end"],
        memory=jax.tree.map(lambda leaf: leaf[0], memory),
        at_checkpoints=under("checkpoints/"),
        notes=under("notes/"),
    )
    position = {name: rows[name] for name in POSITION}
    return trajectory, State(int(rows["segment"]), params, memory, **position, pauses=pauses)
