"""Probes: pure functions of the parameters with a name and dimension names, evaluated inside the solve."""

from dynamics.probes import attention, gram, training
from dynamics.probes.probe import PROBES, Probe, View, coordinates, dimensions, evaluator, probe

__all__ = [
    "PROBES",
    "Probe",
    "View",
    "attention",
    "coordinates",
    "dimensions",
    "evaluator",
    "gram",
    "probe",
    "training",
]
