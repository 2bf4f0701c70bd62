"""Masks: which keys a query sees. A config picks one by name, as in `model.mask = {"name": "window", "back": 4}`."""

import abc
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from dynamics.config import Chosen, require


class Mask(Chosen):
    """Which keys k a query q sees; abstract. A mask is a frozen dataclass, and its fields are its options."""

    choices: ClassVar[dict[str, type]] = {}

    @abc.abstractmethod
    def __call__(self, length: int) -> Bool[Array, "Q K"]:
        """True where query q sees key k; every query sees at least one key."""


def _back(length: int) -> Int[Array, "Q K"]:
    """The distance q − k: how many positions the key is before the query."""
    return jnp.arange(length)[:, None] - jnp.arange(length)[None, :]


@dataclass(frozen=True)
class Full(Mask):
    """All keys."""

    def __call__(self, length: int) -> Bool[Array, "Q K"]:
        """See Mask."""
        return jnp.ones((length, length), bool)


@dataclass(frozen=True)
class Causal(Mask):
    """k ≤ q: keys at or before the query."""

    def __call__(self, length: int) -> Bool[Array, "Q K"]:
        """See Mask."""
        return jnp.tril(jnp.ones((length, length), bool))


@dataclass(frozen=True)
class Window(Mask):
    """|q − k| ≤ back: keys at most `back` positions away on either side."""

    back: int = 1

    def __post_init__(self):
        require(self.back >= 0, "back", self.back, "must not be negative")

    def __call__(self, length: int) -> Bool[Array, "Q K"]:
        """See Mask."""
        return jnp.abs(_back(length)) <= self.back


@dataclass(frozen=True)
class CausalWindow(Mask):
    """0 ≤ q − k ≤ back: keys at or before the query, and at most `back` positions before it."""

    back: int = 1

    def __post_init__(self):
        require(self.back >= 0, "back", self.back, "must not be negative")

    def __call__(self, length: int) -> Bool[Array, "Q K"]:
        """See Mask."""
        back = _back(length)
        return (back >= 0) & (back <= self.back)


@dataclass(frozen=True)
class Blocks(Mask):
    """k ≤ q and ⌊k/size⌋ = ⌊q/size⌋: causal inside of blocks of `size` positions, which do not see each other."""

    size: int = 4

    def __post_init__(self):
        require(self.size >= 1, "size", self.size, "must be at least 1")

    def __call__(self, length: int) -> Bool[Array, "Q K"]:
        """See Mask."""
        block = jnp.arange(length) // self.size
        return (_back(length) >= 0) & (block[:, None] == block[None, :])


@dataclass(frozen=True)
class Given(Mask):
    """rows[q][k] = 1: any matrix of 0 and 1, a row for each query. Shorter inputs have its upper left corner."""

    rows: tuple[tuple[int, ...], ...]

    def __post_init__(self):
        length = len(self.rows)
        for number, row in enumerate(self.rows):
            key = f"rows[{number}]"
            require(len(row) == length, key, row, f"must have {length} entries, as many as there are rows")
            require(set(row) <= {0, 1}, key, row, "must be a list of 0 and 1")
            require(any(row), key, row, "must have a 1: every query sees a key")

    def __call__(self, length: int) -> Bool[Array, "Q K"]:
        """See Mask."""
        allowed = f"must be at least {length}, the length of the input"
        require(length <= len(self.rows), "number of rows", len(self.rows), allowed)
        return jnp.array(self.rows, bool)[:length, :length]


MASKS: dict[str, type[Mask]] = Mask.choices
MASKS |= {
    "full": Full,
    "causal": Causal,
    "window": Window,
    "causal_window": CausalWindow,
    "blocks": Blocks,
    "given": Given,
}
