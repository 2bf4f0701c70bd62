"""What a law of motion descends: the loss of a model on samples or on their distribution, plus a regulariser."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.models.model import by_name
from dynamics.objectives.losses import LOSSES
from dynamics.objectives.parameters import Trained
from dynamics.objectives.regularisers import Regulariser
from dynamics.tasks import Batch

MOST_BYTES = 10**9  # of memory for the samples whose gradient is computed at once


class Objective(eqx.Module):
    """L(θ) = (1/n) Σ_i ℓ(F(X_i; θ), y_i) + R(θ) over a batch, or E ℓ(F(X; θ), y) + R(θ) in closed form.

    A pytree: new data of the same shape reuse the compiled law. Its derivatives are those by the parameters that train.

    Attributes:
        model: see dynamics.models.Model.
        constants: what the model holds fixed, {name: array}.
        batch: the training set, or the sample that stands for the distribution.
        loss_name: ℓ, by its name in LOSSES.
        regulariser: R; None for none.
        trained: which parameters train, and how fast.
        task: where its distribution is descended and not a training set; else None.
        fresh: whether minibatches are new samples of the task.
        noise: the key of what is random in the model, such as the samples of hard attention; None for no noise.
    """

    model: Any = eqx.field(static=True)
    constants: PyTree
    batch: Batch
    loss_name: str = eqx.field(static=True)
    regulariser: Regulariser | None = None
    trained: Trained = eqx.field(default_factory=Trained)
    task: Any = eqx.field(static=True, default=None)
    fresh: bool = eqx.field(static=True, default=False)
    noise: PRNGKeyArray | None = None

    @property
    def samples(self) -> int:
        """n, of the batch."""
        return len(self.batch.targets)

    @property
    def in_closed_form(self) -> bool:
        """Whether the loss is that of the whole distribution, in closed form; a task has it for its usual loss only."""
        task = self.task
        return task is not None and "population_loss" in task.capabilities and task.loss == self.loss_name

    def apply(self, params: PyTree, *args: Any, **kwargs: Any) -> Any:
        """The model, or one of its methods, at these parameters.

        Args:
            params: the parameters.
            args: of the call, such as inputs with the samples first.
            kwargs: of linen's `apply`, such as method="score_matrices".
        """
        if self.noise is not None:
            kwargs["rngs"] = {"noise": self.noise}
        return self.model.apply({"params": params, "constants": self.constants}, *args, **kwargs)

    def with_noise(self, key: PRNGKeyArray) -> "Objective":
        """The same with a key for what is random in the model; the same objective if nothing is."""
        return dataclasses.replace(self, noise=key) if "noise" in self.model.capabilities else self

    def changed(self, **parts: Any) -> "Objective":
        """With other parts of the model, as in objective.changed(mask=Full()), that have the same parameters."""
        return dataclasses.replace(self, model=self.model.clone(**parts))

    def output(self, params: PyTree) -> Array:
        """F(X_i) on the batch."""
        return self.apply(params, self.batch.inputs)[0]

    def losses(self, params: PyTree, batch: Batch | None = None) -> Float[Array, " n"]:
        """ℓ(F(X_i), y_i) on a batch; if none is given, on its own."""
        batch = self.batch if batch is None else batch
        output = self.apply(self._placed(params), batch.inputs)[0]
        return LOSSES[self.loss_name].of_samples(output, batch.targets)

    def loss(self, params: PyTree) -> Float[Array, ""]:
        """L(θ)."""
        if self.in_closed_form:
            return self._regularised(params, self.task.population_loss(self, self._placed(params)))
        return self._regularised(params, self._mean_loss(params, self.batch))

    def minibatch_loss(self, params: PyTree, key: PRNGKeyArray, size: int, replacement: bool) -> Float[Array, ""]:
        """The regularised mean loss of `size` samples: new samples of the task if `fresh`, else samples of the batch.

        Those of the batch are drawn with or without replacement. They are sorted, so that size = n without replacement
        is `loss`, bit for bit.

        Args:
            params: the parameters.
            key: of the draw.
            size: B, the number of samples.
            replacement: whether a sample of the batch may be drawn twice.
        """
        if self.fresh:
            # Behind a barrier, so that no compiler draws them together with what one law does with them: the samples
            # are the same bits in the programs of all laws.
            drawn = jax.lax.optimization_barrier(self.task.sample(key, size, self.batch.source))
        else:
            rows = jnp.sort(jax.random.choice(key, self.samples, (size,), replacement))
            inputs, targets = jax.tree.map(lambda leaf: leaf[rows], (self.batch.inputs, self.batch.targets))
            drawn = self.batch._replace(inputs=inputs, targets=targets, type=None)
        return self._regularised(params, self._mean_loss(params, drawn))

    def _mean_loss(self, params: PyTree, batch: Batch) -> Float[Array, ""]:
        """The mean of the losses of a batch: of all its samples at once, or, if that takes too much memory, in parts.

        What is in memory for the gradient of one part is computed again in the backward pass and then forgotten.
        """
        n, parts = len(batch.targets), self._parts(batch)
        if parts == 1:
            return jnp.mean(self.losses(params, batch))
        size = -(-n // parts)
        row = jnp.arange(parts * size).reshape(parts, size)  # the last part may have fewer samples than places

        @jax.checkpoint
        def of_part(params: PyTree, row: Array) -> Float[Array, ""]:
            rows = jnp.minimum(row, n - 1)
            inputs, targets = jax.tree.map(lambda leaf: leaf[rows], (batch.inputs, batch.targets))
            losses = self.losses(params, batch._replace(inputs=inputs, targets=targets, type=None))
            return jnp.sum(jnp.where(row < n, losses, 0))

        def add(total: Array, row: Array) -> tuple[Array, None]:
            return total + of_part(params, row), None

        zero = jax.eval_shape(of_part, params, row[0])
        return jax.lax.scan(add, jnp.zeros(zero.shape, zero.dtype), row)[0] / n

    def _parts(self, batch: Batch) -> int:
        """In how many parts of equal size the samples of a batch are, so that each takes at most MOST_BYTES.

        Where the model has noise, one: the noise of a sample depends on its place in the batch.
        """
        model, n = self.model, len(batch.targets)
        if "weights" not in model.capabilities or self.noise is not None or not isinstance(batch.inputs, jax.Array):
            return 1
        parts = 1
        while model.bytes_held((-(-n // parts), *batch.inputs.shape[1:])) > MOST_BYTES and parts < n:
            parts += 1
        return parts

    def _regularised(self, params: PyTree, mean: Float[Array, ""]) -> Float[Array, ""]:
        if self.regulariser is None:
            return mean
        return mean + self.regulariser(self._placed(params), self.apply)

    def _placed(self, params: PyTree) -> PyTree:
        """See Trained; other variables than weights have their rates in the velocity, which the model knows."""
        return self.trained.placed(params) if "weights" in self.model.capabilities else params

    def slope(self, params: PyTree) -> PyTree:
        """−∇L(θ), by the parameters that train."""
        return jax.tree.map(jnp.negative, jax.grad(self.loss)(params))

    def velocity(self, params: PyTree) -> PyTree:
        """dθ/dt of gradient flow on the weights: −r ∂L/∂θ where θ are the weights, else what the model makes of it."""
        slope = self.slope(params)
        if "weights" in self.model.capabilities:
            return self.trained.scaled(slope)
        variables = {"params": params, "constants": self.constants}
        return self.model.velocity(variables, slope, self.rates(params), self.looked_at)

    @property
    def looked_at(self) -> PyTree | None:
        """The inputs of the samples, if L depends on nothing else; None if it may."""
        return self.batch.inputs if self.regulariser is None and not self.in_closed_form else None

    def rates(self, params: PyTree) -> dict[str, Any]:
        """{weight: r}, the factor of its velocity, for all weights of the model: None means 1, and 0 means frozen.

        See Trained.
        """
        names = by_name(params) if "weights" in self.model.capabilities else self.model.weights
        return {name: self.trained.rate(name) for name in names}

    def balanced_rates(self, params: PyTree) -> dict[str, Any]:
        """{weight: r} as dynamics.models.Balance takes them: 0 for a weight whose balances say nothing.

        They hold trivially for a frozen weight, and not at all for one that is tied or that the regulariser shrinks.
        """
        rates = self.rates(params)
        without = {name for group in self.trained.tied for name in group}
        without |= self.regulariser.unbalances(rates) if self.regulariser is not None else set()
        return {name: 0.0 if name in without else 1.0 if rate is None else rate for name, rate in rates.items()}
