"""Attention as score ∘ mask ∘ normaliser ∘ value: parts by name, and one head on orthonormal words by look-up."""

from dynamics.models.attention.look_up import (
    attend,
    look_up_scores,
    look_up_values,
    multiply_columns,
    table_of_products,
)
from dynamics.models.attention.masks import MASKS, Blocks, Causal, CausalWindow, Full, Given, Mask, Window
from dynamics.models.attention.normalisers import (
    NORMALISERS,
    GumbelSoftmax,
    Hard,
    Linear,
    Normaliser,
    ReLU,
    Softmax,
)
from dynamics.models.attention.scores import SCORES, Additive, Bilinear, Constant, Factored, Score, Tied, times
from dynamics.models.attention.values import VALUES, LinearValue, MLPValue, Value

__all__ = [
    "MASKS",
    "NORMALISERS",
    "SCORES",
    "VALUES",
    "Additive",
    "Bilinear",
    "Blocks",
    "Causal",
    "CausalWindow",
    "Constant",
    "Factored",
    "Full",
    "Given",
    "GumbelSoftmax",
    "Hard",
    "Linear",
    "LinearValue",
    "MLPValue",
    "Mask",
    "Normaliser",
    "ReLU",
    "Score",
    "Softmax",
    "Tied",
    "Value",
    "Window",
    "attend",
    "look_up_scores",
    "look_up_values",
    "multiply_columns",
    "table_of_products",
    "times",
]
