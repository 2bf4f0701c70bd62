"""Laws of motion by name: siblings with one signature, see dynamics.laws.law."""

from dynamics.laws.descent import (
    Adam,
    AdamW,
    Descent,
    GradientDescent,
    HeavyBall,
    Optimizer,
    RMSProp,
    StochasticGradientDescent,
)
from dynamics.laws.diffusion import StochasticModifiedEquation
from dynamics.laws.flow import Flow, GradientFlow, ModifiedFlow, PreconditionedFlow
from dynamics.laws.gram import (
    GramFlow,
    GramGradientDescent,
    GramHeavyBall,
    GramLaw,
    GramStochasticGradientDescent,
)
from dynamics.laws.law import Law, SteppingLaw

__all__ = [
    "LAWS",
    "Adam",
    "AdamW",
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
    "Optimizer",
    "PreconditionedFlow",
    "RMSProp",
    "SteppingLaw",
    "StochasticGradientDescent",
    "StochasticModifiedEquation",
]

LAWS: dict[str, type] = {
    "flow": GradientFlow,
    "modified_flow": ModifiedFlow,
    "preconditioned_flow": PreconditionedFlow,
    "gd": GradientDescent,
    "sgd": StochasticGradientDescent,
    "sme": StochasticModifiedEquation,
    "heavy_ball": HeavyBall,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSProp,
    "gram_flow": GramFlow,
    "gram_gd": GramGradientDescent,
    "gram_sgd": GramStochasticGradientDescent,
    "gram_heavy_ball": GramHeavyBall,
}
