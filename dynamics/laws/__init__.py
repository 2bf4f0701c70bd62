"""Laws of motion by name: siblings with one signature, see dynamics.laws.law."""

from dynamics.laws.descent import Descent
from dynamics.laws.diffusion import StochasticModifiedEquation
from dynamics.laws.flow import Flow, GradientFlow, ModifiedFlow, NormalisedFlow, PreconditionedFlow
from dynamics.laws.gram import (
    GramFlow,
    GramGradientDescent,
    GramHeavyBall,
    GramLaw,
    GramStochasticGradientDescent,
)
from dynamics.laws.law import Law, SteppingLaw
from dynamics.laws.optimizers import (
    Adam,
    GradientDescent,
    HeavyBall,
    Muon,
    Nesterov,
    NormalisedGradientDescent,
    Optimizer,
    RMSProp,
    StochasticGradientDescent,
)
from dynamics.laws.schedules import SCHEDULES, Schedule

__all__ = [
    "LAWS",
    "SCHEDULES",
    "Adam",
    "Descent",
    "Flow",
    "GradientDescent",
    "GradientFlow",
    "GramFlow",
    "GramGradientDescent",
    "GramHeavyBall",
    "GramLaw",
    "GramStochasticGradientDescent",
    "HeavyBall",
    "Law",
    "ModifiedFlow",
    "Muon",
    "Nesterov",
    "NormalisedFlow",
    "NormalisedGradientDescent",
    "Optimizer",
    "PreconditionedFlow",
    "RMSProp",
    "Schedule",
    "SteppingLaw",
    "StochasticGradientDescent",
    "StochasticModifiedEquation",
]

LAWS: dict[str, type] = {
    "flow": GradientFlow,
    "modified_flow": ModifiedFlow,
    "preconditioned_flow": PreconditionedFlow,
    "normalised_flow": NormalisedFlow,
    "gd": GradientDescent,
    "sgd": StochasticGradientDescent,
    "sme": StochasticModifiedEquation,
    "normalised_gd": NormalisedGradientDescent,
    "heavy_ball": HeavyBall,
    "nesterov": Nesterov,
    "adam": Adam,
    "rmsprop": RMSProp,
    "muon": Muon,
    "gram_flow": GramFlow,
    "gram_gd": GramGradientDescent,
    "gram_sgd": GramStochasticGradientDescent,
    "gram_heavy_ball": GramHeavyBall,
}
