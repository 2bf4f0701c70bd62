"""The integrator: paths from their starts, in short stretches, one alone or many that share a program.

A path is one law from one start with one draw of its noise. Everything that trains goes through `integrate`: a run has
one path for each of its laws; sweeps, comparisons and claims have many, spread over the devices.

A segment leads from one checkpoint to the next. A stretch is a part of it that takes about STRETCH_S seconds, so that a
signal to stop is soon heard. Where a segment is divided into stretches changes no bit of it.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from dynamics.config import under
from dynamics.laws.law import NO_LIMIT, Stretch
from dynamics.runs.experiment import Experiment
from dynamics.runs.parts import named
from dynamics.runs.path import Path, State, Stretched
from dynamics.runs.processes import on_host, several
from dynamics.runs.programs import (
    MEASURED,
    Strategy,
    check_float64,
    compiled_paths,
    compiled_starts,
    hashable,
    memories,
    states,
)
from dynamics.runs.starts import OWN_KEY, noise_key
from dynamics.runs.stopping import awaited
from dynamics.trajectory import HANDED_OVER, PAUSED, Trajectory, joined

MOST_PATHS = 32  # integrated by one call of a program
STRETCH_S = 0.5  # that a stretch is to take, and more where the state is large: see Program
STRETCH_S_PER_MB = 0.1  # of the variables; so that giving memory to a stretch and taking it back is a small part of it
LONGEST_S = 1.5  # so that a signal to stop is heard within two seconds
# Steps of the first stretch, of variables of a megabyte or less, and the factor by which the next ones may be longer.
FIRST_LIMIT, GROWTH = 100, 10


class _Places(NamedTuple):
    """The inputs of a program; every leaf has one row for each place, and places lie side by side on the devices."""

    law: PyTree
    objective: PyTree
    survey: PyTree
    start: PyTree
    key: Any  # as plain numbers
    times: Any
    params: PyTree
    stretch: Stretch


class Program:
    """The compiled programs of paths of one form: the one that draws starts, and the one that integrates."""

    def __init__(self, first: Path, size: int, strategy: Strategy | None = None):
        """Trace the programs, and compile them in the background.

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
        if self._dtype == np.float64 and jax.default_backend() != "cpu":
            check_float64(jax.default_backend())
        strategy = strategy or MEASURED.get(jax.default_backend(), "batched")
        experiment = first.experiment
        with under(f"laws.{first.law}."):
            if self._alone:
                key = jax.eval_shape(lambda: jax.random.key_data(noise_key(0, 0)))
                drawn: Any = jax.eval_shape(_start_alone, key, *experiment.abstract_start(first.law))
            else:
                inputs = self._wanted(1), self._dealt([experiment.start_inputs(first.law)])
                variables = experiment.laws[first.law].variables
                self._starts, drawn = compiled_starts(*hashable(inputs), variables, experiment.setup)
            places = jax.eval_shape(lambda drawn: self._places([first], drawn), drawn)
            megabytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(places.params)) / 1e6
            self._stretch_s = min(max(STRETCH_S, STRETCH_S_PER_MB * megabytes), LONGEST_S)
            first_limit = int(FIRST_LIMIT / max(1.0, megabytes)) or 1
            self._limit = NO_LIMIT if several() else first_limit  # processes must take the same stretches

            def turn(number: int) -> tuple[Any, PyTree]:
                law = places.law.turns[number]
                state = jax.eval_shape(states, law, places.params)
                stretch = places.stretch._replace(state=state)
                given = jax.eval_shape(self._given, places._replace(law=law, stretch=stretch))
                program = compiled_paths(
                    *hashable((given, self._wanted(1))),
                    experiment.probes_of(first.law),
                    experiment.words,
                    None if self._alone else strategy,
                    named(experiment.probes_of(first.law)),
                )
                return program, state

            # Later turns compile when a path first takes one.
            self._turn, self._turns = turn, [turn(0)]

    def wait(self) -> float:
        """Until everything is compiled that was needed yet; the seconds that compiling what integrates took.

        Raises:
            KeyboardInterrupt: when a signal to stop comes.
        """
        if not self._alone:
            awaited(self._starts)
        return sum(awaited(program)[1] for program, _ in self._turns)

    @property
    def compiled(self) -> list[Any]:
        """The compiled programs that integrate, one for each turn that was needed yet."""
        return [awaited(program)[0] for program, _ in self._turns]

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
        times = self._times(paths, 0)
        none = np.zeros(len(times), np.int64)
        stretch = Stretch(memory, None, times[:, 0], none, none, none.astype(bool))
        return _Places(law, objective, survey, start, key, times, start, stretch)

    def _given(self, places: _Places) -> _Places:
        """The input of the compiled program. Its arrays have a first axis over paths, unless there is only one path."""
        return jax.tree.map(lambda leaf: leaf[0], places) if self._alone else places

    def _times(self, paths: Sequence[Path], segment: int) -> np.ndarray:
        return self._dealt([path.experiment.segment(segment) for path in paths], self._dtype)

    def begin(self, paths: Sequence[Path]) -> tuple[_Places, State]:
        """The arrays that the compiled program needs for these paths, and the state of the paths at t = 0."""
        if self._alone:
            (path,) = paths
            # Of numpy arrays, whose new axis needs no program.
            key = jax.random.key_data(path.experiment.noise_key)
            drawn = _start_alone(*jax.tree.map(np.asarray, (key, *path.experiment.start_of(path.law))))
        else:
            drawn = self._drawn(paths)
        # On the host, so that no program is needed that moves them to where they are integrated.
        places: _Places = jax.tree.map(np.asarray, self._places(paths, drawn))
        rows = self._order[: len(paths)]
        params, memory, t = jax.tree.map(
            lambda leaf: leaf[rows], (places.params, places.stretch.memory, places.stretch.t)
        )
        return places, State.begin(0, params, memory, t)

    def _drawn(self, paths: Sequence[Path]) -> Any:
        """The starts at all places; paths that differ only in the draw of their noise share one start."""
        inputs = [path.experiment.start_inputs(path.law) for path in paths]
        starts = [tuple(jax.tree.leaves(start._replace(draw=OWN_KEY))) for start in inputs]
        first: dict[Any, int] = {}
        drawn_at = [int(self._order[first.setdefault(start, i)]) for i, start in enumerate(starts)]
        needed = np.zeros(len(self._order), bool)
        needed[drawn_at] = True
        *drawn, key = on_host(awaited(self._starts)(needed, self._dealt(inputs)))
        return *jax.tree.map(lambda leaf: leaf[self._dealt(drawn_at)], drawn), key

    def stretch(self, paths: Sequence[Path], places: _Places, state: State) -> Stretched:
        """Integrate a stretch of the paths whose turn is that of the first path that goes on.

        Args:
            paths: all paths of the call.
            places: what the program reads of them.
            state: where each of them is.

        Raises:
            KeyboardInterrupt: when a signal to stop comes before it begins.
        """
        turn = int(state.turn[np.argmax(state.goes_on)])
        takes_part = state.goes_on & (state.turn == turn)
        laws, rows = places.law.turns, self._order[: len(paths)]
        if turn == len(self._turns):
            self._turns.append(self._turn(turn))
        program, paused = self._turns[turn]
        compiled, _ = awaited(program)
        begin = time.perf_counter()
        times = self._times(paths, state.segment)
        held = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), paused)
        if turn in state.pauses:
            held = jax.tree.map(functools.partial(_with_rows, rows), held, state.pauses[turn])
        kept = places.params, places.stretch.memory, places.stretch.t, places.stretch.row
        at = np.where(state.row == 0, times[rows, 0], state.t)
        params, memory, t, row = jax.tree.map(
            functools.partial(_with_rows, rows), kept, (state.params, state.memory, at, state.row)
        )
        limit = np.full(len(row), self._limit)
        is_paused = _with_rows(rows, self._wanted(0), state.outcome == PAUSED)
        here = places._replace(
            law=laws[turn], times=times, params=params, stretch=Stretch(memory, held, t, row, limit, is_paused)
        )
        spread = compiled(self._given(here), _with_rows(rows, self._wanted(0), takes_part))
        reached: Trajectory = jax.tree.map(lambda leaf: leaf[None] if self._alone else leaf[rows], on_host(spread))
        seconds = time.perf_counter() - begin
        if not several():
            longest = int(np.max(reached.steps[takes_part]))
            more = longest * self._stretch_s / max(seconds, 1e-3)
            self._limit = int(np.clip(more, 1, min(GROWTH * self._limit, NO_LIMIT)))
        after = _after(state, reached, takes_part, len(laws))
        return Stretched(state.segment, reached, takes_part, seconds, after)


