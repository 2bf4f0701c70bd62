"""Models by name, and their initialisations."""

from dynamics.models.initialisation import Initialisation
from dynamics.models.sequence import Transformer
from dynamics.models.transformer import Gram, OneLayerTransformer

__all__ = ["MODELS", "Gram", "Initialisation", "OneLayerTransformer", "Transformer"]

MODELS: dict[str, type] = {"one_layer": OneLayerTransformer, "transformer": Transformer}
