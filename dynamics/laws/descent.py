"""Descent in discrete steps: θ_k is the state at t_k = k · step, or at the sum of the rates of a schedule."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.laws.law import Law, SteppingLaw, Stretch, observer
from dynamics.laws.schedules import Schedule
from dynamics.objectives.objective import Objective
from dynamics.trajectory import COMPLETED, NON_FINITE, PAUSED, Trajectory

NOISE = 1  # of fold_in(the key of a step, NOISE), the key of the noise of the model


def check_batch(size: int, replacement: bool, objective: Objective) -> None:
    """Refuse a minibatch without replacement that is larger than the training set.

    Raises:
        ConfigError: naming the batch size.
    """
    samples = objective.samples
    allowed = f"must be at most the {samples} samples of the training set without replacement"
    require(replacement or objective.fresh or size <= samples, "batch_size", size, allowed)


def stepped(
    step: Callable[[Int[Array, ""], PyTree, PyTree], tuple[Bool[Array, ""], PyTree, PyTree]],
    params0: PyTree,
    numbers: tuple[Int[Array, " T"], Int[Array, ""]],
    observe: Callable[[PyTree], tuple[dict[str, Array], Bool[Array, ""]]],
    stretch: Stretch,
) -> Trajectory:
    """Steps up to the last saved time, a pause, or a loss that is not finite; without times and notes.

    Args:
        step: (k, θ_k, memory) -> (whether the loss of θ_k is finite, θ_{k+1}, memory).
        params0: θ at the beginning.
        numbers: the k of the saved times, and the k at the beginning.
        observe: θ -> (probes, whether its loss is finite), at saved times.
        stretch: see Law.
    """
    steps_T, begin = numbers
    limit = stretch.limit.astype(begin.dtype)

    def one(carry):
        k, params, memory, _ = carry
        finite, *moved = step(k, params, memory)
        # A non-finite loss ends the loop at this k, with the parameters that have this loss.
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), tuple(moved), (params, memory))
        return k + finite.astype(k.dtype), *kept, finite

    def goes_on(carry):
        (k, _, _, finite), (row, _, _) = carry
        return (row < len(steps_T)) & finite & ((k - begin < limit) | (k == steps_T[row]))

    def to_next_time(carry):
        moved, (row, values, valid) = carry
        k_next = steps_T[row]
        k, params, memory, finite = jax.lax.while_loop(
            lambda c: (c[0] < k_next) & (c[0] - begin < limit) & c[3], one, moved
        )
        here = k == k_next
        # Not where the stretch ends between saved times: the loss of all samples may take as long as many steps.
        seen, finite_here = jax.lax.cond(here, observe, lambda _: (unseen, jnp.array(True)), params)
        finite &= finite_here | ~here
        values = jax.tree.map(lambda rows, one: rows.at[row].set(one), values, seen)
        observed = here & finite
        return (k, params, memory, finite), (row + observed.astype(row.dtype), values, valid.at[row].set(observed))

    shapes, _ = jax.eval_shape(observe, params0)
    unseen = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    values = jax.tree.map(lambda leaf: jnp.zeros((len(steps_T), *leaf.shape), leaf.dtype), shapes)
    start = (begin, params0, stretch.memory, jnp.array(True))
    rows = (stretch.row, values, jnp.zeros(len(steps_T), bool))
    (k, params, memory, finite), (row, values, valid) = jax.lax.while_loop(goes_on, to_next_time, (start, rows))
    return Trajectory(
        t=steps_T,
        probes=values,
        valid=valid,
        params=params,
        memory=memory,
        state=k,
        steps=k - begin,
        outcome=jnp.where(finite, jnp.where(row == len(steps_T), COMPLETED, PAUSED), NON_FINITE),
        end=k,
    )


class Descent(SteppingLaw):
    """(gradient at step k, θ_k, memory) -> (θ_{k+1}, memory), with the learning rate η or η s_k; abstract.

    Attributes:
        batch_size: the number of samples of the minibatch of every step; None for the gradient of all samples. The
            minibatch of step k is drawn by fold_in(key, k), and so is the noise of a model that has some.
        replacement: whether a minibatch can hold a sample twice.
        schedule: s_k, see dynamics.laws.schedules; None for s_k = 1. At a saved time T the state is the θ_k whose time
            t_k is nearest to T; t_k is recorded as the note "reached", at most half a step away.
    """

    batch_size: int | None = eqx.field(static=True, default=None)
    replacement: bool = eqx.field(static=True, default=False)
    schedule: Schedule | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, "must be at least 1")

    @property
    def draws_samples(self) -> bool:
        """Whether every step draws a minibatch, which it does if the law has a batch size."""
        return self.batch_size is not None

    def is_random(self, model):
        """Whether it has minibatches, or the model has noise."""
        return self.draws_samples or "noise" in model.capabilities

    def loss(self, objective: Objective, params: PyTree, k: Int[Array, ""], key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss whose gradient is used at step k: of the whole training set, or of the minibatch.

        Raises:
            ConfigError: for a minibatch without replacement that is larger than the training set.
        """
        key = jax.random.fold_in(key, k)
        objective = objective.with_noise(jax.random.fold_in(key, NOISE))
        if self.batch_size is None:
            return objective.loss(params)
        check_batch(self.batch_size, self.replacement, objective)
        return objective.minibatch_loss(params, key, self.batch_size, self.replacement)

    @abc.abstractmethod
    def update(
        self, objective: Objective, gradient: PyTree, params: PyTree, memory: PyTree, scale: Any
    ) -> tuple[PyTree, PyTree]:
        """The next parameters and memory, by a step with the learning rate η · scale; scale = None is 1."""

    def rate(self, scale: Any) -> Any:
        """The learning rate η · scale; scale = None is 1."""
        return self.learning_rate if scale is None else self.learning_rate * scale

    def state(self, params0: PyTree) -> Int[Array, ""]:
        """The number k of the next step."""
        del params0
        return jnp.asarray(0, jnp.int32)

    def time(self, k: Int[Array, "*T"], dtype: jnp.dtype) -> Float[Array, "*T"]:
        """t_k, the time of θ_k."""
        return (k.astype(dtype) if self.schedule is None else self.schedule.total(k, dtype)) * self.step

    def steps_at(self, times: Float[Array, " T"]) -> Int[Array, " T"]:
        """The k whose times t_k are nearest to these times."""
        if self.schedule is None:
            return jnp.rint(times / self.step).astype(jnp.int32)
        return self.schedule.nearest(times / self.step)

    def check_times(self, times):
        """Refuse a schedule whose rates do not add up to the last saved time, up to half a step."""
        if self.schedule is not None:
            reach, last = self.schedule.reach, float(times[-1])
            allowed = (
                f"must reach the last saved time, t = {last:g}; its rates add up to t = {reach * self.step:g} at most"
            )
            require(reach >= last / self.step - 0.5, "schedule", self.schedule, allowed)

    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
        stretch: Stretch | None = None,
    ) -> Trajectory:
        """The steps up to all saved times t; the number of the step that leads to a time follows from t alone."""
        stretch = Stretch.whole(self, params0, times[0]) if stretch is None else stretch
        begin = jnp.where(stretch.paused, stretch.state, self.steps_at(jnp.asarray(stretch.t)[None])[0])

        def step(k, params, memory):
            loss, gradient = jax.value_and_grad(lambda p: self.loss(objective, p, k, key))(params)
            scale = None if self.schedule is None else self.schedule.scale(k, loss.dtype)
            return jnp.isfinite(loss), *self.update(objective, gradient, params, memory, scale)

        steps_T = self.steps_at(times)
        path = stepped(step, params0, (steps_T, begin), observer(objective, probes), stretch)
        return path._replace(
            t=times,
            end=self.time(path.state, times.dtype),
            notes={} if self.schedule is None else {"reached": self.time(steps_T, times.dtype)},
        )


class Momentum(Descent):
    """A descent with momentum β, at t = η·k / (1 − β); abstract.

    A constant gradient moves θ by η / (1 − β) per step: on this time axis the limit η → 0 is gradient flow. With a
    schedule, t_k = Σ_{j<k} η s_j / (1 − β).

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
