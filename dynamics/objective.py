"""What a law of motion descends: the logistic loss of a model on a training set."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dynamics.tasks import Batch

__all__ = ["Objective", "logistic_loss"]


def logistic_loss(output: Float[Array, " n"], label: Int[Array, " n"]) -> Float[Array, " n"]:
    """log(1 + exp(-y F)), as a softplus: exact while exp(-y F) underflows."""
    return jax.nn.softplus(-label.astype(output.dtype) * output)


class Objective(eqx.Module):
    """L(θ) = (1/n) Σ_i log(1 + exp(-y_i F(X_i; θ))) over a training set.

    A pytree: new data of the same shape reuse the compiled law.

    Attributes:
        model: a linen module, or what answers to `apply` like one; hashable.
        constants: what the model holds fixed ({"a": a}).
        batch: the training set.
    """

    model: Any = eqx.field(static=True)
    constants: PyTree
    batch: Batch

    def apply(self, params: PyTree, *args: Any, **kwargs: Any) -> Any:
        """The model, or one of its methods, at these parameters."""
        return self.model.apply({"params": params, "constants": self.constants}, *args, **kwargs)

    def output(self, params: PyTree) -> Float[Array, " n"]:
        """F(X_i) on the training set."""
        return self.apply(params, self.batch.tokens)[0]

    def losses(self, params: PyTree) -> Float[Array, " n"]:
        """log(1 + exp(-y_i F(X_i))) on the training set."""
        return logistic_loss(self.output(params), self.batch.label)

    def loss(self, params: PyTree) -> Float[Array, ""]:
        """The mean over the training set."""
        return jnp.mean(self.losses(params))

    def velocity(self, params: PyTree) -> PyTree:
        """dθ/dt of gradient flow, −∇L(θ); a model of other variables than its weights says what it makes of them."""
        slope = jax.tree.map(jnp.negative, jax.grad(self.loss)(params))
        return self.model.velocity(params, slope) if hasattr(self.model, "velocity") else slope

    def minibatch_loss(self, params: PyTree, key: PRNGKeyArray, size: int, replacement: bool) -> Float[Array, ""]:
        """The mean over `size` samples, drawn uniformly by `key` with or without replacement.

        The draw is sorted, so that size = n without replacement is `loss`, bit for bit.
        """
        rows = jnp.sort(jax.random.choice(key, self.batch.label.shape[0], (size,), replacement))
        output, _ = self.apply(params, self.batch.tokens[rows])
        return jnp.mean(logistic_loss(output, self.batch.label[rows]))
