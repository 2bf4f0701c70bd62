"""Probes: pure functions of the parameters with a name and dimension names, evaluated inside the solve."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from dynamics.config import require
from dynamics.objectives.objective import Objective
from dynamics.tasks import Batch
from dynamics.trajectory import NOTES

# What records name themselves, beside the probes: the axes of runs, sweeps and comparisons, and the numbers of paths.
AXES = ("t", "checkpoint", "seed", "step", "draw", "member")
NUMBERS = (*AXES, "time", "status", "id", "seconds", "end", "steps", "classification_time", *NOTES)
SAMPLES_LOOKED_AT = 64  # of the batch, by probes of the model's intermediates


class Survey(NamedTuple):
    """What of the task a probe may look at besides the training set; arrays, so that another task may share a program.

    Attributes:
        counts: samples of each type in the batch; None for a task without types.
        canonical: one sample of each type; None for a task without this capability.
        evaluation: samples that are independent of those that train, the same ones at all times and in every run whose
            training set has this source; None when no probe asks for them.
    """

    counts: Float[Array, " type"] | None
    canonical: Int[Array, "type L"] | None
    evaluation: Batch | None

    @classmethod
    def of(cls, task: Any, batch: Batch, evaluation: Batch | None) -> "Survey":
        """The survey of a task, its batch and its evaluation set."""
        counts = None if batch.type is None else jnp.bincount(batch.type, length=len(task.types)).astype(float)
        canonical = task.canonical if "canonical" in task.capabilities else None
        return cls(counts, canonical, evaluation)


class View(NamedTuple):
    """What a probe may look at besides the parameters.

    Attributes:
        objective: model and training set.
        survey: what else there is of the task.
        start: the parameters at t = 0.
        words: matrix probes keep this many words, the first ones of the vocabulary.
        known: what a probe measured at the start, by its name; see Probe.at_start.
        intermediates: () -> those of the model on the first SAMPLES_LOOKED_AT samples of the training set; computed
            once for all probes of an evaluation.
    """

    objective: Objective
    survey: Survey
    start: PyTree
    words: int
    known: Mapping[str, Any] = MappingProxyType({})
    intermediates: Callable[[], Any] = dict

    def signed_output(self, params: PyTree) -> Float[Array, " n"]:
        """y_i F(X_i) over the training set."""
        output = self.objective.output(params)
        return self.objective.batch.targets.astype(output.dtype) * output

    def by_type(self, per_sample: Float[Array, " n"], total: bool) -> Float[Array, " type"]:
        """The sum over the samples of each type, divided by n (total) or by their number."""
        counts, type_N = self.survey.counts, self.objective.batch.type
        assert counts is not None  # the task has the capability
        assert type_N is not None
        sums = jax.ops.segment_sum(per_sample, type_N, len(counts))
        counts = counts.astype(per_sample.dtype)
        return sums / (per_sample.shape[0] if total else counts)

    def gram(self, params: PyTree) -> Any:
        """The Gram matrices of the model."""
        return self.objective.apply(params, method="gram")

    def gram_velocity(self, params: PyTree) -> Any:
        """d/dt of the Gram matrices along gradient flow, whatever law moves the parameters."""
        return jax.jvp(self.gram, (params,), (self.objective.velocity(params),))[1]


Measure = Callable[[PyTree, View], Array]


@dataclass(frozen=True)
class Probe:
    """A named observable.

    Attributes:
        name: its name in records, figures and configs.
        dims: the names of its dimensions after t. "layer" and "head" are dropped when the model has one. "key",
            "query" and "word" run over the first words of the vocabulary, "any_key" and "any_query" over all of it.
        measure: (params, view) -> array with these dimensions.
        needs: capabilities, each of which the model or the task must have.
        evaluation: whether it looks at the evaluation set.
        large: whether it takes too much memory or time to be recorded more often than at checkpoints, and for every
            draw of a random law.
        image: whether its last two dimensions are (key, query) and the wandb mirror draws it as pictures.
        labels: {dimension: labels} of dimensions that neither the task nor the model knows.
        at_start: (parameters at t = 0, view) -> what `measure` reads in view.known under its name; None for nothing.
        on_host: numpy array [T, ...] of what `measure` gave at T times -> what is recorded, with the dimensions `dims`
            after T; for what some kind of device cannot compute. None if `measure` gives what is recorded.
    """

    name: str
    dims: tuple[str, ...]
    measure: Measure
    needs: tuple[str, ...] = ()
    evaluation: bool = False
    large: bool = False
    image: bool = False
    labels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    at_start: Callable[[PyTree, View], Any] | None = None
    on_host: Callable[[np.ndarray], np.ndarray] | None = None

    def __post_init__(self):
        require(self.name not in NUMBERS, "probe", self.name, f"must not be one of {', '.join(NUMBERS)}")
        for dim in self.dims:
            require(dim not in AXES, f"dimensions of the probe {self.name!r}", dim, f"must not be {', '.join(AXES)}")

    def fits(self, task: Any, model: Any) -> bool:
        """Whether task and model have the capabilities that it needs."""
        return set(self.needs) <= task.capabilities | model.capabilities


PROBES: dict[str, Probe] = {}


def probe(*dims: str, **settings: Any) -> Callable[[Measure], Measure]:
    """Register the function below as the probe of its name; see Probe."""

    def register(measure: Measure) -> Measure:
        PROBES[measure.__name__] = Probe(measure.__name__, dims, measure, **settings)
        return measure

    return register


def as_recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """{name: what is recorded [T, ...]} of what probes gave at T times; see Probe.on_host."""
    on_host = {name: PROBES[name].on_host for name in values}
    return {name: values[name] if finish is None else finish(values[name]) for name, finish in on_host.items()}


def dimensions(name: str, model: Any) -> tuple[str, ...]:
    """The names of a probe's dimensions after t, without "layer" or "head" if the model has only one of them."""
    sizes = {"layer": model.layers, "head": model.heads}
    return tuple(dim for dim in PROBES[name].dims if sizes.get(dim) != 1)


