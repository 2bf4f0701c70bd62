"""Length against samples: T1, training loss and population loss over L and n, for Condition 1: n ≥ Õ(L²).

The paper's experiment (d = 64, m = 128, m1 = 256) from the theory's start, σ0 = 0.3/√(L m) and σ1 = 0.3/√m1, with
L = 4, 8, 16 words in each of n = 12, 36, 108 samples, 3 seeds; gradient flow to t = 300. Every pair (L, n) has a
compiled program of its own.

Population losses, medians, at n = 12, 36, 108: 0.37, 0.044, 8e-4 (L = 4), 0.89, 0.36, 0.012 (8), 1.3, 1.1, 0.10 (16).

    dynamics sweep --config=configs/cooccurrence/sweep_length.py[:variant]    27 members, 9 programs, 150 s on 2 cores

Variants: uniform (default), smoke.
"""

import dynamics
from dynamics import grid, seeds

VARIANTS = ("uniform", "smoke")


def get_config(variant: str = "uniform"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.init.update(name="normal", std_of={"W": 0.3 / 256**0.5})
    length, width = config.task.get_ref("length").to_float(), config.model.get_ref("width").to_float()
    config.init.std = 0.3 / (length * width) ** 0.5
    config.laws = {"flow": {"name": "flow", "solver": "auto", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000}}
    config.times.update(start=1e-3, stop=300.0, count=80)
    config.probes = ("loss", "margin", "population_loss")
    config.update(words=3, checkpoints=1)
    config.figures = "experiments.cooccurrence.sweeps"
    if variant == "smoke":
        config.task.update(vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.times.update(count=20)
    return config


def get_sweep(variant: str = "uniform"):
    if variant == "smoke":
        return grid({"task.length": (4, 5), "task.samples": (12, 18)}, seeds(2))
    return grid({"task.length": (4, 8, 16), "task.samples": (12, 36, 108)}, seeds(3))