def _after(state: State, reached: Trajectory, took_part: np.ndarray, turns: int) -> State:
    """The state after a stretch. Where the stretch ends a segment, it is the state in which the next segment begins."""

    def chosen(new: Any, old: Any) -> np.ndarray:
        if took_part.all():
            return np.asarray(new)  # large states are not copied
        return np.where(took_part.reshape(took_part.shape + (1,) * (np.ndim(old) - 1)), new, old)

    turn = int(state.turn[np.argmax(took_part)])
    rows = state.row + reached.valid.sum(axis=1)
    next_turn = np.where(reached.outcome == HANDED_OVER, (turn + 1) % turns, turn)
    moved = reached.params, reached.memory, reached.outcome.astype(np.int64), reached.end, rows, next_turn
    before = state.params, state.memory, state.outcome, state.t, state.row, state.turn
    held = jax.tree.map(chosen, reached.state, state.pauses[turn]) if turn in state.pauses else reached.state
    params, memory, outcome, t, row, next_turn = jax.tree.map(chosen, moved, before)
    now = State(state.segment, params, memory, outcome, t, row, next_turn, {**state.pauses, turn: held})
    if now.goes_on.any():
        return now
    none = np.zeros_like(now.row)
    return now._replace(segment=state.segment + 1, row=none, turn=none, pauses={})


