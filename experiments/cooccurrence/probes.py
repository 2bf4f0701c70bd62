"""The probes of this paper's configs. Importing this module registers `score_table` and `random_score_change`."""

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from dynamics.probes import View, probe
from dynamics.tasks.cooccurrence import SIGNALS

FIGURE_1 = (
    "loss",
    "loss_by_type",
    "gradient_by_type",
    "margin",
    "scores",
    "value_gram",
    "key_gram",
    "query_gram",
    "mlp",
    "attention",
    "weight_norm",
    "invariants",
    "drift",
)


@probe("head", "any_key", "any_query", needs=("gram",), large=True)
def score_table(params: PyTree, view: View) -> Array:
    """νᵀ W_Kᵀ W_Q μ for key ν and query μ of the whole vocabulary, before division by √m."""
    return view.gram(params).A


def _score_table(params: PyTree, view: View) -> Array:
    return view.gram(params).A


@probe(needs=("gram",), at_start=_score_table)
def random_score_change(params: PyTree, view: View) -> Array:
    """The largest |change of νᵀ W_Kᵀ W_Q μ since t = 0| over all pairs with a random word."""
    change_HxDxD = jnp.abs(_score_table(params, view) - view.known["random_score_change"])
    random_D = jnp.arange(change_HxDxD.shape[-1]) >= SIGNALS
    return jnp.max(jnp.where(random_D[:, None] | random_D[None, :], change_HxDxD, 0))
