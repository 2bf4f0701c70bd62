"""What training on dynamics.tasks.TriggerAveraging does to attention, by kind of row; an import registers all of it.

Rows are those after the first position. A row of the kind "trigger" asks for the mean of the tokens before it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

import dynamics
from dynamics.analysis import attention as measures
from dynamics.models.attention import ReLU
from dynamics.probes import View, probe
from dynamics.probes.interventions import edited, head_zeroed
from dynamics.tasks.trigger import KINDS

ROWS = ("trigger", "other")
PATTERNS = ("first", "itself", "off", "first, absolute")
NEEDS = ("kinds_of_tokens", "attention", "value_vectors")
FEW = 8  # samples whose attention and values are recorded whole


@dataclasses.dataclass(frozen=True)
class ReLUOverOthers(dynamics.Normaliser):
    """p_k = max(s_k, 0) / max(1, K − left_out), where K is the number of shown keys.

    Where the mean counts all but `left_out` keys, one score for all of them gives each its weight in the mean.

    Attributes:
        left_out: the number of shown keys that the mean does not count.
    """

    left_out: int = 0

    def __call__(
        self, scores: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"], key: Any = None
    ) -> Float[Array, "*batch Q K"]:
        """See dynamics.Normaliser."""
        counted_Qx1 = jnp.maximum(mask.sum(axis=-1, keepdims=True) - self.left_out, 1).astype(scores.dtype)
        return ReLU("none")(scores, mask, key) / jnp.expand_dims(counted_Qx1, tuple(range(scores.ndim - 2)))


dynamics.NORMALISERS["relu_over_others"] = ReLUOverOthers


def _rows(view: View, samples: int) -> Mapping[str, Float[Array, "Q n"]]:
    """{kind: 1 for every row of the kind, else 0}, of the first samples; 0 for the first position."""
    is_trigger_NxQ = view.objective.batch.inputs[:samples, :, KINDS.index("trigger") - len(KINDS)] > 0
    after_QxN = (jnp.arange(is_trigger_NxQ.shape[1]) > 0)[:, None]
    kinds = {"trigger": is_trigger_NxQ.T & after_QxN, "other": ~is_trigger_NxQ.T & after_QxN}
    return {kind: rows.astype(view.objective.model.dtype) for kind, rows in kinds.items()}


def _by_row(view: View, of_rows: Float[Array, "Q n"]) -> Float[Array, " row"]:
    """The mean over the rows of each kind."""
    kinds = _rows(view, of_rows.shape[-1])
    return jnp.stack([jnp.sum(of_rows * kinds[kind]) / jnp.sum(kinds[kind]) for kind in ROWS])


def _head(params: PyTree, view: View) -> tuple[Float[Array, "K Q n"], Float[Array, "K d n"]]:
    """The attention and the values U W_O v of the one head: what it would add to the output from one key alone."""
    seen = view.intermediates()
    p_KxQxN, v_KxExN = seen["attention"][0, 0], seen["value_vectors"][0, 0]
    return p_KxQxN, jnp.einsum("dm,me,ken->kdn", params["U"], params["W_O"][0], v_KxExN)


@probe("pattern", "row", needs=NEEDS, labels={"pattern": PATTERNS, "row": ROWS})
def mass(params: PyTree, view: View) -> Array:
    """The shares in Σ_k p_k of the first position and of the query itself, 1 − Σ_k p_k, and p of the first position."""
    p, _ = _head(params, view)
    share = measures.shares(p)
    of_rows = (measures.on_key(share, 0), measures.on_self(share), measures.unspent(p), measures.on_key(p, 0))
    return jnp.stack([_by_row(view, rows) for rows in of_rows])


@probe("row", needs=NEEDS, labels={"row": ROWS})
def read_by_row(params: PyTree, view: View) -> Array:
    """‖o_i‖, what attention adds to the output, the mean over the rows of a kind."""
    return _by_row(view, jnp.linalg.norm(measures.reads(*_head(params, view)), axis=-2))


@probe(needs=NEEDS)
def first_value(params: PyTree, view: View) -> Array:
    """‖v‖ at the first position over the median of ‖v‖ at the others, for v = U W_O W_V x as in _head."""
    return measures.norm_ratio(_head(params, view)[1], 0)


@probe("row", needs=NEEDS, labels={"row": ROWS})
def error(params: PyTree, view: View) -> Array:
    """Σ ‖F − y‖² over the rows of a kind, divided by Σ ‖y‖² over all rows of the batch."""
    batch = view.objective.batch
    target = batch.targets.astype(view.objective.model.dtype)
    wrong_QxN = jnp.sum((view.objective.output(params) - target) ** 2, axis=-1).T
    kinds = _rows(view, len(target))
    return jnp.stack([jnp.sum(wrong_QxN * kinds[kind]) for kind in ROWS]) / jnp.sum(target**2)


@probe("key_position", "query_position", "sample_shown", needs=NEEDS)
def attention_shown(params: PyTree, view: View) -> Array:
    """The attention in the first samples."""
    return _head(params, view)[0][..., :FEW]


@probe("key_position", "coordinate", "sample_shown", needs=NEEDS)
def values_shown(params: PyTree, view: View) -> Array:
    """The values U W_O W_V x in the first samples."""
    return _head(params, view)[1][..., :FEW]


@probe("coordinate", "query_position", "sample_shown", needs=(*NEEDS, "edits"))
def added_shown(params: PyTree, view: View) -> Array:
    """What attention adds to the output in the first samples: the output minus that without the head."""
    inputs, without = view.objective.batch.inputs[:FEW], edited(view.objective, head_zeroed(0, 0))
    added_NxQxD = view.objective.apply(params, inputs)[0] - without.apply(params, inputs)[0]
    return jnp.transpose(added_NxQxD, (2, 1, 0))


@probe("query_position", "sample_shown", needs=NEEDS)
def is_trigger(params: PyTree, view: View) -> Array:
    """1 at the position of the trigger and 0 elsewhere, for the first samples; it does not change with t."""
    del params
    return _rows(view, FEW)["trigger"]
