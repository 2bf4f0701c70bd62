"""All claims of this paper: those about geometry, and those about how a sink emerges."""

from experiments.sink_vs_diagonal import claims_emergence as emergence
from experiments.sink_vs_diagonal import claims_geometry as geometry

PARTS = (geometry, emergence)
CASES = {name: case for part in PARTS for name, case in part.CASES.items()}
TABLES = {key: table for part in PARTS for key, table in part.TABLES.items()}
FIGURES = "experiments.sink_vs_diagonal.figures"
