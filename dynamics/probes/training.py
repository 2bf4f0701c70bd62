"""Probes of the training: losses, margins, outputs, the parameters themselves, sharpness."""

import math

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from dynamics.analysis.curvature import top_eigenpair
from dynamics.probes.probe import View, probe


@probe()
def loss(params: PyTree, view: View) -> Array:
    """L = (1/n) Σ ℓ(F, y) on the training set, regularised: what a law descends."""
    return view.objective.loss(params)


@probe()
def data_loss(params: PyTree, view: View) -> Array:
    """(1/n) Σ ℓ(F, y) on the training set."""
    return jnp.mean(view.objective.losses(params))


@probe("type", needs=("types",))
def loss_by_type(params: PyTree, view: View) -> Array:
    """The mean loss over the samples of each type."""
    return view.by_type(view.objective.losses(params), total=False)


@probe("type", needs=("signed_labels", "types"))
def gradient_by_type(params: PyTree, view: View) -> Array:
    """(1/n) Σ g_i over the samples of each type, g_i = 1 / (1 + exp(y_i F_i)), minus the derivative of the loss."""
    return view.by_type(jax.nn.sigmoid(-view.signed_output(params)), total=True)


@probe(needs=("signed_labels",))
def margin(params: PyTree, view: View) -> Array:
    """min_i y_i F(X_i); positive when every sample is classified."""
    return jnp.min(view.signed_output(params))


@probe("sample", needs=("signed_labels",))
def output(params: PyTree, view: View) -> Array:
    """F(X_i) on the training set."""
    return view.objective.output(params)


@probe("estimate", fresh=True, labels={"estimate": ("mean", "standard error")})
def population_loss(params: PyTree, view: View) -> Array:
    """The mean loss over fresh samples of the task, and the standard error of that mean."""
    losses = view.objective.losses(params, view.survey.fresh)
    return jnp.stack([jnp.mean(losses), jnp.std(losses, ddof=1) / math.sqrt(len(losses))])


@probe("parameter", large=True)
def parameters(params: PyTree, view: View) -> Array:
    """What the law moves, as one vector: all weights, or all Gram variables."""
    del view
    return ravel_pytree(params)[0]


@probe(needs=("weights",), large=True, at_start=lambda params, view: top_eigenpair(view.objective.loss, params)[0])
def starting_sharpness(params: PyTree, view: View) -> Array:
    """λmax of ∇²L at t = 0, the same number at all times: one search, where `sharpness` searches at every time.

    It is large for its time: a search takes seconds to compile, and gives the same for every draw of a random law.
    """
    del params
    return view.known["starting_sharpness"]


@probe(needs=("weights",), at_start=lambda params, view: top_eigenpair(view.objective.loss, params)[1])
def sharpness(params: PyTree, view: View) -> Array:
    """λmax, the largest eigenvalue of ∇²L; gradient descent with step η is stable while η λmax < 2.

    The search starts at the eigenvector of t = 0.
    """
    return top_eigenpair(view.objective.loss, params, view.known["sharpness"])[0]
