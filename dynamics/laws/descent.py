"""Gradient descent in discrete steps, by optax, at the times t = η·k."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.objective import Objective
from dynamics.trajectory import COMPLETED, NON_FINITE, Trajectory

__all__ = ["FullBatch", "GradientDescent", "Minibatch", "StochasticGradientDescent", "descend", "iterate"]


Loss = Callable[[PyTree], Float[Array, ""]]
LossAtStep = Callable[[PyTree, Int[Array, ""]], Float[Array, ""]]


def iterate(
    update: Callable[[PyTree, Int[Array, ""]], tuple[PyTree, Float[Array, ""]]],
    start: PyTree,
    params_of: Callable[[PyTree], PyTree],
    full_loss: Loss,
    step_size: float | Float[Array, ""],
    times: Float[Array, " T"],
    probes: Callable[[PyTree], dict[str, Array]],
) -> Trajectory:
    """Steps of a map, seen at the steps k = t/η; one scan over the saved times.

    Args:
        update: (state, k) -> the next state, and a loss of this one that must be finite.
        start: the state at times[0].
        params_of: the parameters in a state.
        full_loss: θ -> the loss that must stay finite at the saved times.
        step_size: η, the time of one step.
        times: multiples of η.
        probes: seen at every time.
    """
    steps_T = jnp.rint(times / step_size).astype(jnp.int32)

    def step(carry):
        k, state, _ = carry
        new, loss = update(state, k)
        finite = jnp.isfinite(loss)
        # A non-finite loss ends the loop at this k, with the state that gave it.
        return k + finite.astype(k.dtype), jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, state), finite

    def to_next_time(carry, k_next):
        k, state, finite = jax.lax.while_loop(lambda c: (c[0] < k_next) & c[2], step, carry)
        finite = finite & jnp.isfinite(full_loss(params_of(state)))
        return (k, state, finite), (probes(params_of(state)), finite)

    (k, state, finite), (values, valid) = jax.lax.scan(to_next_time, (steps_T[0], start, jnp.array(True)), steps_T)
    return Trajectory(
        t=times,
        probes=values,
        valid=valid,
        params=params_of(state),
        steps=k - steps_T[0],
        outcome=jnp.where(finite, COMPLETED, NON_FINITE),
        end=k.astype(times.dtype) * step_size,
    )


def descend(
    optimizer: optax.GradientTransformation,
    step_size: float | Float[Array, ""],
    loss_at_step: LossAtStep,
    full_loss: Loss,
    params0: PyTree,
    times: Float[Array, " T"],
    probes: Callable[[PyTree], dict[str, Array]],
) -> Trajectory:
    """`iterate` of an optax optimizer on the gradient of loss_at_step(θ_k, k)."""

    def update(state, k):
        params, memory = state
        loss, gradient = jax.value_and_grad(loss_at_step)(params, k)
        updates, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), memory), loss

    start = (params0, optimizer.init(params0))
    return iterate(update, start, lambda state: state[0], full_loss, step_size, times, probes)


class FullBatch(eqx.Module):
    """A descent that follows the full-batch gradient; abstract.

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

    @abc.abstractmethod
    def follow(
        self,
        loss_at_step: LossAtStep,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
    ) -> Trajectory:
        """The trajectory, given the loss whose gradient every step follows."""

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

        return self.follow(loss_at_step, objective, params0, times, probes)


class Minibatch(FullBatch):
    """A descent that follows the gradient of a minibatch B_k, drawn anew at every step by fold_in(key, k); abstract.

    Attributes:
        batch_size: the size of every minibatch.
        replacement: whether a minibatch can hold a sample twice. Minibatches are independent of one another.
    """

    batch_size: int = eqx.field(static=True)
    replacement: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be at least 1")

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

        return self.follow(loss_at_step, objective, params0, times, probes)


class GradientDescent(FullBatch):
    """θ_{k+1} = θ_k - η ∇L(θ_k), full batch, t = η·k."""

    def follow(self, loss_at_step, objective, params0, times, probes):
        """Steps of optax.sgd."""
        return descend(optax.sgd(self.learning_rate), self.step, loss_at_step, objective.loss, params0, times, probes)


class StochasticGradientDescent(Minibatch):
    """θ_{k+1} = θ_k - η ∇L_{B_k}(θ_k), t = η·k."""

    def follow(self, loss_at_step, objective, params0, times, probes):
        """Steps of optax.sgd."""
        return descend(optax.sgd(self.learning_rate), self.step, loss_at_step, objective.loss, params0, times, probes)
