"""One law of many experiments and draws: those of one form share a program, spread over the devices."""

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import PyTree

from dynamics.config import under
from dynamics.probes import View, evaluator
from dynamics.runs.experiment import Experiment, draw_start, named_keys
from dynamics.runs.programs import form
from dynamics.trajectory import COMPLETED, Trajectory

__all__ = ["MEASURED", "PATHS", "STRATEGIES", "Cohort", "Ensemble", "Program", "Strategy"]

PATHS = 32  # integrated by one call of a program, unless one member alone has more

Strategy = Literal["sequential", "batched"]
STRATEGIES: tuple[Strategy, ...] = ("sequential", "batched")
# What is faster on each device, one path after another or all at once, by backend: experiments/speed/README.md.
MEASURED: dict[str, Strategy] = {"cpu": "sequential"}


class Cohort(NamedTuple):
    """Members that are integrated together, as one call of a program takes them.

    Attributes:
        laws, objectives, surveys, starts, times: of the members, stacked; padded with the last member.
        member, keys: of every path, in the order in which paths lie on the devices; keys as plain numbers.
        wanted: whether there is a path; places without are padding.
        outcome: of every path so far; only those that completed go on.
        params, memory: of every path, where it is by now.
    """

    laws: PyTree
    objectives: PyTree
    surveys: PyTree
    starts: PyTree
    times: Any
    member: Any
    keys: Any
    wanted: Any
    outcome: Any
    params: PyTree
    memory: PyTree


