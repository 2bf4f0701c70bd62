"""Paths, the units of work: what one is, where it has come to, and what a stretch of it gives."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from dynamics.probes import as_recorded
from dynamics.runs.experiment import Experiment
from dynamics.trajectory import COMPLETED, HANDED_OVER, PAUSED, Trajectory


class Path(NamedTuple):
    """The unit of work: one law of an experiment, from its start, with its draw of the noise."""

    experiment: Experiment
    law: str

    @property
    def form(self) -> tuple[Hashable, Hashable]:
        """All that the two programs depend on, the one that integrates and the one that draws starts.

        Paths of one form share both programs.
        """
        experiment = self.experiment
        leaves, structure = jax.tree.flatten((experiment.laws[self.law], *experiment.abstract_start(self.law)))
        shapes = tuple(np.shape(leaf) for leaf in leaves)
        segments = len(experiment.segments), len(experiment.segment(0)), len(experiment.times)
        integrates = structure, shapes, experiment.probes_of(self.law), experiment.words, segments
        draws = jax.tree.structure(experiment.start_inputs(self.law)), experiment.setup
        return integrates, draws


class State(NamedTuple):
    """The state of paths between two stretches; every leaf but the first has the paths as its first axis.

    Attributes:
        segment: the number of the segment that goes on.
        params, memory: of the laws.
        outcome: of the last stretch.
        t: that has been reached.
        row: the number of times of this segment that have been observed.
        turn: the number of the law, among those that take turns, that goes on.
        pauses: {number of a turn: the state in which its law paused, see Law.state}.
    """

    segment: int
    params: PyTree
    memory: PyTree
    outcome: np.ndarray
    t: np.ndarray
    row: np.ndarray
    turn: np.ndarray
    pauses: dict[int, PyTree]

    @property
    def goes_on(self) -> np.ndarray:
        """Which paths have not ended this segment."""
        return np.isin(self.outcome, (PAUSED, HANDED_OVER)) | ((self.outcome == COMPLETED) & (self.row == 0))

    @classmethod
    def begin(cls, segment: int, params: PyTree, memory: PyTree, t: np.ndarray) -> "State":
        """The state in which a segment begins, at times t."""
        none = np.zeros(len(t), np.int64)
        return cls(segment, params, memory, none + COMPLETED, t, none, none, {})

    def of_path(self, i: int) -> "State":
        """The state of one path, which keeps its axis; of its pauses only the one that it needs."""
        turn = int(self.turn[i])
        pauses = {turn: self.pauses[turn]} if self.outcome[i] == PAUSED else {}
        return State(self.segment, *jax.tree.map(lambda leaf: leaf[i : i + 1], self._replace(pauses=pauses)[1:]))

    @classmethod
    def joined(cls, states: Sequence["State"]) -> "State":
        """The state of several paths in the same segment."""
        every = {turn: pause for state in states for turn, pause in state.pauses.items()}
        nothing = {turn: jax.tree.map(lambda leaf: np.zeros_like(leaf[:1]), pause) for turn, pause in every.items()}
        filled = [state._replace(pauses={**nothing, **state.pauses})[1:] for state in states]
        return cls(states[0].segment, *jax.tree.map(lambda *leaves: np.concatenate(leaves), *filled))


class Stretched(NamedTuple):
    """What a stretch added to paths.

    Attributes:
        segment: the number of its segment.
        trajectory: numpy arrays with the paths as their first axis; the rows of paths without a part mean nothing.
        took_part: for every path, whether it took part.
        seconds: that the integration took.
        state: in which the next stretch begins.
    """

    segment: int
    trajectory: Trajectory
    took_part: np.ndarray
    seconds: float
    state: State

    def of_path(self, i: int, experiment: Experiment) -> Trajectory:
        """What it added to one path: valid rows only, and none that the segment before had already."""
        times = experiment.times[experiment.segments[self.segment]]
        one: Trajectory = jax.tree.map(lambda leaf: leaf[i], self.trajectory)
        # The padding, what came after a failure and what other stretches observe are left out as well.
        rows = np.flatnonzero(one.valid[: len(times)])
        rows = rows[rows >= int(self.segment > 0)]
        probes = as_recorded({name: values[rows] for name, values in one.probes.items()})
        notes = {name: values[rows] for name, values in one.notes.items()}
        starts = len(rows) > 0 and rows[0] == 0 and times[0] == 0
        ends = slice(0 if starts else 1, 2 if one.outcome == COMPLETED else 1)
        at_checkpoints = as_recorded({name: values[ends] for name, values in one.at_checkpoints.items()})
        return one._replace(
            t=times[rows], probes=probes, valid=one.valid[rows], at_checkpoints=at_checkpoints, notes=notes
        )
