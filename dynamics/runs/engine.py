"""The integrator: paths from their starts, from checkpoint to checkpoint, one alone or many that share a program.

A path is one law from one start with one draw of its noise. Everything that trains goes through `integrate`: a run has
one path for each of its laws; sweeps, comparisons and claims have many, spread over the devices.
"""

import functools
import time
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from dynamics.config import under
from dynamics.runs.experiment import Experiment
from dynamics.runs.parts import named
from dynamics.runs.processes import on_host
from dynamics.runs.programs import MEASURED, Strategy, compiled_paths, compiled_starts, hashable, memories
from dynamics.runs.starts import OWN_KEY
from dynamics.trajectory import COMPLETED, HANDED_OVER, Trajectory, joined

MOST_PATHS = 32  # integrated by one call of a program


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
    """The state of paths between two segments; every leaf has the paths as its first axis.

    Attributes:
        segment: the number of the next segment.
        params, memory: of the laws.
        outcome: of the segments so far; only paths that completed them go on.
    """

    segment: int
    params: PyTree
    memory: PyTree
    outcome: np.ndarray


class Segment(NamedTuple):
    """Paths from one checkpoint to the next.

    Attributes:
        number: of the segment.
        trajectory: numpy arrays with the paths as their first axis; the rows of paths that failed before mean nothing.
        seconds: that the integration took.
    """

    number: int
    trajectory: Trajectory
    seconds: float

    @property
    def state(self) -> State:
        """The state in which the next segment begins."""
        reached = self.trajectory
        return State(self.number + 1, reached.params, reached.memory, np.asarray(reached.outcome))

    def of_path(self, i: int, experiment: Experiment) -> Trajectory:
        """The trajectory of one path: valid rows only, and none that the segment before had already."""
        times = experiment.times[experiment.segments[self.number]]
        one: Trajectory = jax.tree.map(lambda leaf: leaf[i], self.trajectory)
        first = int(self.number > 0)
        # The padding and what came after a failure are left out as well.
        rows = np.flatnonzero(one.valid[: len(times)])[first:]
        probes, notes = ({name: of[name][rows] for name in of} for of in (one.probes, one.notes))
        ends = slice(first, 2 if one.outcome == COMPLETED else 1)
        at_checkpoints = {name: values[ends] for name, values in one.at_checkpoints.items()}
        return one._replace(
            t=times[rows], probes=probes, valid=one.valid[rows], at_checkpoints=at_checkpoints, notes=notes
        )


class _Places(NamedTuple):
    """The inputs of a program; every leaf has one row for each place, and places lie side by side on the devices."""

    law: PyTree
    objective: PyTree
    survey: PyTree
    start: PyTree
    key: Any  # as plain numbers
    times: Any
    params: PyTree
    memory: PyTree


