"""Probes: pure functions of the parameters with a name and dimension names, evaluated inside the solve."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from dynamics.analysis.attention import MOMENTS
from dynamics.config import require
from dynamics.models import GRAM_INVARIANTS
from dynamics.objectives.objective import Objective
from dynamics.tasks import Batch, Task

__all__ = [
    "MATRICES",
    "PROBES",
    "WINDOWS",
    "Probe",
    "Survey",
    "View",
    "coordinates",
    "dimensions",
    "evaluator",
    "probe",
]

MATRICES = ("W", "W_K", "W_Q", "W_V")
ESTIMATE = ("mean", "standard error")
SEEN = 64  # samples of the training set whose intermediates probes look at
WINDOWS = (1, 2, 4, 8)  # positions up to the query
DROPPED = ("layer", "head")  # dimensions that a model with one of them does not have


class Survey(NamedTuple):
    """What a probe may look at besides model and training set; arrays, so that another task is no other program.

    Attributes:
        counts: samples of each type in the training set.
        canonical: one sample of each type; None for a task without.
        fresh: fresh samples, the same ones at all times and in every run whose training set has this source; None when
            no probe asks for them.
    """

    counts: Float[Array, " type"]
    canonical: Int[Array, "type L"] | None
    fresh: Batch | None

    @classmethod
    def of(cls, task: Task, batch: Batch, fresh: bool) -> "Survey":
        """That of a task and its training set."""
        counts = jnp.bincount(batch.type, length=len(task.types)).astype(float)
        drawn = task.sample(jax.random.key(0), task.population, batch.source) if fresh else None
        return cls(counts, getattr(task, "canonical", None), drawn)


class View(NamedTuple):
    """What a probe may look at besides the parameters.

    Attributes:
        objective: model and training set.
        survey: what else there is of the task.
        start: the parameters at t = 0.
        words: matrix probes keep this many words, μ1 first.
        known: what a probe measured at the start, by its name; see Probe.at_start.
        intermediates: () -> those of the model on the first SEEN samples of the training set; computed once for all
            probes of an evaluation.
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
        return self.objective.batch.label.astype(output.dtype) * output

    def by_type(self, per_sample: Float[Array, " n"], total: bool) -> Float[Array, " type"]:
        """The sum over the samples of each type, divided by n (total) or by their number."""
        counts = self.survey.counts.astype(per_sample.dtype)
        sums = jax.ops.segment_sum(per_sample, self.objective.batch.type, len(counts))
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
        dims: the names of its dimensions after t; "layer" and "head" are dropped when the model has one.
        measure: (params, view) -> array with these dimensions.
        needs: an attribute of the model or the task without which it cannot be, or the loss of the task.
        needs_weights: whether it is no function of the Gram matrices.
        needs_fresh: whether it looks at fresh samples.
        at_start: (parameters at t = 0, view) -> what `measure` finds in view.known under its name; None for nothing.
    """

    name: str
    dims: tuple[str, ...]
    measure: Measure
    needs: str = ""
    needs_weights: bool = False
    needs_fresh: bool = False
    at_start: Callable[[PyTree, View], Any] | None = None

    def fits(self, task: Task, model: Any) -> bool:
        """Whether task or model have what it needs."""
        return not self.needs or self.needs == task.loss or hasattr(task, self.needs) or hasattr(model, self.needs)


PROBES: dict[str, Probe] = {}


def probe(*dims: str, **settings: Any) -> Callable[[Measure], Measure]:
    """Register the function below as the probe of its name; see Probe."""

    def register(measure: Measure) -> Measure:
        PROBES[measure.__name__] = Probe(measure.__name__, dims, measure, **settings)
        return measure

    return register


def dimensions(name: str, model: Any) -> tuple[str, ...]:
    """The dimension names of a probe after t."""
    return tuple(dim for dim in PROBES[name].dims if dim not in DROPPED or getattr(model, f"{dim}s") > 1)


def coordinates(task: Task, words: int, model: Any) -> dict[str, list[Any]]:
    """The labels along every dimension that a probe can have."""
    names = list(task.word_names[:words])
    return {
        "layer": list(range(model.layers)),
        "head": list(range(model.heads)),
        "key": names,
        "query": names,
        "word": names,
        "type": list(task.types),
        "sample": list(range(task.samples)),
        "matrix": list(MATRICES),
        "estimate": list(ESTIMATE),
        "window": list(WINDOWS),
        "moment": list(MOMENTS),
        "part": ["real", "imaginary"],
        "mode": list(range(getattr(model, "modes", 0))),
        "depth": list(range(getattr(model, "depths", 0))),
        "invariant": list(GRAM_INVARIANTS),
        "value_mode": list(range(model.heads * model.vocabulary + 1)),
        "score_mode": list(range(2 * model.vocabulary)),
        "conserved": list(getattr(model, "CONSERVED", ())),
    }


def evaluator(names: tuple[str, ...], view: View) -> Callable[[PyTree], dict[str, Array]]:
    """The function params -> {name: value} that a law calls at the saved times.

    Raises:
        ConfigError: for a name that is not a probe, or that needs fresh samples where there are none.
    """
    for name in names:
        require(name in PROBES, "probes", name, f"must be among {', '.join(PROBES)}")
        seen = view.survey.fresh is not None or not PROBES[name].needs_fresh
        require(seen, "probes", name, "needs a survey with fresh samples")
    first = {name: PROBES[name].at_start for name in names}
    view = view._replace(known={name: look(view.start, view) for name, look in first.items() if look is not None})

    @jax.jit  # traced once, where a solver evaluates it in several places
    def evaluate(params: PyTree) -> dict[str, Array]:
        tokens = view.objective.batch.tokens[:SEEN]
        seen = view._replace(intermediates=functools.cache(lambda: view.objective.apply(params, tokens)[1]))
        return {name: reshaped(name, PROBES[name].measure(params, seen)) for name in names}

    def reshaped(name: str, values: Array) -> Array:
        dims, kept = PROBES[name].dims, dimensions(name, view.objective.model)
        return jnp.squeeze(values, tuple(axis for axis, dim in enumerate(dims) if dim not in kept))

    return evaluate
