"""Probes of the training: losses, margins, outputs, the parameters themselves, sharpness."""

import math

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from dynamics.analysis.curvature import Eigenpairs, hessian_eigenpairs
from dynamics.probes.probe import View, probe


@probe()
def loss(params: PyTree, view: View) -> Array:
    """L = (1/n) Σ ℓ(F, y) on the training set, regularised: what a law descends."""
    return view.objective.loss(params)


@probe()
def loss_error(params: PyTree, view: View) -> Array:
    """The standard error of the mean loss of the batch, as an estimate of the loss on the distribution of samples."""
    losses = view.objective.losses(params)
    return jnp.std(losses, ddof=1) / math.sqrt(len(losses))


@probe()
def data_loss(params: PyTree, view: View) -> Array:
    """(1/n) Σ ℓ(F, y) on the training set."""
    return jnp.mean(view.objective.losses(params))


@probe("type", needs=("types",))
def loss_by_type(params: PyTree, view: View) -> Array:
    """The mean loss over the samples of each type."""
    return view.by_type(view.objective.losses(params), total=False)


@probe("type", needs=("signed_targets", "types"))
def gradient_by_type(params: PyTree, view: View) -> Array:
    """(1/n) Σ g_i over the samples of each type, g_i = 1 / (1 + exp(y_i F_i)), minus the derivative of the loss."""
    return view.by_type(jax.nn.sigmoid(-view.signed_output(params)), total=True)


@probe(needs=("signed_targets",))
def margin(params: PyTree, view: View) -> Array:
    """min_i y_i F(X_i); positive when every sample is classified."""
    return jnp.min(view.signed_output(params))


@probe("sample", needs=("signed_targets",))
def output(params: PyTree, view: View) -> Array:
    """F(X_i) on the training set."""
    return view.objective.output(params)


@probe("estimate", evaluation=True, labels={"estimate": ("mean", "standard error")})
def population_loss(params: PyTree, view: View) -> Array:
    """The mean loss over the evaluation set, and the standard error of that mean."""
    losses = view.objective.losses(params, view.survey.evaluation)
    return jnp.stack([jnp.mean(losses), jnp.std(losses, ddof=1) / math.sqrt(len(losses))])


@probe("parameter", large=True)
def parameters(params: PyTree, view: View) -> Array:
    """What the law moves, as one vector: all weights, or all Gram variables."""
    del view
    return ravel_pytree(params)[0]


EIGENVALUE = {"eigenvalue": ("value", "residual")}


@probe(
    "eigenvalue",
    needs=("weights",),
    large=True,
    labels=EIGENVALUE,
    at_start=lambda params, view: _checked(hessian_eigenpairs(view.objective.loss, params)),
)
def starting_sharpness(params: PyTree, view: View) -> Array:
    """λmax of ∇²L at t = 0 and its residual, the same at all times: one search, where `sharpness` searches every time.

    It is large for its time: a search takes seconds to compile, and gives the same for every draw of a random law.
    """
    del params
    return view.known["starting_sharpness"]


@probe(
    "eigenvalue",
    needs=("weights",),
    labels=EIGENVALUE,
    at_start=lambda params, view: hessian_eigenpairs(view.objective.loss, params).vectors,
)
def sharpness(params: PyTree, view: View) -> Array:
    """λmax, the largest eigenvalue of ∇²L, and its residual ‖∇²L v − λmax v‖.

    Gradient descent with step η is stable while η λmax < 2. λmax is nan where its residual is too large for it to be
    trusted. The search starts at the eigenvector of t = 0.
    """
    return _checked(hessian_eigenpairs(view.objective.loss, params, view.known["sharpness"]))


def _checked(pairs: Eigenpairs) -> Array:
    """The first eigenvalue and its residual [eigenvalue]."""
    return jnp.stack([pairs.values[0], pairs.residuals[0]])