def coordinates(task: Any, model: Any, words: int) -> dict[str, list[Any]]:
    """The labels of dimensions, those of the task, the model and all probes; a dimension may have none.

    Args:
        task: it also names the words.
        model: whose parameters are looked at.
        words: how many of them "key", "query" and "word" have.
    """
    labels = {dim: list(values) for probe in PROBES.values() for dim, values in probe.labels.items()}
    names = list(task.word_names)
    of_words = dict.fromkeys(("key", "query", "word"), names[:words]) | dict.fromkeys(("any_key", "any_query"), names)
    own = {"sample": list(range(task.samples)), "type": list(task.types), **(of_words if names else {})}
    return {**labels, **model.coordinates, **own, **task.coordinates}


def evaluator(names: tuple[str, ...], view: View, squeezed: bool = True) -> Callable[[PyTree], dict[str, Array]]:
    """The function params -> {name: value} that a law calls at the saved times; `as_recorded` finishes the values.

    Args:
        names: of probes whose arrays have the dimensions that they name.
        view: what they look at.
        squeezed: whether "layer" and "head" are dropped when the model has one.

    Raises:
        ConfigError: for a name that is not a probe, and for one that looks at an evaluation set where there is none.
    """
    for name in names:
        require(name in PROBES, "probes", name, f"must be among {', '.join(PROBES)}")
        has_samples = view.survey.evaluation is not None or not PROBES[name].evaluation
        require(has_samples, "probes", name, "needs a survey with an evaluation set")
    first = {name: PROBES[name].at_start for name in names}
    view = view._replace(known={name: look(view.start, view) for name, look in first.items() if look is not None})

    @jax.jit  # traced once, where a solver evaluates it in several places
    def evaluate(params: PyTree) -> dict[str, Array]:
        inputs = jax.tree.map(lambda array: array[:SAMPLES_LOOKED_AT], view.objective.batch.inputs)
        here = view._replace(intermediates=functools.cache(lambda: view.objective.apply(params, inputs)[1]))
        values = {name: PROBES[name].measure(params, here) for name in names}
        return {name: without_single(name, value) for name, value in values.items()} if squeezed else values

    def without_single(name: str, value: Array) -> Array:
        kept = dimensions(name, view.objective.model)
        return jnp.squeeze(value, tuple(axis for axis, dim in enumerate(PROBES[name].dims) if dim not in kept))

    return evaluate
