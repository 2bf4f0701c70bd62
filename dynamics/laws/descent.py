"""Descent in discrete steps, at the times t = k · step; the optimizers are optax's."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.laws.law import Law, SteppingLaw
from dynamics.objectives.objective import Objective
from dynamics.trajectory import COMPLETED, NON_FINITE, Trajectory


def check_batch(size: int, replacement: bool, objective: Objective) -> None:
    """Refuse a minibatch without replacement that is larger than the training set.

    Raises:
        ConfigError: naming the batch size.
    """
    samples = objective.samples
    allowed = f"must be at most the {samples} samples of the training set without replacement"
    require(replacement or objective.fresh or size <= samples, "batch_size", size, allowed)


class Descent(SteppingLaw):
    """(gradient at step k, θ_k, memory) -> (θ_{k+1}, memory); abstract."""

    def loss(self, objective: Objective, params: PyTree, k: Int[Array, ""], key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss whose gradient is used at step k: by default of the whole training set."""
        del k, key
        return objective.loss(params)

    @abc.abstractmethod
    def update(self, objective: Objective, gradient: PyTree, params: PyTree, memory: PyTree) -> tuple[PyTree, PyTree]:
        """The next parameters and memory."""

    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
        memory: PyTree = None,
    ) -> Trajectory:
        """The steps k = t / step for all saved times t, by one scan over these times."""
        memory = self.memory(params0) if memory is None else memory
        steps_T = jnp.rint(times / self.step).astype(jnp.int32)

        def step(carry):
            k, params, memory, _ = carry
            loss, gradient = jax.value_and_grad(lambda p: self.loss(objective, p, k, key))(params)
            finite = jnp.isfinite(loss)
            # A non-finite loss ends the loop at this k, with the parameters that have this loss.
            kept = jax.tree.map(
                lambda new, old: jnp.where(finite, new, old),
                self.update(objective, gradient, params, memory),
                (params, memory),
            )
            return k + finite.astype(k.dtype), *kept, finite

        def to_next_time(carry, k_next):
            k, params, memory, finite = jax.lax.while_loop(lambda c: (c[0] < k_next) & c[3], step, carry)
            finite = finite & jnp.isfinite(objective.loss(params))
            return (k, params, memory, finite), (probes(params), finite)

        start = (steps_T[0], params0, memory, jnp.array(True))
        (k, params, memory, finite), (values, valid) = jax.lax.scan(to_next_time, start, steps_T)
        return Trajectory(
            t=times,
            probes=values,
            valid=valid,
            params=params,
            memory=memory,
            steps=k - steps_T[0],
            outcome=jnp.where(finite, COMPLETED, NON_FINITE),
            end=k.astype(times.dtype) * self.step,
        )


class Minibatch(Descent):
    """A descent by gradients of independent minibatches; that of step k is drawn by fold_in(key, k); abstract.

    Attributes:
        batch_size: the number of samples of every minibatch.
        replacement: whether a minibatch can hold a sample twice.
    """

    batch_size: int = eqx.field(static=True)
    replacement: bool = eqx.field(static=True, default=False)

    random: ClassVar[bool] = True

    def __check_init__(self):
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be at least 1")

    def loss(self, objective, params, k, key):
        """The loss of the minibatch of step k.

        Raises:
            ConfigError: for a minibatch without replacement that is larger than the training set.
        """
        check_batch(self.batch_size, self.replacement, objective)
        return objective.minibatch_loss(params, jax.random.fold_in(key, k), self.batch_size, self.replacement)


class Optimizer(Descent):
    """A descent by an optimizer of optax; abstract."""

    @property
    @abc.abstractmethod
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer with the fields of this law."""

    def memory(self, params0: PyTree) -> PyTree:
        """The optimizer's initial state."""
        return self.optimizer.init(params0)

    def update(self, objective, gradient, params, memory):
        """The parameters and the optimizer's state after one step."""
        # Optax raises a float to the power of an integer count, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = self.optimizer.update(gradient, memory, params)
        return optax.apply_updates(params, objective.trained.scaled(updates)), memory


class GradientDescent(Optimizer):
    """θ_{k+1} = θ_k - η ∇L(θ_k), full batch, t = η·k."""

    @property
    def optimizer(self):
        """SGD of optax, which descends any gradient."""
        return optax.sgd(self.learning_rate)


