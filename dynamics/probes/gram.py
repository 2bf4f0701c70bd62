"""Probes of words that are orthonormal: Gram matrices, what the flow conserves of them, attention between words."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from dynamics.analysis.invariants import relative_drift, spectra
from dynamics.models import GRAM_INVARIANTS, Balance, gram_invariants
from dynamics.probes.probe import View, probe


@probe("head", "key", "query", needs=("gram",), image=True)
def scores(params: PyTree, view: View) -> Array:
    """νᵀ W_Kᵀ W_Q μ for key ν and query μ, before division by √m."""
    return view.gram(params).A[:, : view.words, : view.words]


@probe("head", "key", "query", needs=("gram",))
def value_gram(params: PyTree, view: View) -> Array:
    """νᵀ W_Vᵀ W_V μ; ν runs along key, μ along query."""
    C_V_HxDxHxD = view.gram(params).C_V[:, : view.words, :, : view.words]
    return jnp.einsum("hihj->hij", C_V_HxDxHxD)


@probe("head", "key", "query", needs=("gram",))
def key_gram(params: PyTree, view: View) -> Array:
    """νᵀ W_Kᵀ W_K μ; ν runs along key, μ along query."""
    return view.gram(params).C_K[:, : view.words, : view.words]


@probe("head", "key", "query", needs=("gram",))
def query_gram(params: PyTree, view: View) -> Array:
    """νᵀ W_Qᵀ W_Q μ; ν runs along key, μ along query."""
    return view.gram(params).C_Q[:, : view.words, : view.words]


@probe("head", "word", needs=("gram",))
def mlp(params: PyTree, view: View) -> Array:
    """The linear MLP function G(μ) = aᵀ W W_V μ."""
    return view.gram(params).G[:, : view.words]


@probe(needs=("gram",))
def neuron_gram(params: PyTree, view: View) -> Array:
    """The mean over neurons of a_i a_j ⟨w_i, w_j⟩, ‖Wᵀa‖² / m1²."""
    return view.gram(params).S / view.objective.model.neurons**2


@probe("head", "key", "query", needs=("gram",))
def scores_velocity(params: PyTree, view: View) -> Array:
    """d/dt νᵀ W_Kᵀ W_Q μ along gradient flow."""
    return view.gram_velocity(params).A[:, : view.words, : view.words]


@probe("head", "key", "query", needs=("gram",))
def value_gram_velocity(params: PyTree, view: View) -> Array:
    """d/dt νᵀ W_Vᵀ W_V μ along gradient flow."""
    velocity_HxDxHxD = view.gram_velocity(params).C_V[:, : view.words, :, : view.words]
    return jnp.einsum("hihj->hij", velocity_HxDxHxD)


@probe("head", "word", needs=("gram",))
def mlp_velocity(params: PyTree, view: View) -> Array:
    """d/dt G(μ) along gradient flow."""
    return view.gram_velocity(params).G[:, : view.words]


@probe("layer", "head", "type", "key", "query", needs=("canonical", "attention"), image=True)
def attention(params: PyTree, view: View) -> Array:
    """p_{q←μ,k←ν} in the canonical sample of each type: the attention that query word μ pays to key word ν.

    Zero where ν or μ is not in that sample. A sample longer than the vocabulary holds some words twice; their
    attention adds over keys and is that of one of them over queries.
    """
    tokens_TxL = view.survey.canonical
    assert tokens_TxL is not None  # the task has the capability
    model = view.objective.model
    p = view.objective.apply(params, tokens_TxL)[1]["attention"]
    p_XxHxKxQxT = p.reshape(model.layers, *p.shape[-4:])
    keys_TxLxD = jax.nn.one_hot(tokens_TxL, model.vocabulary, dtype=p.dtype)
    queries_TxLxD = keys_TxLxD / jnp.maximum(keys_TxLxD.sum(axis=1, keepdims=True), 1)
    by_word_XxHxTxDxD = jnp.einsum("xhkqt,tki,tqj->xhtij", p_XxHxKxQxT, keys_TxLxD, queries_TxLxD)
    return by_word_XxHxTxDxD[..., : view.words, : view.words]


@probe("matrix", needs=("weights",))
def weight_norm(params: PyTree, view: View) -> Array:
    """The Frobenius norm of each weight matrix, over all layers, in the order of their sorted names."""
    del view
    return jnp.stack([jnp.linalg.norm(matrix) for matrix in jax.tree.leaves(params)])


@probe("invariant", needs=("gram",), labels={"invariant": GRAM_INVARIANTS})
def invariants(params: PyTree, view: View) -> Array:
    """Four numbers that are constant along the flow; see dynamics.models.gram.gram_invariants."""
    return gram_invariants(view.gram(params), view.objective.model.neurons)


@probe("value_mode", needs=("gram",))
def value_spectrum(params: PyTree, view: View) -> Array:
    """The eigenvalues of u uᵀ/m1 − W_V W_Vᵀ and zeros, constant."""
    return spectra(view.gram(params), view.objective.model.neurons)[0]


@probe("head", "score_mode", needs=("gram",))
def score_spectrum(params: PyTree, view: View) -> Array:
    """The eigenvalues of W_Q W_Qᵀ − W_K W_Kᵀ and zeros, constant."""
    return spectra(view.gram(params), view.objective.model.neurons)[1]


def _conserved(params: PyTree, view: View) -> tuple[Balance, ...]:
    return view.objective.apply(params, method="conserved")


@probe("conserved", needs=("conserved",), at_start=_conserved)
def drift(params: PyTree, view: View) -> Array:
    """|Q(t) − Q(0)| of what the flow conserves, relative to the terms whose difference Q is.

    See dynamics.analysis.invariants.relative_drift.
    """
    rates = view.objective.balanced_rates(params)
    return relative_drift(_conserved(params, view), view.known["drift"], rates)
