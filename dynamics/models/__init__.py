"""Models by name, and their initialisations."""

from dynamics.models.gram import GramModel
from dynamics.models.initialisation import Initialisation
from dynamics.models.one_layer import Gram, OneLayerTransformer
from dynamics.models.transformer import Transformer

__all__ = ["MODELS", "Gram", "GramModel", "Initialisation", "OneLayerTransformer", "Transformer"]

MODELS: dict[str, type] = {"one_layer": OneLayerTransformer, "transformer": Transformer}
