"""Regularisers by name: functions of the parameters that are added to a loss."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dynamics.config import require
from dynamics.models.model import by_name
from dynamics.objectives.parameters import check_patterns, of_first_match


@runtime_checkable
class Regulariser(Protocol):
    """R(θ), a pytree: its numbers are traced.

    Attributes:
        needs: the capabilities that the model must have.
    """

    needs: ClassVar[tuple[str, ...]]

    def check(self, names: Iterable[str]) -> None:
        """Refuse what does not fit to parameters with these names.

        Raises:
            ConfigError: naming the key, its value and what is allowed.
        """
        ...

    def unbalances(self, names: Iterable[str]) -> set[str]:
        """Which of these parameters it moves so that gradient flow does not conserve their balances any more."""
        ...

    def __call__(self, params: PyTree, apply: Callable[..., Any]) -> Array:
        """R(θ).

        Args:
            params: θ.
            apply: apply(params, method=...) is a method of the model.
        """
        ...


class SpectrumPenalty(eqx.Module):
    """κ Σ [s(W) + ρ (tr W − τ)²] / d over layers and heads: small eigenvalues around a mean that is held.

    W are the score matrices, scores x_kᵀ W x_q. Alone, with s(W) = ‖W‖_F², it is least at W = ρτ/(1 + ρd) I: no
    eigenvalue differs from the mean.

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

    def check(self, names: Iterable[str]) -> None:
        """It fits to all parameters."""

    def unbalances(self, names: Iterable[str]) -> set[str]:
        """None: it is a function of the score matrices."""
        del names
        return set()

    def __call__(self, params: PyTree, apply: Callable[..., Any]) -> Float[Array, ""]:
        """The penalty."""
        matrices_XxHxDxD = apply(params, method="score_matrices")
        dtype = matrices_XxHxDxD.dtype
        kappa, tau, pin = (jnp.asarray(value, dtype) for value in (self.kappa, self.tau, self.pin))
        other = matrices_XxHxDxD if self.scale == "frobenius" else jnp.swapaxes(matrices_XxHxDxD, -1, -2)
        size = jnp.sum(matrices_XxHxDxD * other, axis=(-1, -2))
        trace = jnp.trace(matrices_XxHxDxD, axis1=-2, axis2=-1)
        return kappa * jnp.sum(size + pin * (trace - tau) ** 2) / matrices_XxHxDxD.shape[-1]


class OfParameters(eqx.Module):
    """R(θ) = Σ_p λ_p r(θ_p) over parameters; abstract.

    Attributes:
        weights: {pattern: λ_p}; a parameter has the weight of the first pattern that matches its name, and is left out
            if none does. Traced.
    """

    weights: dict[str, float]

    needs: ClassVar[tuple[str, ...]] = ("weights",)

    def __check_init__(self):
        require(bool(self.weights), "weights", self.weights, "must be {pattern of parameter names: weight}")
        for pattern, weight in self.weights.items():
            require(weight >= 0, f"weights.{pattern}", weight, "must not be negative")

    def check(self, names: Iterable[str]) -> None:
        """Refuse a pattern that matches no parameter."""
        for pattern in self.weights:
            check_patterns([pattern], names, f"weights.{pattern}")

    def unbalances(self, names: Iterable[str]) -> set[str]:
        """Those that have a weight."""
        return {name for name in names if of_first_match(name, self.weights) is not None}

    def total(self, params: PyTree, of_one: Callable[[Array], Array]) -> Float[Array, ""]:
        """Σ_p λ_p r(θ_p)."""
        weighed = [(of_first_match(name, self.weights), value) for name, value in by_name(params).items()]
        terms = [jnp.asarray(weight, value.dtype) * of_one(value) for weight, value in weighed if weight is not None]
        return jnp.sum(jnp.stack(terms))


class L2(OfParameters):
    """Σ_p λ_p ‖θ_p‖² / 2, the ridge."""

    def __call__(self, params: PyTree, apply: Callable[..., Any]) -> Float[Array, ""]:
        """The penalty."""
        del apply
        return self.total(params, lambda value: jnp.sum(value**2) / 2)


class NuclearNorm(OfParameters):
    """Σ_p λ_p ‖θ_p‖_*, the sum of the singular values of a matrix, or of every matrix in a stack [..., rows, columns].

    Its gradient at A = U Σ Vᵀ is U Vᵀ; where a singular value is 0, an element of the subdifferential.
    """

    def __call__(self, params: PyTree, apply: Callable[..., Any]) -> Float[Array, ""]:
        """The penalty."""
        del apply
        return self.total(params, lambda value: jnp.sum(jnp.linalg.svd(jnp.atleast_2d(value), compute_uv=False)))


REGULARISERS: dict[str, type] = {"qk_spectrum": SpectrumPenalty, "l2": L2, "nuclear": NuclearNorm}
