"""Laws of motion by name: siblings with one signature, law(objective, params0, times, probes, key) -> Trajectory."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.laws.descent import GradientDescent, StochasticGradientDescent
from dynamics.laws.flow import Flow, GradientFlow
from dynamics.laws.gram import (
    GramFlow,
    GramGradientDescent,
    GramModel,
    GramStochasticGradientDescent,
    in_gram_variables,
    with_width,
)
from dynamics.objective import Objective
from dynamics.trajectory import Trajectory

__all__ = [
    "IN_GRAM_VARIABLES",
    "LAWS",
    "Flow",
    "GradientDescent",
    "GradientFlow",
    "GramFlow",
    "GramGradientDescent",
    "GramModel",
    "GramStochasticGradientDescent",
    "Law",
    "StochasticGradientDescent",
    "in_gram_variables",
    "with_width",
]

IN_GRAM_VARIABLES = (GramFlow, GramGradientDescent, GramStochasticGradientDescent)
LAWS: dict[str, type] = {
    "flow": GradientFlow,
    "gd": GradientDescent,
    "sgd": StochasticGradientDescent,
    "gram_flow": GramFlow,
    "gram_gd": GramGradientDescent,
    "gram_sgd": GramStochasticGradientDescent,
}


@runtime_checkable
class Law(Protocol):
    """From parameters at times[0] to a trajectory on `times`."""

    @property
    def step(self) -> float | None:
        """The time between updates, η, or None when time is continuous."""
        ...

    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
    ) -> Trajectory:
        """Integrate; pure, so that it can be jitted and batched."""
        ...
