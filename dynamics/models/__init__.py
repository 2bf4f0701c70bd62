"""Models by name, and their initialisations."""

from dynamics.models.attention import MASKS, NORMALISERS, SCORES, VALUES, Mask, Normaliser, Score, Value
from dynamics.models.balance import Balance
from dynamics.models.gram import GRAM_INVARIANTS, GramModel, HeavyBallStep, at_rest, gram_invariants
from dynamics.models.initialisation import Initialisation
from dynamics.models.model import Model
from dynamics.models.one_layer import Gram, OneLayerTransformer
from dynamics.models.transformer import Transformer

__all__ = [
    "GRAM_INVARIANTS",
    "MASKS",
    "MODELS",
    "NORMALISERS",
    "SCORES",
    "VALUES",
    "Balance",
    "Gram",
    "GramModel",
    "HeavyBallStep",
    "Initialisation",
    "Mask",
    "Model",
    "Normaliser",
    "OneLayerTransformer",
    "Score",
    "Transformer",
    "Value",
    "at_rest",
    "gram_invariants",
]

MODELS: dict[str, type] = {"one_layer": OneLayerTransformer, "transformer": Transformer}
