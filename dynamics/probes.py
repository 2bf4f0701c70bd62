"""Probes: pure functions of the parameters with a name and dimension names, evaluated inside the solve."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from dynamics.config import require
from dynamics.curvature import top_eigenpair
from dynamics.invariants import REDUCED, reduced, relative_drift, spectra
from dynamics.objective import Objective, logistic_loss
from dynamics.tasks import Task

__all__ = ["PROBES", "Probe", "View", "coordinates", "dimensions", "evaluator", "probe"]


MATRICES = ("W", "W_K", "W_Q", "W_V")
ESTIMATE = ("mean", "standard error")
POPULATION = 1024  # fresh samples, the same ones in every run


class View(NamedTuple):
    """What a probe may look at besides the parameters.

    Attributes:
        objective: model and training set.
        task: names and canonical samples.
        start: the parameters at t = 0.
        words: matrix probes keep this many words, μ1 first.
        known: what a probe measured at the start, by its name; see Probe.at_start.
    """

    objective: Objective
    task: Task
    start: PyTree
    words: int
    known: Mapping[str, Any] = MappingProxyType({})

    def signed_output(self, params: PyTree) -> Float[Array, " n"]:
        """y_i F(X_i) over the training set."""
        output = self.objective.output(params)
        return self.objective.batch.label.astype(output.dtype) * output

    def by_type(self, per_sample: Float[Array, " n"], total: bool) -> Float[Array, " type"]:
        """The sum over the samples of each type, divided by n (total) or by their number."""
        kind = self.objective.batch.type
        types = len(self.task.types)
        sums = jax.ops.segment_sum(per_sample, kind, types)
        counts = jax.ops.segment_sum(jnp.ones_like(per_sample), kind, types)
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
        dims: the names of its dimensions after t; "head" is dropped when the model has one.
        measure: (params, view) -> array with these dimensions.
        needs_weights: whether it is no function of the Gram matrices.
        at_start: (parameters at t = 0, view) -> what `measure` finds in view.known under its name; None for nothing.
    """

    name: str
    dims: tuple[str, ...]
    measure: Measure
    needs_weights: bool = False
    at_start: Callable[[PyTree, View], Any] | None = None


PROBES: dict[str, Probe] = {}


def probe(
    *dims: str, needs_weights: bool = False, at_start: Callable[[PyTree, View], Any] | None = None
) -> Callable[[Measure], Measure]:
    """Register the function below as the probe of its name; see Probe."""

    def register(measure: Measure) -> Measure:
        PROBES[measure.__name__] = Probe(measure.__name__, dims, measure, needs_weights, at_start)
        return measure

    return register


@probe()
def loss(params: PyTree, view: View) -> Array:
    """L = (1/n) Σ log(1 + exp(−y F)) on the training set."""
    return view.objective.loss(params)


@probe("type")
def loss_by_type(params: PyTree, view: View) -> Array:
    """The mean loss over the samples of each type."""
    return view.by_type(logistic_loss(view.objective.output(params), view.objective.batch.label), total=False)


@probe("type")
def gradient_by_type(params: PyTree, view: View) -> Array:
    """(1/n) Σ g_i over the samples of each type, g_i = 1 / (1 + exp(y_i F_i)), minus the derivative of the loss."""
    return view.by_type(jax.nn.sigmoid(-view.signed_output(params)), total=True)


@probe()
def margin(params: PyTree, view: View) -> Array:
    """min_i y_i F(X_i); positive when every sample is classified."""
    return jnp.min(view.signed_output(params))


@probe("sample")
def output(params: PyTree, view: View) -> Array:
    """F(X_i) on the training set."""
    return view.objective.output(params)


@probe("estimate")
def population_loss(params: PyTree, view: View) -> Array:
    """The mean loss over fresh samples of the task, and the standard error of that mean."""
    batch = view.task.sample(jax.random.key(0), POPULATION)
    output, _ = view.objective.apply(params, batch.tokens)
    losses = logistic_loss(output, batch.label)
    return jnp.stack([jnp.mean(losses), jnp.std(losses, ddof=1) / math.sqrt(POPULATION)])


@probe("head", "key", "query")
def scores(params: PyTree, view: View) -> Array:
    """νᵀ W_Kᵀ W_Q μ for key ν and query μ, without the 1/√m."""
    return view.gram(params).A[:, : view.words, : view.words]


@probe("head", "key", "query")
def value_gram(params: PyTree, view: View) -> Array:
    """νᵀ W_Vᵀ W_V μ; ν runs along key, μ along query."""
    return jnp.einsum("hihj->hij", view.gram(params).C_V[:, : view.words, :, : view.words])


@probe("head", "key", "query")
def key_gram(params: PyTree, view: View) -> Array:
    """νᵀ W_Kᵀ W_K μ; ν runs along key, μ along query."""
    return view.gram(params).C_K[:, : view.words, : view.words]


@probe("head", "key", "query")
def query_gram(params: PyTree, view: View) -> Array:
    """νᵀ W_Qᵀ W_Q μ; ν runs along key, μ along query."""
    return view.gram(params).C_Q[:, : view.words, : view.words]


@probe("head", "word")
def mlp(params: PyTree, view: View) -> Array:
    """The linear MLP function G(μ) = aᵀ W W_V μ."""
    return view.gram(params).G[:, : view.words]


@probe()
def neuron_gram(params: PyTree, view: View) -> Array:
    """The mean over neurons of a_i a_j ⟨w_i, w_j⟩, ‖Wᵀa‖² / m1²."""
    return view.gram(params).S / view.objective.model.neurons**2


