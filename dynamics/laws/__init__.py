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
    GramModel,
    GramStochasticGradientDescent,
    in_gram_variables,
    with_width,
)
from dynamics.laws.law import Law

__all__ = [
    "IN_GRAM_VARIABLES",
    "LAWS",
    "Adam",
    "AdamW",
    "Descent",
    "Flow",
    "GradientDescent",
    "GradientFlow",
    "GramFlow",
    "GramGradientDescent",
    "GramModel",
    "GramStochasticGradientDescent",
    "HeavyBall",
    "Law",
    "ModifiedFlow",
    "Optimizer",
    "PreconditionedFlow",
    "RMSProp",
    "StochasticGradientDescent",
    "StochasticModifiedEquation",
    "in_gram_variables",
    "with_width",
]

IN_GRAM_VARIABLES = (GramFlow, GramGradientDescent, GramStochasticGradientDescent)
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
}
