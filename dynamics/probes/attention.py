"""Probes of attention, of the score matrices and of the tokens between layers."""

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from dynamics.analysis import attention as measures
from dynamics.probes.probe import View, probe

WINDOWS = (1, 2, 4, 8)  # positions up to the query


def _attention(view: View) -> Array:
    """P [layer, head, key, query, n]."""
    p = view.intermediates()["attention"]
    return p.reshape(view.objective.model.layers, *p.shape[-4:])


def _values(view: View) -> Array:
    """The values v [layer, head, key, m/H, n]."""
    v = view.intermediates()["value_vectors"]
    return v.reshape(view.objective.model.layers, *v.shape[-4:])


def _after_first(by_query: Array) -> Array:
    """The mean over samples and over all queries but the first, which may see no other key than itself."""
    return jnp.mean(by_query[..., 1:, :], axis=(-2, -1))


def _score_matrices(params: PyTree, view: View) -> Array:
    return view.objective.apply(params, method="score_matrices")


@probe("layer", "head", needs=("attention",))
def attention_entropy(params: PyTree, view: View) -> Array:
    """−Σ_k p log p in nats, the mean over queries and samples; see dynamics.analysis.attention."""
    del params
    return measures.entropy(_attention(view))


@probe("layer", "head", "window", needs=("attention",), labels={"window": WINDOWS})
def attention_within(params: PyTree, view: View) -> Array:
    """The attention on the last 1, 2, 4, 8 positions up to the query, the mean over queries and samples."""
    del params
    p = _attention(view)
    return jnp.stack([measures.within(p, window) for window in WINDOWS], axis=-1)


@probe("layer", "head", "window", needs=("attention",), labels={"window": WINDOWS})
def peak_within(params: PyTree, view: View) -> Array:
    """The share of queries whose largest attention is to one of the last 1, 2, 4, 8 positions up to them."""
    del params
    p = _attention(view)
    return jnp.stack([measures.peak_within(p, window) for window in WINDOWS], axis=-1)


@probe("layer", "head", needs=("attention",))
def attention_distance(params: PyTree, view: View) -> Array:
    """Σ_k p_k |q − k|, the mean over queries and samples."""
    del params
    return measures.mean_distance(_attention(view))


@probe("layer", "head", needs=("attention",))
def attention_on_first(params: PyTree, view: View) -> Array:
    """The attention to the first position: its mass as a sink; the mean over the queries after it and over samples."""
    del params
    return _after_first(measures.on_key(_attention(view), 0))


@probe("layer", "head", needs=("attention",))
def attention_on_self(params: PyTree, view: View) -> Array:
    """The attention of a query to itself, the diagonal; the mean over the queries after the first and over samples."""
    del params
    return _after_first(measures.on_self(_attention(view)))


@probe("layer", "head", needs=("attention",))
def attention_unspent(params: PyTree, view: View) -> Array:
    """1 − Σ_k p_k, the mass of a learned sink; the mean over the queries after the first and over samples."""
    del params
    return _after_first(measures.unspent(_attention(view)))


@probe("layer", "head", needs=("value_vectors",))
def value_norm_ratio(params: PyTree, view: View) -> Array:
    """‖v‖ at the first position over the median of ‖v‖ at the others."""
    del params
    return measures.norm_ratio(_values(view), 0)


@probe("layer", "head", needs=("attention", "value_vectors"))
def read_norm(params: PyTree, view: View) -> Array:
    """‖Σ_k p_k v_k‖, the size of what a head reads; the mean over the queries after the first and over samples."""
    del params
    reads_XxHxQxExN = measures.reads(_attention(view), _values(view))
    return _after_first(jnp.linalg.norm(reads_XxHxQxExN, axis=-2))


@probe(
    "layer",
    "head",
    "mode",
    "part",
    needs=("score_matrices",),
    labels={"part": ("real", "imaginary")},
    on_host=measures.spectrum,  # no TPU can
)
def qk_spectrum(params: PyTree, view: View) -> Array:
    """The eigenvalues of the score matrices, by decreasing real part."""
    return _score_matrices(params, view)


@probe("layer", "head", "moment", needs=("score_matrices",), labels={"moment": measures.MOMENTS})
def qk_moments(params: PyTree, view: View) -> Array:
    """Mean, variance, normality and size of the spectrum of the score matrices."""
    return measures.moments(_score_matrices(params, view))


@probe("layer", "head", needs=("score_matrices",))
def qk_rank(params: PyTree, view: View) -> Array:
    """The effective rank of the score matrices, exp of the entropy of their singular values' shares; at most d."""
    return measures.effective_rank(_score_matrices(params, view))


@probe("layer", "head", needs=("score_matrices",))
def qk_numerical_rank(params: PyTree, view: View) -> Array:
    """The numerical rank of the score matrices."""
    return measures.numerical_rank(_score_matrices(params, view))


@probe("layer", "head", "mode", needs=("score_matrices",))
def qk_singular_values(params: PyTree, view: View) -> Array:
    """The singular values of the score matrices, by decreasing size."""
    return measures.singular_values(_score_matrices(params, view))


@probe("layer", "head", needs=("attention",))
def attention_smoothing(params: PyTree, view: View) -> Array:
    """The share S of the differences between independent tokens that attention leaves."""
    del params
    return measures.smoothing(_attention(view))


@probe("depth", needs=("states",))
def token_rank(params: PyTree, view: View) -> Array:
    """The effective rank of the token states of a sample, before the first and after every layer; mean over samples."""
    del params
    return jnp.mean(measures.effective_rank(view.intermediates()["states"]), axis=-1)


@probe("depth", needs=("states",))
def token_similarity(params: PyTree, view: View) -> Array:
    """The mean cosine between token states at different positions, before the first and after every layer."""
    del params
    return jnp.mean(measures.similarity(view.intermediates()["states"]), axis=-1)
