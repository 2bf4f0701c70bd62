"""Gradient descent in discrete steps, by optax, at the times t = η·k."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.objective import Objective
from dynamics.trajectory import COMPLETED, NON_FINITE, Trajectory

__all__ = ["GradientDescent", "StochasticGradientDescent", "descend"]


def descend(
    optimizer: optax.GradientTransformation,
    step_size: float | Float[Array, ""],
    loss_at_step: Callable[[PyTree, Int[Array, ""]], Float[Array, ""]],
    full_loss: Callable[[PyTree], Float[Array, ""]],
    params0: PyTree,
    times: Float[Array, " T"],
    probes: Callable[[PyTree], dict[str, Array]],
) -> Trajectory:
    """Steps of an optax optimizer, seen at the steps k = t/η; one scan over the saved times.

    Args:
        optimizer: from optax.
        step_size: η, the time of one step.
        loss_at_step: (θ_k, k) -> the loss whose gradient step k follows.
        full_loss: θ -> the loss that must stay finite at the saved times.
        params0: the parameters at times[0].
        times: multiples of η.
        probes: seen at every time.
    """
    steps_T = jnp.rint(times / step_size).astype(jnp.int32)

    def step(carry):
        k, params, state, _ = carry
        loss, gradient = jax.value_and_grad(loss_at_step)(params, k)
        updates, new_state = optimizer.update(gradient, state, params)
        finite = jnp.isfinite(loss)
        # A non-finite loss ends the loop at this k, with the parameters that gave it.
        params, state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (optax.apply_updates(params, updates), new_state),
            (params, state),
        )
        return k + finite.astype(k.dtype), params, state, finite

    def to_next_time(carry, k_next):
        carry = jax.lax.while_loop(lambda c: (c[0] < k_next) & c[3], step, carry)
        k, params, state, finite = carry
        finite = finite & jnp.isfinite(full_loss(params))
        return (k, params, state, finite), (probes(params), finite)

    start = (steps_T[0], params0, optimizer.init(params0), jnp.array(True))
    (k, params, _, finite), (values, valid) = jax.lax.scan(to_next_time, start, steps_T)
    return Trajectory(
        t=times,
        probes=values,
        valid=valid,
        params=params,
        steps=k - steps_T[0],
        outcome=jnp.where(finite, COMPLETED, NON_FINITE),
        end=k.astype(times.dtype) * step_size,
    )


class GradientDescent(eqx.Module):
    """θ_{k+1} = θ_k - η ∇L(θ_k), full batch, t = η·k.

    Attributes:
        learning_rate: η; traced, so that another value does not compile again.
    """

    learning_rate: float

    def __check_init__(self):
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be positive")

    @property
    def step(self) -> float | Float[Array, ""]:
        """η."""
        return self.learning_rate

    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
    ) -> Trajectory:
        """The trajectory at `times`, which are multiples of η."""
        del key

        def loss_at_step(params, k):
            del k
            return objective.loss(params)

        return descend(optax.sgd(self.learning_rate), self.step, loss_at_step, objective.loss, params0, times, probes)


class StochasticGradientDescent(eqx.Module):
    """θ_{k+1} = θ_k - η ∇L_{B_k}(θ_k), t = η·k; the minibatch B_k is drawn by fold_in(key, k).

    Attributes:
        learning_rate: η; traced.
        batch_size: the size of every minibatch.
        replacement: whether a minibatch can hold a sample twice. Minibatches are independent of one another.
    """

    learning_rate: float
    batch_size: int = eqx.field(static=True)
    replacement: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be positive")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be at least 1")

    @property
    def step(self) -> float | Float[Array, ""]:
        """η."""
        return self.learning_rate

    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
    ) -> Trajectory:
        """The trajectory at `times`, which are multiples of η.

        Raises:
            ConfigError: for a minibatch without replacement that is larger than the training set.
        """
        samples = objective.batch.label.shape[0]
        allowed = f"must be at most the {samples} samples of the training set without replacement"
        require(self.replacement or self.batch_size <= samples, "batch_size", self.batch_size, allowed)

        def loss_at_step(params, k):
            return objective.minibatch_loss(params, jax.random.fold_in(key, k), self.batch_size, self.replacement)

        return descend(optax.sgd(self.learning_rate), self.step, loss_at_step, objective.loss, params0, times, probes)
