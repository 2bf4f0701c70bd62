"""Regularisers by name: functions of the score matrices W, scores x_kᵀ W x_q, that are added to a loss."""

from typing import ClassVar, Literal, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.config import require


@runtime_checkable
class Regulariser(Protocol):
    """R(W), a pytree: its numbers are traced.

    Attributes:
        needs: the capabilities that the model must have.
    """

    needs: ClassVar[tuple[str, ...]]

    def __call__(self, matrices: Array) -> Array:
        """R of the score matrices [layer, head, d, d]."""
        ...


class SpectrumPenalty(eqx.Module):
    """κ Σ [s(W) + ρ (tr W − τ)²] / d over layers and heads: small eigenvalues around a mean that is held.

    Alone, with s(W) = ‖W‖_F², it is least at W = ρτ/(1 + ρd) I: no eigenvalue differs from the mean.

    Attributes:
        kappa: κ; traced, as are τ and ρ, so that other values do not compile again.
        tau: τ, what the trace is held at.
        pin: ρ, how strongly; 0 leaves the trace free.
        scale: s(W), "frobenius" for ‖W‖_F² or "trace_square" for tr W², the sum of the squared eigenvalues; the latter
            has no lower bound where W is not symmetric.
    """

    kappa: float
    tau: float
    pin: float = 1.0
    scale: Literal["frobenius", "trace_square"] = eqx.field(static=True, default="frobenius")

    needs: ClassVar[tuple[str, ...]] = ("score_matrices",)

    def __check_init__(self):
        for key in ("kappa", "pin"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "must not be negative")

    def __call__(self, matrices: Float[Array, "layer head d d"]) -> Float[Array, ""]:
        """The penalty."""
        kappa, tau, pin = (jnp.asarray(value, matrices.dtype) for value in (self.kappa, self.tau, self.pin))
        other = matrices if self.scale == "frobenius" else jnp.swapaxes(matrices, -1, -2)
        size = jnp.sum(matrices * other, axis=(-1, -2))
        trace = jnp.trace(matrices, axis1=-2, axis2=-1)
        return kappa * jnp.sum(size + pin * (trace - tau) ** 2) / matrices.shape[-1]


REGULARISERS: dict[str, type] = {"qk_spectrum": SpectrumPenalty}