class Program:
    """The compiled programs of paths of one form: the one that draws starts, and the one that integrates."""

    def __init__(self, first: Path, size: int, strategy: Strategy | None = None):
        """Trace, and compile in the background.

        Args:
            first: any of the paths.
            size: the largest number of paths of a call. One path alone has a plain program, on one device.
            strategy: of each device; if not given, the faster one on this backend.

        Raises:
            ConfigError: for what the law refuses, naming its key.
        """
        self.size, self._alone = size, size == 1
        self._devices = 1 if self._alone else jax.device_count()
        self._slots = -(-size // self._devices)
        self._dtype = first.experiment.model.dtype
        strategy = strategy or MEASURED.get(jax.default_backend(), "batched")
        experiment = first.experiment
        with under(f"laws.{first.law}."):
            if self._alone:
                drawn: Any = jax.eval_shape(_start_alone, experiment.noise_key, *experiment.abstract_start(first.law))
            else:
                inputs = self._wanted(1), self._dealt([experiment.start_inputs(first.law)])
                variables = experiment.laws[first.law].variables
                self._starts, drawn = compiled_starts(*hashable(inputs), variables, experiment.setup)
            places = jax.eval_shape(lambda drawn: self._given(self._places([first], drawn)), drawn)

            def compiling(turn: int) -> Any:
                return compiled_paths(
                    *hashable((places._replace(law=places.law.turns[turn]), self._wanted(1))),
                    experiment.probes_of(first.law),
                    experiment.words,
                    None if self._alone else strategy,
                    named(experiment.probes_of(first.law)),
                )

            # Later turns compile when a path first takes one.
            self._compiling, self._turns = compiling, [compiling(0)]

    def wait(self) -> float:
        """Until everything is compiled that was needed yet; the seconds that compiling what integrates took."""
        if not self._alone:
            self._starts.result()
        return sum(turn.result()[1] for turn in self._turns)

    @property
    def _order(self) -> np.ndarray:
        """The place of every path: paths are dealt out to the devices one by one."""
        path = np.arange(self._slots * self._devices)
        return path % self._devices * self._slots + path // self._devices

    def _wanted(self, paths: int) -> np.ndarray:
        """Whether there is a path, for every place."""
        wanted = np.zeros(self._slots * self._devices, bool)
        wanted[self._order[:paths]] = True
        return wanted

    def _dealt(self, trees: Sequence[PyTree], dtype: Any = None) -> PyTree:
        """Trees stacked in the order of the places; places without a path repeat the last one."""
        of_place = np.minimum(np.argsort(self._order), len(trees) - 1)
        return jax.tree.map(lambda *leaves: np.asarray(leaves, dtype)[of_place], *trees)

    def _places(self, paths: Sequence[Path], drawn: Any) -> _Places:
        objective, survey, start, key = drawn
        law = self._dealt([path.experiment.laws[path.law] for path in paths], self._dtype)
        memory = jax.eval_shape(memories, law, start)
        memory = memories(law, start) if jax.tree.leaves(memory) else memory  # most laws remember nothing
        return _Places(law, objective, survey, start, key, self._times(paths, 0), start, memory)

    def _given(self, places: _Places) -> _Places:
        """The input of the program that integrates; a path that is alone has no axis for places."""
        return jax.tree.map(lambda leaf: leaf[0], places) if self._alone else places

    def _times(self, paths: Sequence[Path], segment: int) -> np.ndarray:
        return self._dealt([path.experiment.segment(segment) for path in paths], self._dtype)

    def begin(self, paths: Sequence[Path]) -> tuple[_Places, State]:
        """The inputs of the first segment, and the paths at their starts."""
        if self._alone:
            (path,) = paths
            drawn = _start_alone(path.experiment.noise_key, *path.experiment.start_of(path.law))
        else:
            drawn = self._drawn(paths)
        # On the host, so that no program is needed that moves them to where they are integrated.
        places: _Places = jax.tree.map(np.asarray, self._places(paths, drawn))
        rows = self._order[: len(paths)]
        params, memory = jax.tree.map(lambda leaf: leaf[rows], (places.params, places.memory))
        return places, State(0, params, memory, np.full(len(paths), COMPLETED, np.int32))

    def _drawn(self, paths: Sequence[Path]) -> Any:
        """The starts at all places; paths that differ only in the draw of their noise share one start."""
        inputs = [path.experiment.start_inputs(path.law) for path in paths]
        starts = [tuple(jax.tree.leaves(start._replace(draw=OWN_KEY))) for start in inputs]
        drawn_at = [int(self._order[starts.index(start)]) for start in starts]
        needed = np.zeros(len(self._order), bool)
        needed[drawn_at] = True
        *drawn, key = on_host(self._starts.result()(needed, self._dealt(inputs)))
        return *jax.tree.map(lambda leaf: leaf[self._dealt(drawn_at)], drawn), key

    def segment(self, paths: Sequence[Path], places: _Places, state: State) -> Segment:
        """Integrate one segment, in as many turns as the law takes."""
        rows, laws = self._order[: len(paths)], places.law.turns
        places = places._replace(times=self._times(paths, state.segment))
        params, memory, goes_on = state.params, state.memory, state.outcome == COMPLETED
        reached, turn, seconds = None, 0, 0.0
        while reached is None or goes_on.any():
            if turn == len(self._turns):
                self._turns.append(self._compiling(turn))
            program, _ = self._turns[turn].result()
            begin = time.perf_counter()
            here = jax.tree.map(functools.partial(_with_rows, rows), (places.params, places.memory), (params, memory))
            places = places._replace(law=laws[turn], params=here[0], memory=here[1])
            spread = program(self._given(places), _with_rows(rows, self._wanted(0), goes_on))
            now: Trajectory = jax.tree.map(lambda leaf: leaf[None] if self._alone else leaf[rows], on_host(spread))
            seconds += time.perf_counter() - begin
            reached = now if reached is None else _continued(reached, now, goes_on)
            goes_on = goes_on & (reached.outcome == HANDED_OVER)
            params, memory, turn = reached.params, reached.memory, (turn + 1) % len(laws)
            # What goes on begins where it is; the times that it has reached are not seen again.
            times = np.where(goes_on[:, None] & reached.valid, reached.end[:, None], places.times[rows])
            places = places._replace(times=_with_rows(rows, places.times, times))
        outcome = np.where(state.outcome == COMPLETED, reached.outcome, state.outcome).astype(np.int32)
        return Segment(state.segment, reached._replace(outcome=outcome), seconds)


def integrate(program: Program, paths: Sequence[Path], state: State | None = None) -> Iterator[Segment]:
    """Integrate paths of one form from checkpoint to checkpoint.

    Args:
        program: of their form, for at least that many paths.
        paths: they may differ in learning rates, tolerances, scales, seeds, draws and times, but not in shapes.
        state: where to go on; if not given, at the starts.

    Yields:
        Consecutive segments, up to the last one or until no path is left that goes on.
    """
    places, at_start = program.begin(paths)
    state = at_start if state is None else state
    for _ in range(state.segment, len(paths[0].experiment.segments)):
        if not (state.outcome == COMPLETED).any():
            return
        segment = program.segment(paths, places, state)
        yield segment
        state = segment.state


def solve(experiment: Experiment, law: str) -> Trajectory:
    """The trajectory of one law, in memory.

    Raises:
        ConfigError: for what the law refuses, naming its key.
    """
    path = Path(experiment, law)
    return joined([segment.of_path(0, experiment) for segment in integrate(Program(path, size=1), [path])])


def _continued(before: Trajectory, now: Trajectory, goes_on: np.ndarray) -> Trajectory:
    """Two turns of trajectories, [path, ...], of which some went on with the second one."""

    def chosen(choice: np.ndarray, new: Any, old: Any) -> np.ndarray:
        return np.where(choice.reshape(choice.shape + (1,) * (np.ndim(old) - choice.ndim)), new, old)

    rows = goes_on[:, None] & ~before.valid
    last = goes_on[:, None] & np.array([False, True])  # the checkpoint at the end
    return jax.tree.map(functools.partial(chosen, goes_on), now, before)._replace(
        t=before.t,
        probes=jax.tree.map(functools.partial(chosen, rows), now.probes, before.probes),
        notes=jax.tree.map(functools.partial(chosen, rows), now.notes, before.notes),
        valid=before.valid | (goes_on[:, None] & now.valid),
        steps=before.steps + np.where(goes_on, now.steps, 0),
        at_checkpoints=jax.tree.map(functools.partial(chosen, last), now.at_checkpoints, before.at_checkpoints),
    )


def _with_rows(rows: np.ndarray, leaf: np.ndarray, values: np.ndarray) -> np.ndarray:
    changed = leaf.copy()
    changed[rows] = values
    return changed


def _start_alone(key: PRNGKeyArray, params: PyTree, objective: Any, survey: Any) -> Any:
    """The start of a path that is alone, as the program of starts gives it."""
    drawn = objective, survey, params, jax.random.key_data(key)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], drawn)
