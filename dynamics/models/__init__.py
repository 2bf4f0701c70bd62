"""Models by name, and their initialisations."""

from dynamics.models.initialisation import Initialisation
from dynamics.models.transformer import Gram, OneLayerTransformer

__all__ = ["MODELS", "Gram", "Initialisation", "OneLayerTransformer"]

MODELS: dict[str, type] = {"one_layer": OneLayerTransformer}
