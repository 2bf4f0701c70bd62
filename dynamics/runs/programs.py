"""The programs of the engine: one draws starts, one integrates paths; compiled once for paths of one form."""

import functools
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import PyTree

from dynamics.config import require
from dynamics.probes import PROBES, View, evaluator
from dynamics.runs.starts import Setup, draw_start, noise_key
from dynamics.trajectory import COMPLETED

# How each device integrates its share of the paths: one after another, or all at once (vmap).
Strategy = Literal["sequential", "batched"]
STRATEGIES: tuple[Strategy, ...] = ("sequential", "batched")
# The faster one, by backend, where it has been measured: experiments/speed/README.md.
MEASURED: dict[str, Strategy] = {"cpu": "sequential"}


def hashable(tree: PyTree) -> tuple[Any, Any]:
    """Structure and shapes."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


def _abstract(structure: Any, shapes: Any) -> PyTree:
    return jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*shape) for shape in shapes])


@functools.lru_cache(maxsize=64)
def compiled_starts(structure: Any, shapes: Any, variables: Any, setup: Setup) -> tuple[Future[Any], Any]:
    """The program that draws starts, compiling in the background, and the shapes of what it gives; shared by laws."""
    traced = _starts.trace(*_abstract(structure, shapes), variables=variables, setup=setup)
    shapes_of_starts = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), traced.out_info)
    return _in_background(lambda: traced.lower().compile()), shapes_of_starts


@functools.lru_cache(maxsize=64)
def compiled_paths(
    structure: Any, shapes: Any, probes: tuple[str, ...], words: int, strategy: Strategy | None, called: Any
) -> Future[tuple[Any, float]]:
    """The program that integrates and the seconds that compiling took, in the background; shared by equal forms.

    `called` are the functions behind the names of probes and losses: a notebook may register others under these names.
    """
    static = {"probes": probes, "words": words, "strategy": strategy, "called": called}
    return _compiling(_integrated.trace(*_abstract(structure, shapes), **static))


def _compiling(traced: Any) -> Future[tuple[Any, float]]:
    """A program that compiles in the background, and the seconds that this took."""

    def compiled() -> tuple[Any, float]:
        begin = time.perf_counter()
        return traced.lower().compile(), time.perf_counter() - begin

    return _in_background(compiled)


@functools.cache
def check_float64(platform: str) -> None:
    """Refuse float64 on devices that do not have it: TPUs compute it by pairs of float32, with their range.

    Args:
        platform: of the devices, which are tried at once.

    Raises:
        ConfigError: when float64 numbers do not have the range or the precision that they have on processors.
    """
    values = 1 + np.arange(1, 257) / 257
    seen = jax.device_get(_tried(values, np.float64(2.0**-600)))
    exact = np.array([math.fsum((values * values).tolist()), 2.0**-100])
    allowed = f"must be 'float32' here: {platform} devices compute float64 in fewer bits or with a smaller range"
    require(bool(np.all(np.abs(seen - exact) <= 1e-14 * exact)), "dtype", "float64", allowed)


@jax.jit
def _tried(values, small):
    """A sum of products, and a number whose factors are outside the range of float32: 2^−100."""
    return jnp.stack([values @ values, small * 2.0**500])


def _in_background(function: Any) -> Future[Any]:
    pool = ThreadPoolExecutor(1)
    result = pool.submit(function)
    pool.shutdown(wait=False)
    return result


@functools.partial(jax.jit, static_argnames=("variables", "setup"))
def _starts(wanted, inputs, *, variables, setup):
    """(objectives, surveys, parameters) at wanted places, and the keys of the noise at all places."""

    def start(inputs):
        params, objective, survey = draw_start(inputs, setup=setup)
        params, objective = variables(params, objective)
        return objective, survey, params

    def on_one_device(wanted, inputs):
        keys = jax.vmap(lambda one: jax.random.key_data(noise_key(one.seed, one.draw)))(inputs)
        return *_one_after_another(start, wanted, inputs), keys

    return _spread(on_one_device, wanted, inputs)


@functools.partial(jax.jit, static_argnames=("probes", "words", "strategy", "called"))
def _integrated(places, wanted, *, probes, words, strategy, called):
    """The trajectories of all places; `strategy` is None for a path that is alone, whose leaves have no places."""
    del called
    large = tuple(name for name in probes if PROBES[name].large)
    small = tuple(name for name in probes if not PROBES[name].large)

    def path(place):
        view = View(place.objective, place.survey, place.start, words)
        key = jax.random.wrap_key_data(place.key)
        trajectory = place.law(place.objective, place.params, place.times, evaluator(small, view), key, place.stretch)
        if not large:
            return trajectory
        of_params = evaluator(large, view)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of_params, place.params))
        # The start of the path, and the end of a segment.
        wanted = (place.stretch.row == 0) & (place.stretch.t == 0), trajectory.outcome == COMPLETED
        ends = [
            jax.lax.cond(is_wanted, of_params, lambda _: nothing, params)
            for is_wanted, params in zip(wanted, (place.params, trajectory.params), strict=True)
        ]
        return trajectory._replace(at_checkpoints=jax.tree.map(lambda *values: jnp.stack(values), *ends))

    if strategy is None:
        return path(places)

    def on_one_device(wanted, places):
        return jax.vmap(path)(places) if strategy == "batched" else _one_after_another(path, wanted, places)

    return _spread(on_one_device, wanted, places)


def _spread(function, *places):
    """The function on each device, of its share of the places."""
    mesh = jax.make_mesh((jax.device_count(),), ("place",), axis_types=(AxisType.Auto,))
    along = PartitionSpec("place")
    return jax.shard_map(function, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)(*places)


def _one_after_another(function, wanted, places):
    """Map over places. Unused places are skipped, so that the number of paths does not recompile and costs nothing."""
    function = jax.jit(function)  # traced once, for what it returns and for what it does

    def nothing(place):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, place))

    return jax.lax.map(lambda at: jax.lax.cond(at[0], function, nothing, at[1]), (wanted, places))


@jax.jit
def memories(laws, params):
    """The memories of laws at their starts."""
    return jax.vmap(lambda law, params: law.memory(params))(laws, params)


@jax.jit
def states(laws, params):
    """Arrays like those with which laws go on from a pause."""
    return jax.vmap(lambda law, params: law.state(params))(laws, params)
