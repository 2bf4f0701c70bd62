"""One law of many experiments and draws: those of one form share a program, spread over the devices."""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import PyTree

from dynamics.config import under
from dynamics.experiment import Experiment, form
from dynamics.probes import View, evaluator
from dynamics.trajectory import Trajectory

__all__ = ["Ensemble"]

PATHS = 32  # integrated by one call of a program, unless one member alone has more


class Ensemble:
    """A law of every experiment, integrated `draws` times from its start."""

    def __init__(self, members: Sequence[Experiment], law: str, draws: int = 1):
        """Trace the programs, and compile them in the background.

        Args:
            members: they may differ in anything; learning rates, tolerances, initial scales, seeds, times and, with a
                start drawn in Gram variables, widths do not compile again. Their checkpoints are not looked at.
            law: its name in all of them.
            draws: paths of every member, by the keys fold_in(key, 0), fold_in(key, 1), ... of its key "sgd"; a single
                one has the key itself.

        Raises:
            ConfigError: for what the law refuses, naming its key.
        """
        self._members, self._law, self._draws = members, law, draws
        of_form: dict[Any, list[int]] = {}
        for i, found in enumerate(members):
            of_form.setdefault(form(found, law), []).append(i)
        pool = ThreadPoolExecutor()
        self._calls: list[tuple[list[int], int, Future]] = []
        for group in of_form.values():
            size = min(len(group), max(1, PATHS // draws))
            chunks = [group[i : i + size] for i in range(0, len(group), size)]
            first = members[group[0]]
            with under(f"laws.{law}."):
                traced = _paths.trace(
                    *self._inputs(chunks[0], size), task=first.task, probes=first.probes, words=first.words
                )
            program = pool.submit(_compiled, traced)
            self._calls += [(chunk, size, program) for chunk in chunks]
        pool.shutdown(wait=False)

    def wait(self) -> None:
        """Until everything is compiled."""
        for _, _, program in self._calls:
            program.result()

    def __iter__(self) -> Iterator[tuple[int, PyTree, Trajectory]]:
        """Integrate.

        Yields:
            The number of a member, its parameters at t = 0, and its trajectory with numpy leaves; the rows of a probe
            are the saved times, nan from the time on at which the law failed. With more than one draw every leaf but t
            has a leading axis for them.
        """
        for chunk, size, program in self._calls:
            inputs = self._inputs(chunk, size)
            host = jax.tree.map(np.asarray, program.result()(*inputs))
            back = np.argsort(_dealt(size * self._draws))
            for place, i in enumerate(chunk):
                rows = back[place * self._draws : (place + 1) * self._draws]
                rows = rows if self._draws > 1 else rows[0]
                found = jax.tree.map(lambda leaf, rows=rows: leaf[rows], host)
                start = jax.tree.map(lambda leaf, place=place: np.asarray(leaf[place]), inputs[2])
                yield i, start, _masked(found._replace(t=self._members[i].times))

    def _inputs(self, chunk: Sequence[int], size: int) -> tuple[Any, ...]:
        """Of a call: what members have, stacked; of every path its member and its key. Short chunks are repeated."""
        members = [self._members[i] for i in chunk]
        members += members[-1:] * (size - len(members))
        dtype = members[0].model.dtype
        laws = jax.tree.map(lambda *leaves: jnp.asarray(leaves, dtype), *(found.laws[self._law] for found in members))
        starts = [found.start_of(self._law) for found in members]
        params, objectives = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        times = jnp.asarray([found.times for found in members], dtype)
        keys = [found.keys["sgd"] for found in members]
        if self._draws > 1:
            keys = [jax.random.fold_in(key, draw) for key in keys for draw in range(self._draws)]
        order = _dealt(size * self._draws)
        return laws, objectives, params, times, jnp.asarray(order // self._draws), jnp.stack(keys)[order]


def _dealt(paths: int) -> np.ndarray:
    """The order in which paths lie on the devices: dealt out one by one, the last one again where they do not fill."""
    devices = jax.device_count()
    filled = np.minimum(np.arange(-(-paths // devices) * devices), paths - 1)
    return filled.reshape(-1, devices).T.ravel()


@functools.partial(jax.jit, static_argnames=("task", "probes", "words"))
def _paths(laws, objectives, starts, times, member, keys, *, task, probes, words):
    def path(place):
        i, key = place
        law, objective, start, t = jax.tree.map(lambda leaf: leaf[i], (laws, objectives, starts, times))
        return law(objective, start, t, evaluator(probes, View(objective, task, start, words)), key)

    def on_one_device(*places):
        # On a CPU one after another: batched, adaptive solves wait for the slowest and small products gain nothing.
        return jax.lax.map(path, places) if jax.default_backend() == "cpu" else jax.vmap(path)(places)

    mesh = jax.make_mesh((jax.device_count(),), ("path",), axis_types=(AxisType.Auto,))
    along = PartitionSpec("path")
    spread = jax.shard_map(on_one_device, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)
    return spread(member, keys)


def _compiled(traced: Any) -> Callable[..., Trajectory]:
    return traced.lower().compile()


def _masked(trajectory: Trajectory) -> Trajectory:
    """Rows that are not valid become nan."""

    def mask(values: Any) -> np.ndarray:
        valid = trajectory.valid.reshape(*trajectory.valid.shape, *(1,) * (values.ndim - trajectory.valid.ndim))
        return np.where(valid, values, np.nan)

    return trajectory._replace(probes={name: mask(values) for name, values in trajectory.probes.items()})
