"""Shapes and names of batches, losses and probes, checked before anything compiles or is written."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dynamics.config import ConfigError
from dynamics.models.model import by_name
from dynamics.objectives.objective import Objective
from dynamics.probes import PROBES, View, coordinates, evaluator
from dynamics.runs.starts import Setup, abstract_draw, abstract_start


def check_shapes(structure: Any, kinds: tuple[type, ...], setup: Setup, probes: tuple[str, ...], words: int) -> None:
    """Refuse what does not fit together, all of it in one message.

    Args:
        structure: of (law, inputs of the start).
        kinds: the types of their leaves.
        setup: of the start.
        probes: those of the law.
        words: matrix probes keep this many.

    Raises:
        ConfigError: naming every array that has another shape than it should have, and every name that is missing.
    """
    if problems := _problems(structure, kinds, setup, probes, words):
        raise ConfigError("; ".join(problems))


@functools.lru_cache(maxsize=256)  # tracing takes milliseconds, and a sweep has many members of one shape
def _problems(
    structure: Any, kinds: tuple[type, ...], setup: Setup, probes: tuple[str, ...], words: int
) -> tuple[str, ...]:
    _, objective, _ = abstract_draw(structure, kinds, setup)
    if in_batch := tuple(_of_batch(objective, setup)):
        return in_batch
    params, objective, survey = abstract_start(structure, kinds, setup)
    losses = jax.eval_shape(lambda objective, params: objective.losses(params), objective, params)
    if losses.shape != (objective.samples,):
        expected = f"must have one loss for each of the {objective.samples} samples"
        return (f"loss = {setup.loss!r}: {expected}, but has the shape {losses.shape}",)
    model = objective.model
    labels = coordinates(setup.task, model, words)

    def observed(params, objective, survey, start):
        view = View(objective, survey, start, words)
        return {name: evaluator((name,), view, squeezed=False)(params)[name] for name in probes}

    shapes = jax.eval_shape(observed, params, objective, survey, params)
    return tuple(
        problem for name in probes for problem in _of_dims(name, PROBES[name].dims, shapes[name].shape, labels)
    )


def _of_batch(objective: Objective, setup: Setup) -> Iterator[str]:
    """What is wrong with the arrays of a batch and beside it."""
    task, batch = setup.task, objective.batch
    named = f"{type(task).__name__}.dims"
    inputs = batch.inputs if isinstance(batch.inputs, dict) else {"inputs": batch.inputs}
    dims: Mapping[str, Sequence[str]] = {"targets": (), **objective.model.dims, **task.dims}
    of_samples = {**by_name(inputs), "targets": batch.targets}
    if batch.type is not None:
        of_samples["type"] = batch.type
        dims = {**dims, "type": ()}
    if (batch.type is not None) != bool(task.types):
        allowed = "must name the types of the samples if a batch has them, and be empty if it has none"
        yield f"{type(task).__name__}.types = {task.types}: {allowed}"
    beside = {**objective.constants, **(batch.source or {})}
    for name in (*of_samples, *beside):
        if name not in dims:
            yield f"{named}: must name the dimensions of {name!r}" + (
                " after the sample axis" if name in of_samples else ""
            )
    for name in (*objective.constants, *(batch.source or {})):
        if name in (*of_samples, "sample") or (name in objective.constants and name in (batch.source or {})):
            yield f"{named}: {name!r} is the name of two arrays of the record; rename one"
    for name, array in of_samples.items():
        if np.ndim(array) == 0 or array.shape[0] != task.samples:
            yield f"{name!r}: must have {task.samples} rows, the samples of the task, but has the shape {array.shape}"
        elif name in dims and np.ndim(array) != 1 + len(dims[name]):
            yield f"{named}[{name!r}] = {tuple(dims[name])}: but its shape without samples is {array.shape[1:]}"
    for name, array in beside.items():
        if name in dims and np.ndim(array) != len(dims[name]):
            yield f"{named}[{name!r}] = {tuple(dims[name])}: but its shape is {np.shape(array)}"


def _of_dims(
    name: str, dims: Sequence[str], shape: tuple[int, ...], labels: Mapping[str, Sequence[Any]]
) -> Iterator[str]:
    """What is wrong with the array of a probe."""
    if len(dims) != len(shape):
        yield f"probes = {name!r}: names the dimensions {tuple(dims)}, but gives an array of the shape {shape}"
        return
    for dim, size in zip(dims, shape, strict=True):
        if dim in labels and len(labels[dim]) != size:
            yield f"probes = {name!r}: its dimension {dim!r} has {size} entries, but {len(labels[dim])} labels"
