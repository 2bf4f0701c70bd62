"""What every task hands out."""

from typing import NamedTuple

from jaxtyping import Array, Int

__all__ = ["Batch"]


class Batch(NamedTuple):
    """Labelled samples.

    Attributes:
        tokens: the index of each word in the vocabulary; 0 is μ1.
        label: y, +1 or -1.
        type: the index of each sample's type in the task's `types`.
    """

    tokens: Int[Array, "n L"]
    label: Int[Array, " n"]
    type: Int[Array, " n"]
