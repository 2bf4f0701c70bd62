"""What every law of motion is: law(objective, params0, times, probes, key, stretch) -> Trajectory."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.objectives.objective import Objective
from dynamics.trajectory import Trajectory, Values

NO_LIMIT = 2**31 - 1


class Stretch(NamedTuple):
    """From where a law goes on, and how far: a part of a trajectory that one call integrates.

    A law that has taken `limit` steps ends with the outcome PAUSED. Another call goes on from there, with the
    parameters, memory and state that it returned: the trajectory has the same bits, wherever it paused.

    Attributes:
        memory: of the law, see Law.memory.
        state: of the law, see Law.state; read where `paused`.
        t: where it begins.
        row: the number of saved times that have been observed.
        limit: the number of steps to take at most, rejected ones included; at least 1.
        paused: whether it goes on from a pause.

    A law sees numbers; the engine has an entry for every path.
    """

    memory: PyTree
    state: PyTree
    t: Float[Values, "*paths"]
    row: Int[Values, "*paths"]
    limit: Int[Values, "*paths"]
    paused: Bool[Values, "*paths"]

    @classmethod
    def whole(cls, law: "Law", params0: PyTree, t: Any) -> "Stretch":
        """From the start at t to the last time."""
        memory, state = law.memory(params0), law.state(params0)
        return cls(memory, state, jnp.asarray(t), jnp.asarray(0), jnp.asarray(NO_LIMIT), jnp.asarray(False))


class Law(eqx.Module):
    """From parameters to a trajectory on `times`; abstract.

    Attributes:
        needs: capabilities that the model must have for the law to start from its parameters.
    """

    needs: ClassVar[tuple[str, ...]] = ("weights",)

    @property
    def draws_samples(self) -> bool:
        """Whether it looks at minibatches; by default it does not."""
        return False

    def is_random(self, model: Any) -> bool:
        """Whether the trajectory of a model's parameters depends on the key; by default, if it has minibatches."""
        del model
        return self.draws_samples

    @property
    @abc.abstractmethod
    def step(self) -> Any:
        """The time between updates; None when time is continuous."""

    def check_times(self, times: np.ndarray) -> None:
        """Refuse saved times that the law cannot reach; an experiment calls it before anything runs.

        Raises:
            ConfigError: naming the field of the law that prevents it.
        """
        del times

    def at_step(self, step: float) -> "Law":
        """The same law with another time between updates; a law whose time is continuous is returned unchanged."""
        del step
        return self

    @property
    def turns(self) -> tuple["Law", ...]:
        """The laws that take turns on its trajectories, itself first, each a program of its own; by default it alone.

        One that ends with the outcome HANDED_OVER is followed by the next, with its parameters and memory.
        """
        return (self,)

    @staticmethod
    def variables(params: PyTree, objective: Objective) -> tuple[PyTree, Objective]:
        """The variables that the law moves, and the objective as a function of these variables.

        By default the variables are the parameters themselves.

        A static method, so that laws of the same variables share the program that draws their starts.

        Raises:
            ConfigError: for a model or parameters from which the law cannot compute its variables.
        """
        return params, objective

    def memory(self, params0: PyTree) -> PyTree:
        """What the law keeps besides its variables from checkpoint to checkpoint, at the start; None by default."""
        del params0
        return None

    def state(self, params0: PyTree) -> PyTree:
        """Arrays like those that the law needs to go on from a pause besides variables and memory; None by default."""
        del params0
        return None

    @abc.abstractmethod
    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
        stretch: Stretch | None = None,
    ) -> Trajectory:
        """Integrate; pure, so that it can be jitted and batched.

        Args:
            objective: the loss as a function of the law's variables.
            params0: the variables at the beginning.
            times: t = η·k, increasing; multiples of `step` unless that is None.
            probes: evaluated at every time that has not been observed.
            key: the source of the law's randomness.
            stretch: where it begins and how far it goes. If not given, from the start to the last time.
        """


def observer(
    objective: Objective, probes: Callable[[PyTree], dict[str, Array]]
) -> Callable[[PyTree], tuple[dict[str, Array], Bool[Array, ""]]]:
    """The function params -> (values of the probes, whether the loss is finite).

    A loss that is a probe is not computed again: in a loop XLA does not see that both are one.
    """

    def observe(params: PyTree) -> tuple[dict[str, Array], Bool[Array, ""]]:
        values = probes(params)
        loss = values["loss"] if "loss" in values else objective.loss(params)
        return values, jnp.all(jnp.isfinite(loss))

    return observe


class SteppingLaw(Law):
    """A law that takes steps with a learning rate η, so that the time after k steps is t = η·k; abstract.

    Attributes:
        learning_rate: η; traced, so that another value does not recompile.
    """

    learning_rate: float

    def __check_init__(self):
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be positive")

    @property
    def step(self) -> Any:
        """η."""
        return self.learning_rate

    def at_step(self, step: float) -> Law:
        """The same law with the learning rate that makes this step."""
        return dataclasses.replace(self, learning_rate=step)