def integrate(program: Program, paths: Sequence[Path], state: State | None = None) -> Iterator[Stretched]:
    """Integrate paths of one form stretch after stretch.

    Args:
        program: of their form, for at least that many paths.
        paths: they may differ in learning rates, tolerances, scales, seeds, draws and times, but not in shapes.
        state: where to go on; if not given, at the starts.

    Yields:
        Consecutive stretches, up to the last checkpoint or until no path is left that goes on.

    Raises:
        KeyboardInterrupt: when a signal to stop comes, between two stretches.
    """
    places, at_start = program.begin(paths)
    yield from going_on(program, paths, places, at_start if state is None else state)


def going_on(program: Program, paths: Sequence[Path], places: Any, state: State) -> Iterator[Stretched]:
    """Integrate paths from a state on; `places` are those of program.begin. See `integrate`."""
    while state.segment < len(paths[0].experiment.segments) and state.goes_on.any():
        stretched = program.stretch(paths, places, state)
        yield stretched
        state = stretched.state


def solve(experiment: Experiment, law: str) -> Trajectory:
    """The trajectory of one law, in memory.

    Raises:
        ConfigError: for what the law refuses, naming its key.
    """
    path = Path(experiment, law)
    (trajectory,) = trajectories(Program(path, size=1), [path])
    return trajectory


def trajectories(program: Program, paths: Sequence[Path]) -> list[Trajectory]:
    """The trajectories of paths of one form, in memory."""
    parts: list[list[Trajectory]] = [[] for _ in paths]
    for stretched in integrate(program, paths):
        for i in np.flatnonzero(stretched.took_part).tolist():
            parts[i].append(stretched.of_path(i, paths[i].experiment))
    return [joined(of_path) for of_path in parts]


def _with_rows(rows: np.ndarray, leaf: np.ndarray, values: np.ndarray) -> np.ndarray:
    if len(leaf) == 1:
        return np.asarray(values, leaf.dtype)  # large states are not copied
    changed = leaf.copy()
    changed[rows] = values
    return changed


def _start_alone(key: Any, params: PyTree, objective: Any, survey: Any) -> Any:
    """The start of a path that is alone, as the program of starts gives it."""
    return jax.tree.map(lambda leaf: leaf[None], (objective, survey, params, key))
