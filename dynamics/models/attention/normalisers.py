"""Normalisers: attention from scores. A config picks one by name: `model.normaliser = {"name": "relu", ...}`."""

import abc
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dynamics.config import Chosen, require

Divisor = Literal["keys", "length", "sum", "none"]


class Normaliser(Chosen):
    """The attention p that a query pays to its keys, from their scores s; abstract.

    A normaliser is a frozen dataclass, and its fields are its options.

    Attributes:
        random: whether it draws noise where it is given a key.
    """

    choices: ClassVar[dict[str, type]] = {}
    random: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(
        self, scores: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*batch Q K"]:
        """The attention p, exactly 0 for keys that the mask does not show.

        Args:
            scores: s.
            mask: True where query q sees key k.
            key: of the noise; None for none.
        """


def _like(mask: Bool[Array, "Q K"], scores: Float[Array, "*batch Q K"]) -> Bool[Array, "..."]:
    """The mask, with as many dimensions as the scores."""
    return jnp.expand_dims(mask, tuple(range(scores.ndim - 2)))


def _shown(scores: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"]) -> Float[Array, "*batch Q K"]:
    """The scores of shown keys, and −∞ for the others."""
    return jnp.where(_like(mask, scores), scores, -jnp.inf)


def _divided(
    values: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"], divisor: Divisor
) -> Float[Array, "*batch Q K"]:
    """The values of shown keys, divided; 0 for the other keys."""
    shown = _like(mask, values)
    values = jnp.where(shown, values, 0)
    if divisor == "keys":
        return values / shown.sum(axis=-1, keepdims=True).astype(values.dtype)
    if divisor == "length":
        return values / jnp.array(mask.shape[-1], values.dtype)
    if divisor == "sum":
        none = jnp.all(values == 0, axis=-1, keepdims=True)
        return values / jnp.where(none, 1, jnp.sum(values, axis=-1, keepdims=True))
    return values


@dataclass(frozen=True)
class Softmax(Normaliser):
    """p_k = exp s_k / Σ_j exp s_j over the shown keys."""

    def __call__(
        self, scores: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*batch Q K"]:
        """See Normaliser."""
        del key
        return jax.nn.softmax(_shown(scores, mask), axis=-1)


@dataclass(frozen=True)
class ReLU(Normaliser):
    """p_k = max(s_k, 0) / D.

    Attributes:
        divisor: D: "keys", the number of shown keys; "length", the number of all keys; "sum", Σ_j max(s_j, 0) over the
            shown keys, with p = 0 where no score is positive; "none", 1.
    """

    divisor: Divisor = "keys"

    def __call__(
        self, scores: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*batch Q K"]:
        """See Normaliser."""
        del key
        return _divided(jax.nn.relu(scores), mask, self.divisor)


@dataclass(frozen=True)
class Linear(Normaliser):
    """p_k = s_k / D.

    Attributes:
        divisor: D: "keys", the number of shown keys; "length", the number of all keys; "sum", Σ_j s_j over the shown
            keys, with p = 0 where all scores are 0; "none", 1.
    """

    divisor: Divisor = "keys"

    def __call__(
        self, scores: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*batch Q K"]:
        """See Normaliser."""
        del key
        return _divided(scores, mask, self.divisor)


@dataclass(frozen=True)
class Hard(Normaliser):
    """p_k = 1 for one key and 0 for all others, with the gradient of softmax attention.

    Without noise the key has the largest score, the first of several; with noise it is drawn from softmax(s). With
    o = Σ_k p_k v_k and g = ∂L/∂o, the gradients are
        ∂L/∂v_k = g for the retrieved key alone,   ∂L/∂p_k = gᵀ v_k for every key,
        ∂L/∂s_k = π_k (gᵀ v_k − Σ_j π_j gᵀ v_j) with π = softmax(s).
    """

    random: ClassVar[bool] = True

    def __call__(
        self, scores: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*batch Q K"]:
        """See Normaliser."""
        scores = _shown(scores, mask)
        noise = 0 if key is None else jax.random.gumbel(key, scores.shape, scores.dtype)
        hard = jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), scores.shape[-1], dtype=scores.dtype)
        soft = jax.nn.softmax(scores, axis=-1)
        # The bracket is exactly 0 and has the derivative of the softmax.
        return hard + (soft - jax.lax.stop_gradient(soft))


@dataclass(frozen=True)
class GumbelSoftmax(Normaliser):
    """p = softmax((s + g) / τ) with independent g_k = −log(−log u_k), u_k uniform on (0, 1); without noise g = 0.

    Attributes:
        temperature: τ.
    """

    temperature: float = 1.0

    random: ClassVar[bool] = True

    def __post_init__(self):
        require(self.temperature > 0, "temperature", self.temperature, "must be positive")

    def __call__(
        self, scores: Float[Array, "*batch Q K"], mask: Bool[Array, "Q K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*batch Q K"]:
        """See Normaliser."""
        noise = 0 if key is None else jax.random.gumbel(key, scores.shape, scores.dtype)
        return jax.nn.softmax(_shown((scores + noise) / self.temperature, mask), axis=-1)


NORMALISERS: dict[str, type[Normaliser]] = Normaliser.choices
NORMALISERS |= {"softmax": Softmax, "relu": ReLU, "linear": Linear, "hard": Hard, "gumbel": GumbelSoftmax}
