"""The programs of an experiment's laws, and their trajectories from checkpoint to checkpoint."""

import functools
import time
from collections.abc import Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.config import under
from dynamics.probes import View, evaluator
from dynamics.runs.experiment import Experiment
from dynamics.trajectory import COMPLETED, Trajectory

__all__ = ["form", "programs", "solve", "traced"]


@functools.partial(jax.jit, static_argnames=("probes", "words"))
def _segment(law, objective, survey, params, memory, start, times, key, *, probes, words):
    return law(objective, params, times, evaluator(probes, View(objective, survey, start, words)), key, memory)


def programs(found: Experiment) -> dict[str, Future]:
    """The compiled program of every law between two checkpoints; they and the start are compiled side by side.

    Returns:
        {law: future of (program, seconds that it took)}.

    Raises:
        ConfigError: for what a law refuses, naming its key.
    """
    pool = ThreadPoolExecutor()
    pool.submit(lambda: found.start)
    compiled = {}
    forms: dict[Hashable, Future] = {}
    for name in found.laws:
        kind = form(found, name)
        if kind not in forms:
            forms[kind] = pool.submit(_compiled, traced(found, name))
        compiled[name] = forms[kind]
    pool.shutdown(wait=False)
    return compiled


def form(found: Experiment, name: str) -> Hashable:
    """What the programs of a law and of its start depend on: laws of one form share them."""
    leaves, structure = jax.tree.flatten((found.laws[name], *found.abstract_start_of(name)))
    shapes = tuple(np.shape(leaf) for leaf in leaves)
    # The model whose start is drawn: of weights there may be others that reduce to the same shapes.
    return structure, shapes, found.started, found.task, found.probes, found.words, len(found.segment(0))


def traced(found: Experiment, name: str) -> Any:
    """The program of a law between two checkpoints, traced.

    Raises:
        ConfigError: for what the law refuses, naming its key.
    """
    with under(f"laws.{name}."):
        params, objective, survey = found.abstract_start_of(name)
        law = found.laws[name]
        memory = jax.eval_shape(law.memory, params)
        inputs = (law, objective, survey, params, memory, params, jnp.asarray(found.segment(0)), found.keys["sgd"])
        return _segment.trace(*inputs, probes=found.probes, words=found.words)


def _compiled(program: Any) -> tuple[Any, float]:
    begin = time.perf_counter()
    return program.lower().compile(), time.perf_counter() - begin


def solve(found: Experiment, name: str, program: Any = None) -> Iterator[tuple[Trajectory, float]]:
    """Integrate one law of an experiment, from checkpoint to checkpoint.

    Args:
        found: the experiment.
        name: of the law.
        program: what `programs` compiled for it; compiled here without.

    Yields:
        Consecutive trajectories with numpy leaves and valid rows only, and the seconds that each took; after a
        trajectory that failed it stops.
    """
    start, objective, survey = found.start_of(name)
    if program is None:
        program = functools.partial(_segment, probes=found.probes, words=found.words)
    law = found.laws[name]
    params, memory = start, law.memory(start)
    for i, part_of_times in enumerate(found.segments):
        t = found.times[part_of_times]
        begin = time.perf_counter()
        part = jax.block_until_ready(
            program(law, objective, survey, params, memory, start, jnp.asarray(found.segment(i)), found.keys["sgd"])
        )
        params, memory = part.params, part.memory
        seconds = time.perf_counter() - begin
        host = jax.tree.map(np.asarray, part)
        # Without the padding, what came after a failure, and the time that the part before ended with.
        rows = np.flatnonzero(host.valid[: len(t)])[int(i > 0) :]
        probes = {key: value[rows] for key, value in host.probes.items()}
        yield host._replace(t=t[rows], probes=probes, valid=host.valid[rows]), seconds
        if host.outcome != COMPLETED:
            return