@probe("head", "key", "query")
def scores_velocity(params: PyTree, view: View) -> Array:
    """d/dt νᵀ W_Kᵀ W_Q μ along gradient flow."""
    return view.gram_velocity(params).A[:, : view.words, : view.words]


@probe("head", "key", "query")
def value_gram_velocity(params: PyTree, view: View) -> Array:
    """d/dt νᵀ W_Vᵀ W_V μ along gradient flow."""
    return jnp.einsum("hihj->hij", view.gram_velocity(params).C_V[:, : view.words, :, : view.words])


@probe("head", "word")
def mlp_velocity(params: PyTree, view: View) -> Array:
    """d/dt G(μ) along gradient flow."""
    return view.gram_velocity(params).G[:, : view.words]


@probe("head", "type", "key", "query")
def attention(params: PyTree, view: View) -> Array:
    """p_{q←μ,k←ν} in the canonical sample of each type: the attention that query word μ pays to key word ν.

    Zero where ν or μ is not in that sample. A sample longer than the vocabulary holds some words twice; their
    attention adds over keys and is that of one of them over queries.
    """
    tokens_TxL = view.task.canonical
    p = view.objective.apply(params, tokens_TxL)[1]["attention"]
    d = len(view.task.word_names)
    one_hot = jax.nn.one_hot(tokens_TxL, d, dtype=p.dtype)
    queries = one_hot / jnp.maximum(one_hot.sum(axis=1, keepdims=True), 1)
    by_word = jnp.einsum("hkqt,tki,tqj->htij", p, one_hot, queries)
    return by_word[:, :, : view.words, : view.words]


@probe("matrix", needs_weights=True)
def weight_norm(params: PyTree, view: View) -> Array:
    """The Frobenius norm of each weight matrix."""
    del view
    return jnp.stack([jnp.linalg.norm(params[name]) for name in MATRICES])


@probe("invariant")
def invariants(params: PyTree, view: View) -> Array:
    """I1, ..., I4, constant along the flow; see dynamics.invariants.reduced."""
    return reduced(view.gram(params), view.objective.model.neurons)


@probe("value_mode")
def value_spectrum(params: PyTree, view: View) -> Array:
    """The eigenvalues of u uᵀ/m1 − W_V W_Vᵀ and zeros, constant along the flow; see dynamics.invariants.spectra."""
    return spectra(view.gram(params), view.objective.model.neurons)[0]


@probe("head", "score_mode")
def score_spectrum(params: PyTree, view: View) -> Array:
    """The eigenvalues of W_Q W_Qᵀ − W_K W_Kᵀ and zeros, constant along the flow; see dynamics.invariants.spectra."""
    return spectra(view.gram(params), view.objective.model.neurons)[1]


def _conserved(params: PyTree, view: View) -> tuple[Array, ...]:
    return view.objective.apply(params, method="conserved")


@probe("conserved", at_start=_conserved)
def drift(params: PyTree, view: View) -> Array:
    """Max |Q(t) − Q(0)| / max |Q(0)| of what the flow conserves; see dynamics.invariants."""
    return relative_drift(_conserved(params, view), view.known["drift"])


@probe("parameter")
def parameters(params: PyTree, view: View) -> Array:
    """What the law moves, as one vector: all weights, or all Gram variables."""
    del view
    return ravel_pytree(params)[0]


@probe(needs_weights=True, at_start=lambda params, view: top_eigenpair(view.objective.loss, params)[1])
def sharpness(params: PyTree, view: View) -> Array:
    """λmax, the largest eigenvalue of ∇²L; gradient descent with step η is stable while η λmax < 2.

    The search starts at the eigenvector of t = 0.
    """
    return top_eigenpair(view.objective.loss, params, view.known["sharpness"])[0]


def dimensions(name: str, heads: int) -> tuple[str, ...]:
    """The dimension names of a probe after t."""
    return tuple(dim for dim in PROBES[name].dims if dim != "head" or heads > 1)


def coordinates(task: Task, words: int, model: Any) -> dict[str, list[Any]]:
    """The labels along every dimension that a probe can have."""
    names = list(task.word_names[:words])
    return {
        "head": list(range(model.heads)),
        "key": names,
        "query": names,
        "word": names,
        "type": list(task.types),
        "sample": list(range(task.samples)),
        "matrix": list(MATRICES),
        "estimate": list(ESTIMATE),
        "invariant": list(REDUCED),
        "value_mode": list(range(model.heads * model.vocabulary + 1)),
        "score_mode": list(range(2 * model.vocabulary)),
        "conserved": list(model.CONSERVED),
    }


def evaluator(names: tuple[str, ...], view: View) -> Callable[[PyTree], dict[str, Array]]:
    """The function params -> {name: value} that a law calls at the saved times.

    Raises:
        ConfigError: for a name that is not a probe.
    """
    for name in names:
        require(name in PROBES, "probes", name, f"must be among {', '.join(PROBES)}")
    first = {name: PROBES[name].at_start for name in names}
    view = view._replace(known={name: look(view.start, view) for name, look in first.items() if look is not None})

    @jax.jit  # traced once, where a solver evaluates it in several places
    def evaluate(params: PyTree) -> dict[str, Array]:
        values = {name: PROBES[name].measure(params, view) for name in names}
        one_head = view.objective.model.heads == 1
        return {k: v[0] if one_head and "head" in PROBES[k].dims else v for k, v in values.items()}

    return evaluate
