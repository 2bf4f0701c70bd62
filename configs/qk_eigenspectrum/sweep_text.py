"""Perplexity and entropy of attention on English words against κ, for one layer and for three.

The experiment of text.py, two seeds. The penalty lowers the best held-out perplexity by up to 2 % in one layer and by
10 to 11 % in three.

    dynamics sweep --config=configs/qk_eigenspectrum/sweep_text.py[:variant]    20 members

Variants: default, smoke.
"""

import pathlib

import dynamics
from dynamics import grid, seeds, zipped
from dynamics.files import module_of

TEXT = module_of(pathlib.Path(__file__).with_name("text.py"))
VARIANTS = ("default", "smoke")
KAPPAS = (0.0, 1e-3, 1e-2, 1e-1, 1.0)


def get_config(variant: str = "default"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = TEXT.get_config("smoke" if variant == "smoke" else "three_layers")
    config.figures = "experiments.qk_eigenspectrum.sweeps"
    return config


def get_sweep(variant: str = "default"):
    if variant == "smoke":
        return grid({"regulariser.kappa": (0.0, 0.1)}, seeds(2))
    deep = {"model.layers": (1, 3), "model.neurons": (0, 64), "model.norm": ("none", "layer"), "model.heads": (1, 2)}
    return grid(zipped(deep), {"regulariser.kappa": KAPPAS}, seeds(2))