class Program:
    """A law of experiments of one form, with `draws` paths of each: compiled once."""

    def __init__(
        self,
        first: Experiment,
        law: str,
        times: np.ndarray,
        size: int,
        draws: int = 1,
        strategy: Strategy | None = None,
    ):
        """Trace, and compile in the background.

        Args:
            first: any of the members.
            law: its name in all of them.
            times: any of those over which a call is to integrate.
            size: the largest number of members of a call.
            draws: paths of every member, by the keys fold_in(key, 0), fold_in(key, 1), ... of its key "sgd"; a single
                one has the key itself.
            strategy: on each device; the measured one of this backend without.

        Raises:
            ConfigError: for what the law refuses, naming its key.
        """
        self.size, self._law, self._draws = size, law, draws
        self._dtype = first.model.dtype
        strategy = strategy or MEASURED.get(jax.default_backend(), "batched")
        with under(f"laws.{law}."):
            inputs = _shaped(self._of_starts([first]))
            variables = type(first.laws[law]).variables
            self._starts, abstract = _starting(*inputs, first.task, first.started, variables, first.fresh)
            cohort = jax.eval_shape(lambda drawn: self._cohort([first], [times], drawn), abstract)
            self._paths = _integrating(*_shaped(cohort), first.probes, first.words, strategy)

    def begin(self, members: Sequence[Experiment], times: Sequence[np.ndarray]) -> Cohort:
        """The members at their starts, to be integrated over `times` first."""
        drawn = _on_host(self._starts.result()(self._of_starts(members)))
        # On the host, from where they are spread over the devices, of all processes too, without another program.
        return jax.tree.map(np.asarray, self._cohort(members, times, drawn))

    def _of_starts(self, members: Sequence[Experiment]) -> tuple[Any, ...]:
        size = _slots(self.size) * jax.device_count()
        return np.arange(size) < len(members), *_stacked(_padded([found.start_inputs for found in members], size))

    def _cohort(self, members: Sequence[Experiment], times: Sequence[np.ndarray], drawn: Any) -> Cohort:
        objectives, surveys, starts, keys = drawn
        laws = _stacked(_padded([found.laws[self._law] for found in members], self.size), self._dtype)
        wanted, member, draw = _dealt(len(members), self.size, self._draws)
        law, params, keys = jax.tree.map(lambda leaf: leaf[member], (laws, starts, keys))
        memory = jax.eval_shape(_memories, law, params)
        memory = _memories(law, params) if jax.tree.leaves(memory) else memory  # most laws remember nothing
        keys = _folded(keys, draw) if self._draws > 1 else keys
        outcome = np.full(wanted.shape, COMPLETED, np.int32)
        of_paths = (member, keys, wanted, outcome, params, memory)
        return Cohort(laws, objectives, surveys, starts, self._times(times), *of_paths)

    def onwards(self, cohort: Cohort, times: Sequence[np.ndarray], outcome: np.ndarray, state: PyTree) -> Cohort:
        """From `state`, the parameters and memories of all places, over other times; paths that failed stay there."""
        params, memory = state
        outcome = outcome.astype(np.int32)
        return cohort._replace(times=self._times(times), outcome=outcome, params=params, memory=memory)

    def _times(self, times: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(_padded(times, self.size), self._dtype)

    def __call__(self, cohort: Cohort) -> Trajectory:
        """Integrate. Every leaf is a numpy array with the places of paths as its first axis, in every process."""
        return _on_host(self._paths.result()(cohort))

    def wait(self) -> None:
        """Until it is compiled."""
        self._starts.result()
        self._paths.result()

    def places(self, members: int) -> np.ndarray:
        """Where the paths of the first members lie, member after member."""
        return _places(np.arange(members * self._draws), self.size * self._draws)


class Ensemble:
    """A law of every experiment, integrated `draws` times from its start."""

    def __init__(self, members: Sequence[Experiment], law: str, draws: int = 1, size: int | None = None):
        """Trace the programs, and compile them in the background.

        Args:
            members: they may differ in anything; learning rates, tolerances, initial scales, seeds, times and, with a
                start drawn in Gram variables, widths do not compile again. Their checkpoints are not looked at.
            law: its name in all of them.
            draws: see Program.
            size: places for members in every call; ensembles of one size share their programs. As many as there are
                members without.

        Raises:
            ConfigError: for what the law refuses, naming its key.
        """
        self._members, self._draws = members, draws
        of_form: dict[Any, list[int]] = {}
        for i, found in enumerate(members):
            of_form.setdefault(form(found, law), []).append(i)
        self._calls: list[tuple[list[int], Program]] = []
        for group in of_form.values():
            places = size or min(len(group), max(1, PATHS // draws))
            program = Program(members[group[0]], law, members[group[0]].times, places, draws)
            self._calls += [(group[i : i + places], program) for i in range(0, len(group), places)]

    def wait(self) -> None:
        """Until everything is compiled."""
        for _, program in self._calls:
            program.wait()

    def __iter__(self) -> Iterator[tuple[int, PyTree, Trajectory]]:
        """Integrate.

        Yields:
            The number of a member, its parameters at t = 0, and its trajectory with numpy leaves; the rows of a probe
            are the saved times, nan from the time on at which the law failed. With more than one draw every leaf but t
            has a leading axis for them.
        """
        for chunk, program in self._calls:
            members = [self._members[i] for i in chunk]
            cohort = program.begin(members, [found.times for found in members])
            reached = program(cohort)
            for n, (i, places) in enumerate(
                zip(chunk, program.places(len(chunk)).reshape(len(chunk), -1), strict=True)
            ):
                start = jax.tree.map(lambda leaf, n=n: leaf[n], cohort.starts)
                rows = places if self._draws > 1 else places[0]
                found = jax.tree.map(lambda leaf, rows=rows: leaf[rows], reached)
                yield i, start, _masked(found._replace(t=members[n].times))


def _padded(values: Sequence[Any], size: int) -> list[Any]:
    return [*values, *[values[-1]] * (size - len(values))]


def _on_host(spread: PyTree) -> PyTree:
    """What is spread over devices, whole, in every process."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(spread, tiled=True)
    return jax.tree.map(np.asarray, spread)


def _stacked(trees: Sequence[PyTree], dtype: Any = None) -> PyTree:
    return jax.tree.map(lambda *leaves: np.asarray(leaves, dtype), *trees)


def _slots(paths: int) -> int:
    return -(-paths // jax.device_count())


def _places(path: np.ndarray, paths: int) -> np.ndarray:
    """Where paths lie when `paths` are dealt out to the devices one by one."""
    return path % jax.device_count() * _slots(paths) + path // jax.device_count()


def _dealt(members: int, size: int, draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(whether there is a path, its member and its draw) of every place."""
    devices, slots = jax.device_count(), _slots(size * draws)
    path = (np.arange(devices)[:, None] + devices * np.arange(slots)).ravel()
    member, draw = np.divmod(np.minimum(path, members * draws - 1), draws)
    return path < members * draws, member.astype(np.int32), draw.astype(np.int32)


def _shaped(tree: PyTree) -> tuple[Any, Any]:
    """Structure and shapes, hashable."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def _abstract(structure: Any, shapes: Any) -> PyTree:
    return jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*shape) for shape in shapes])


@functools.lru_cache(maxsize=64)
def _starting(
    structure: Any, shapes: Any, task: Any, model: Any, variables: Any, fresh: bool
) -> tuple[Future[Any], Any]:
    """The program that draws starts, compiling in the background, and the shapes of what it gives; shared by laws."""
    traced = _starts.trace(_abstract(structure, shapes), task=task, model=model, variables=variables, fresh=fresh)
    return _background(traced), jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), traced.out_info)


@functools.lru_cache(maxsize=16)
def _integrating(structure: Any, shapes: Any, probes: Any, words: int, strategy: Strategy) -> Future[Any]:
    """The program that integrates, compiling in the background; shared by ensembles."""
    traced = _paths.trace(_abstract(structure, shapes), probes=probes, words=words, strategy=strategy)
    return _background(traced)


@functools.partial(jax.jit, static_argnames=("task", "model", "variables", "fresh"))
def _starts(inputs, *, task, model, variables, fresh):
    """(objectives, surveys, parameters and keys) of members."""

    def start(place):
        params, objective, survey = draw_start(*place, task=task, model=model, fresh=fresh)
        params, objective = variables(None, params, objective)  # no law of ours looks at its own fields there
        return objective, survey, params, jax.random.key_data(named_keys(place[0])["sgd"])

    return _spread(functools.partial(_of_wanted, start), *inputs)


def _spread(function, *places):
    """The function on each device, of its share of the places."""
    mesh = jax.make_mesh((jax.device_count(),), ("place",), axis_types=(AxisType.Auto,))
    along = PartitionSpec("place")
    return jax.shard_map(function, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)(*places)


def _of_wanted(function, wanted, *places):
    """One after another; another number of them is no other program, and costs nothing for those that are not there."""
    function = jax.jit(function)  # traced once, for what it returns and for what it does

    def nothing(place):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, place))

    return jax.lax.map(lambda at: jax.lax.cond(at[0], function, nothing, at[1]), (wanted, places))


@jax.jit
def _memories(laws, params):
    return jax.vmap(lambda law, params: law.memory(params))(laws, params)


@jax.jit
def _folded(keys, draws):
    return jax.random.key_data(jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(keys), draws))


@functools.partial(jax.jit, static_argnames=("probes", "words", "strategy"))
def _paths(cohort, *, probes, words, strategy):
    def path(place):
        i, key_data, params, memory = place
        key = jax.random.wrap_key_data(key_data)
        of_member = cohort.laws, cohort.objectives, cohort.surveys, cohort.starts, cohort.times
        law, objective, survey, start, t = jax.tree.map(lambda leaf: leaf[i], of_member)
        return law(objective, params, t, evaluator(probes, View(objective, survey, start, words)), key, memory)

    def on_one_device(wanted, *places):
        return jax.vmap(path)(places) if strategy == "batched" else _of_wanted(path, wanted, *places)

    goes_on = cohort.wanted & (cohort.outcome == COMPLETED)
    return _spread(on_one_device, goes_on, cohort.member, cohort.keys, cohort.params, cohort.memory)


def _background(traced: Any) -> Future[Any]:
    pool = ThreadPoolExecutor(1)
    compiled = pool.submit(lambda: traced.lower().compile())
    pool.shutdown(wait=False)
    return compiled


def _masked(trajectory: Trajectory) -> Trajectory:
    """Rows that are not valid become nan."""

    def mask(values: Any) -> np.ndarray:
        valid = trajectory.valid.reshape(*trajectory.valid.shape, *(1,) * (values.ndim - trajectory.valid.ndim))
        return np.where(valid, values, np.nan)

    return trajectory._replace(probes={name: mask(values) for name, values in trajectory.probes.items()})
