"""What a law of motion descends: the mean loss of a model on a training set, plus a regulariser."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.objectives.losses import LOSSES
from dynamics.objectives.regularisers import Regulariser
from dynamics.tasks import Batch


class Objective(eqx.Module):
    """L(θ) = (1/n) Σ_i ℓ(F(X_i; θ), y_i) + R(θ) over a training set.

    A pytree: new data of the same shape reuse the compiled law.

    Attributes:
        model: see dynamics.models.Model.
        constants: what the model holds fixed, {name: array}.
        batch: the training set.
        kind: ℓ, by its name in LOSSES.
        regulariser: R, a function of the model's score matrices; None for none.
    """

    model: Any = eqx.field(static=True)
    constants: PyTree
    batch: Batch
    kind: str = eqx.field(static=True, default="logistic")
    regulariser: Regulariser | None = None

    def apply(self, params: PyTree, *args: Any, **kwargs: Any) -> Any:
        """The model, or one of its methods, at these parameters."""
        return self.model.apply({"params": params, "constants": self.constants}, *args, **kwargs)

    def changed(self, **parts: Any) -> "Objective":
        """With other parts of the model, as in objective.changed(mask=Full()), that have the same parameters."""
        return dataclasses.replace(self, model=self.model.clone(**parts))

    def output(self, params: PyTree) -> Array:
        """F(X_i) on the training set."""
        return self.apply(params, self.batch.tokens)[0]

    def losses(self, params: PyTree, batch: Batch | None = None) -> Float[Array, " n"]:
        """ℓ(F(X_i), y_i) on a batch; if none is given, on the training set."""
        batch = self.batch if batch is None else batch
        return LOSSES[self.kind](self.apply(params, batch.tokens)[0], batch.label)

    def loss(self, params: PyTree) -> Float[Array, ""]:
        """The mean over the training set, regularised."""
        return self.regularised(params, self.losses(params))

    def regularised(self, params: PyTree, losses: Float[Array, " n"]) -> Float[Array, ""]:
        """The mean of losses, plus R(θ)."""
        mean = jnp.mean(losses)
        if self.regulariser is None:
            return mean
        return mean + self.regulariser(self.apply(params, method="score_matrices"))

    def velocity(self, params: PyTree) -> PyTree:
        """dθ/dt of gradient flow on the weights: −∇L(θ) where θ are the weights, else what the model makes of it."""
        slope = jax.tree.map(jnp.negative, jax.grad(self.loss)(params))
        return slope if "weights" in self.model.capabilities else self.model.velocity(params, slope)

    def minibatch_loss(self, params: PyTree, key: PRNGKeyArray, size: int, replacement: bool) -> Float[Array, ""]:
        """The mean over `size` samples, regularised; they are drawn uniformly by `key` with or without replacement.

        The draw is sorted, so that size = n without replacement is `loss`, bit for bit.
        """
        rows = jnp.sort(jax.random.choice(key, self.batch.label.shape[0], (size,), replacement))
        drawn = self.batch._replace(tokens=self.batch.tokens[rows], label=self.batch.label[rows])
        return self.regularised(params, self.losses(params, drawn))
