"""Probes: pure functions of the parameters with a name and dimension names, evaluated inside the solve."""

from dynamics.probes import attention, gram, training
from dynamics.probes.probe import PROBES, Probe, Survey, View, as_recorded, coordinates, dimensions, evaluator, probe

__all__ = [
    "PROBES",
    "Probe",
    "Survey",
    "View",
    "as_recorded",
    "attention",
    "coordinates",
    "dimensions",
    "evaluator",
    "gram",
    "probe",
    "training",
]