class StochasticGradientDescent(Minibatch, Optimizer):
    """θ_{k+1} = θ_k - η ∇L_{B_k}(θ_k), with the minibatch B_k; t = η·k."""

    @property
    def optimizer(self):
        """SGD."""
        return optax.sgd(self.learning_rate)


class Momentum(Descent):
    """v_{k+1} = β v_k - η ∇L(θ_k), θ_{k+1} = θ_k + v_{k+1}, v_0 = 0; t = η·k / (1 − β); abstract.

    A constant gradient moves θ by η / (1 − β) per step: on this time axis the limit η → 0 is gradient flow.

    Attributes:
        momentum: β.
    """

    momentum: float = 0.9

    def __check_init__(self):
        require(0 <= self.momentum < 1, "momentum", self.momentum, "must be at least 0 and below 1")

    @property
    def step(self) -> Any:
        """η / (1 − β)."""
        return self.learning_rate / (1 - self.momentum)

    def at_step(self, step: float) -> "Law":
        """The same law with the learning rate η = step · (1 − β)."""
        return dataclasses.replace(self, learning_rate=step * (1 - self.momentum))


class HeavyBall(Momentum, Optimizer):
    """θ_{k+1} = θ_k + v_{k+1}, v_{k+1} = β v_k - η ∇L(θ_k), full batch; t = η·k / (1 − β); see Momentum.

    Up to O(η²) it follows ModifiedFlow with the same learning rate and momentum.
    """

    @property
    def optimizer(self):
        """SGD with momentum β."""
        return optax.sgd(self.learning_rate, momentum=self.momentum)


class AdamMoments(Optimizer):
    """The bias-corrected exponential means m̂ of the gradient and v̂ of its square, entry by entry; abstract.

    Attributes:
        beta1: the decay of m.
        beta2: the decay of v.
        epsilon: ε, added to √v̂.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __check_init__(self):
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "must be at least 0 and below 1")
        require(self.epsilon > 0, "epsilon", self.epsilon, "must be positive")


class Adam(AdamMoments):
    """θ_{k+1} = θ_k - η m̂ / (√v̂ + ε), full batch, t = η·k (arXiv:1412.6980); see AdamMoments for m̂ and v̂."""

    @property
    def optimizer(self):
        """Adam."""
        return optax.adam(self.learning_rate, self.beta1, self.beta2, self.epsilon)


class AdamW(Minibatch, AdamMoments):
    """θ_{k+1} = θ_k - η (m̂ / (√v̂ + ε) + λ θ_k), m̂ and v̂ from gradients of minibatches; t = η·k (arXiv:1711.05101).

    Every parameter decays. With batch_size = n, without replacement, and λ = 0 it is Adam.

    Attributes:
        batch_size: the number of samples of every minibatch.
        weight_decay: λ.
    """

    batch_size: int = eqx.field(static=True, kw_only=True)  # the moments, which come before it, have defaults
    weight_decay: float = 0.0

    def __check_init__(self):
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "must not be negative")

    @property
    def optimizer(self):
        """AdamW."""
        decay = self.weight_decay
        return optax.adamw(self.learning_rate, self.beta1, self.beta2, self.epsilon, weight_decay=decay)


class MeanSquare(Optimizer):
    """The bias-corrected exponential mean v̂ of the square of the gradient, entry by entry; abstract.

    Attributes:
        decay: the decay of v.
        epsilon: ε, added to √v̂.
    """

    decay: float = 0.9
    epsilon: float = 1e-8

    def __check_init__(self):
        require(0 <= self.decay < 1, "decay", self.decay, "must be at least 0 and below 1")
        require(self.epsilon > 0, "epsilon", self.epsilon, "must be positive")


class RMSProp(MeanSquare):
    """θ_{k+1} = θ_k - η ∇L / (√v̂ + ε), full batch, t = η·k; see MeanSquare for v̂."""

    @property
    def optimizer(self):
        """RMSProp with Adam's bias correction; otherwise the first steps are too long by a factor 1/√(1 − decay)."""
        return optax.rmsprop(self.learning_rate, self.decay, self.epsilon, eps_in_sqrt=False, bias_correction=True)
