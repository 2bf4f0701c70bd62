"""The figures of all claims of this paper."""

import pathlib

from dynamics.studies.evidence import ClaimsRecord
from experiments.sink_vs_diagonal import figures_emergence as emergence
from experiments.sink_vs_diagonal import figures_geometry as geometry

PARTS = (geometry, emergence)


def draw(record: ClaimsRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """Those of every part."""
    return [path for part in PARTS for path in part.draw(record, folder)]
