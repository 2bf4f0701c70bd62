"""Models by name, and their initialisations."""

from dynamics.models.gram import GRAM_INVARIANTS, GramModel, HeavyBallStep, at_rest, gram_invariants
from dynamics.models.initialisation import Initialisation
from dynamics.models.model import Model
from dynamics.models.one_layer import Gram, OneLayerTransformer
from dynamics.models.transformer import Transformer

__all__ = [
    "GRAM_INVARIANTS",
    "MODELS",
    "Gram",
    "GramModel",
    "HeavyBallStep",
    "Initialisation",
    "Model",
    "OneLayerTransformer",
    "Transformer",
    "at_rest",
    "gram_invariants",
]

MODELS: dict[str, type] = {"one_layer": OneLayerTransformer, "transformer": Transformer}
