"""How strong the penalty on the QK-eigenspectrum should be: κ against seeds, on a chain and on bags of words.

The experiment of locater.py with the trace held at τ = 32; one compiled program for each task.

    dynamics sweep --config=configs/qk_eigenspectrum/sweep_kappa.py[:variant]    48 members

Variants: default, smoke.
"""

import pathlib

import dynamics
from dynamics import grid, seeds
from dynamics.files import module_of

LOCATER = module_of(pathlib.Path(__file__).with_name("locater.py"))
VARIANTS = ("default", "smoke")


def get_config(variant: str = "default"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = LOCATER.get_config("smoke" if variant == "smoke" else "markov")
    config.probes = ("data_loss", "population_loss", "attention_entropy", "attention_within", "qk_moments")
    config.figures = "experiments.qk_eigenspectrum.sweeps"
    return config


def get_sweep(variant: str = "default"):
    if variant == "smoke":
        return grid({"task.name": ("markov", "bag"), "regulariser.kappa": (0.0, 0.03)}, seeds(2))
    return grid(
        {"task.name": ("markov", "bag"), "regulariser.kappa": (0.0, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 1.0, 10.0)}, seeds(3)
    )
