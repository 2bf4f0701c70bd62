"""The probes of this paper's configs. Importing this module registers `score_table`."""

from jaxtyping import Array, PyTree

from dynamics.probes import View, probe

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
