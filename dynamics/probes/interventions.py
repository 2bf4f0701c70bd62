"""Interventions for probes: the model at the same parameters, with one part or one array changed.

With another part: view.objective.changed(mask=Full()), see dynamics.models.attention for the parts. With an array
changed where it is made: edited(view.objective, edit), where the model has the capability "edits". A probe of the loss
without the first head of the first layer, for example, is

    @dynamics.probe(needs=("edits",))
    def loss_without_head(params, view):
        return edited(view.objective, head_zeroed(0, 0)).loss(params)

Edits of one's own are {name: f} as in dynamics.models.Transformer.__call__; several are joined by |.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dynamics.objectives.objective import Objective

Edit = dict[str, Callable[[int, Array], Array]]


@dataclass(frozen=True, eq=False)
class _EditedModel:
    """A model whose forward pass applies edits; its other methods are called without them."""

    model: Any
    edits: Edit

    @property
    def capabilities(self) -> frozenset[str]:
        return self.model.capabilities

    def bytes_held(self, inputs: tuple[int, ...]) -> int:
        """Nothing, so that all samples are gone through at once: an edit may hold an array of all of them."""
        del inputs
        return 0

    def apply(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        called = () if "method" in kwargs else (self.edits,)
        return self.model.apply(variables, *args, *called, **kwargs)


def edited(objective: Objective, edits: Edit) -> Objective:
    """The objective at the same parameters and data, of the model with these edits."""
    return dataclasses.replace(objective, model=_EditedModel(objective.model, edits))


def head_zeroed(layer: int, head: int) -> Edit:
    """What this head of this layer reads is 0, so that it adds nothing to the stream."""

    def without(at: int, read_NxQxHxE: Float[Array, "n Q H e"]) -> Array:
        return read_NxQxHxE.at[:, :, head].set(0) if at == layer else read_NxQxHxE

    return {"heads": without}


def direction_removed(direction_M: Float[Array, " m"]) -> Edit:
    """States x − u (u·x) after every layer, with u = v/‖v‖: nothing is left along the direction v."""
    u_M = direction_M / jnp.linalg.norm(direction_M)

    def without(at: int, x_NxLxM: Float[Array, "n L m"]) -> Array:
        del at
        along_NxL = jnp.einsum("nlm,m->nl", x_NxLxM, u_M)
        return x_NxLxM - along_NxL[..., None] * u_M[None, None]

    return {"states": without}


def attention_replaced(attention_XxHxKxQxN: Float[Array, "layer H K Q n"]) -> Edit:
    """This attention in every layer, given as among the intermediates of a model."""

    def given(at: int, attention_NxHxQxK: Float[Array, "n H Q K"]) -> Array:
        del attention_NxHxQxK
        return jnp.transpose(attention_XxHxKxQxN[at], (3, 0, 2, 1))

    return {"attention": given}
