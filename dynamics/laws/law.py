"""What every law of motion is: law(objective, params0, times, probes, key, memory) -> Trajectory."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.objectives.objective import Objective
from dynamics.trajectory import Trajectory

__all__ = ["Law"]


class Law(eqx.Module):
    """From parameters at times[0] to a trajectory on `times`; abstract.

    Attributes:
        random: whether the trajectory depends on the key.
    """

    random: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("weights",)

    def variables(self, params, objective):
        """Identity."""
        return params, objective

    @property
    @abc.abstractmethod
    def step(self) -> Any:
        """The time between updates, a number, or None when time is continuous."""

    def at_step(self, step: float) -> "Law":
        """The same law for this time between updates; itself when it knows of none."""
        del step
        return self

    def memory(self, params0: PyTree) -> PyTree:
        """What the law carries along beside the parameters, at a new start; most laws carry nothing."""
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
        memory: PyTree = None,
    ) -> Trajectory:
        """Integrate; pure, so that it can be jitted and batched.

        Args:
            objective: what is trained on what.
            params0: the parameters at times[0].
            times: increasing; multiples of `step` where it is a number.
            probes: seen at every time.
            key: of what is random in the law.
            memory: that of the trajectory of which this one is the continuation, or `memory(params0)`.
        """
