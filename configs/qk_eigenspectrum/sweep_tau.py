"""The value τ at which the trace is held, against seeds, at κ = 0.03, on a Markov chain of order 1.

The experiment of locater.py. The penalty alone would give the mean eigenvalue τ/(d + 1); a negative one moves attention
away from the current word. One compiled program.

    dynamics sweep --config=configs/qk_eigenspectrum/sweep_tau.py[:variant]    21 members

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
        return grid({"regulariser.tau": (0.0, 8.0)}, seeds(2))
    return grid({"regulariser.tau": (-32.0, 0.0, 16.0, 32.0, 64.0, 128.0, 256.0)}, seeds(3))
