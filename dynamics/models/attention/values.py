"""Values: what attention reads of every key, and what becomes of it. A config picks one by name: `model.values`."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.config import Chosen, require
from dynamics.models.attention.scores import by_head, projected, row_gram, times
from dynamics.models.balance import Balance

BALANCE = "W_V W_Vᵀ − W_Oᵀ W_O"


class Value(Chosen):
    """The values v^h(x_k) that a query reads as Σ_k p^h_{k,q} v^h(x_k), and the output of all heads; abstract.

    A value is a frozen dataclass that states the shapes of its parameters and computes from them; its fields are its
    options.
    """

    choices: ClassVar[dict[str, type]] = {}

    @property
    def conserved(self) -> tuple[str, ...]:
        """The names of what `balances` gives; none by default."""
        return ()

    @abc.abstractmethod
    def shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """{name of a parameter: its shape in one layer}."""

    @abc.abstractmethod
    def values(self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int) -> Float[Array, "n K H e"]:
        """v^h(x_k).

        Args:
            params: of one layer, by name.
            x_NxLxM: the tokens.
            heads: H.
        """

    @abc.abstractmethod
    def joined(self, params: Mapping[str, Any], read_NxQxHxE: Float[Array, "n Q H e"]) -> Float[Array, "n Q m"]:
        """What the heads add to the stream, from what they read."""

    def balances(self, params: Mapping[str, Any], heads: int) -> tuple[Balance, ...]:
        """What gradient flow conserves of the parameters of all layers; nothing by default."""
        del params, heads
        return ()


def _joined(params: Mapping[str, Any], read_NxQxHxE: Float[Array, "n Q H e"], output: bool) -> Float[Array, "n Q m"]:
    """The heads side by side, times W_O if there is an output matrix."""
    read_NxQxE = read_NxQxHxE.reshape(*read_NxQxHxE.shape[:2], -1)
    return times(params["W_O"], read_NxQxE) if output else read_NxQxE


def _balances(params: Mapping[str, Any], heads: int, names: tuple[str, ...]) -> tuple[Balance, ...]:
    """W_V W_Vᵀ and W_Oᵀ W_O of every head, with the one name or none."""
    return tuple(
        Balance(
            name,
            ("W_V", "W_O"),
            row_gram(by_head(params["W_V"], heads)),
            row_gram(by_head(jnp.swapaxes(params["W_O"], -1, -2), heads)),
        )
        for name in names
    )


def _output_shape(width: int, output: bool) -> dict[str, tuple[int, ...]]:
    return {"W_O": (width, width)} if output else {}


@dataclass(frozen=True)
class LinearValue(Value):
    """v^h(x) = W_V^h x, and W_O times the heads side by side, with W_V and W_O [m, m].

    Conserved: W_V W_Vᵀ − W_Oᵀ W_O of every head, since the output depends on them only through W_O W_V.

    Attributes:
        output: whether there is a W_O. Without one the heads stand side by side in the stream, and nothing is
            conserved.
    """

    output: bool = True

    @property
    def conserved(self) -> tuple[str, ...]:
        """See Value."""
        return (BALANCE,) if self.output else ()

    def shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """See Value."""
        return {"W_V": (width, width), **_output_shape(width, self.output)}

    def values(self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int) -> Float[Array, "n K H e"]:
        """See Value."""
        return projected(x_NxLxM, params["W_V"], heads)

    def joined(self, params: Mapping[str, Any], read_NxQxHxE: Float[Array, "n Q H e"]) -> Float[Array, "n Q m"]:
        """See Value."""
        return _joined(params, read_NxQxHxE, self.output)

    def balances(self, params: Mapping[str, Any], heads: int) -> tuple[Balance, ...]:
        """W_V W_Vᵀ and W_Oᵀ W_O [layer, H, m/H, m/H]."""
        return _balances(params, heads, self.conserved)


@dataclass(frozen=True)
class MLPValue(Value):
    """v^h(x) = W_V^h gelu(W_H x), and W_O times the heads side by side, with W_H [hidden, m] and W_V [m, hidden].

    Conserved: W_V W_Vᵀ − W_Oᵀ W_O of every head, since the output depends on them only through W_O W_V.

    Attributes:
        hidden: neurons of the one hidden layer, which the heads share.
        output: as in LinearValue.
    """

    hidden: int = 16
    output: bool = True

    def __post_init__(self):
        require(self.hidden >= 1, "hidden", self.hidden, "must be at least 1")

    @property
    def conserved(self) -> tuple[str, ...]:
        """See Value."""
        return (BALANCE,) if self.output else ()

    def shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """See Value."""
        return {"W_H": (self.hidden, width), "W_V": (width, self.hidden), **_output_shape(width, self.output)}

    def values(self, params: Mapping[str, Any], x_NxLxM: Float[Array, "n L m"], heads: int) -> Float[Array, "n K H e"]:
        """See Value."""
        hidden_NxLxJ = jax.nn.gelu(times(params["W_H"], x_NxLxM))
        return projected(hidden_NxLxJ, params["W_V"], heads)

    def joined(self, params: Mapping[str, Any], read_NxQxHxE: Float[Array, "n Q H e"]) -> Float[Array, "n Q m"]:
        """See Value."""
        return _joined(params, read_NxQxHxE, self.output)

    def balances(self, params: Mapping[str, Any], heads: int) -> tuple[Balance, ...]:
        """W_V W_Vᵀ and W_Oᵀ W_O [layer, H, m/H, m/H]."""
        return _balances(params, heads, self.conserved)


VALUES: dict[str, type[Value]] = Value.choices
VALUES |= {"linear": LinearValue, "mlp": MLPValue}
