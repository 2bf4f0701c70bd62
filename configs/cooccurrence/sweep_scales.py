"""Initial scales σ0 and σ1 against each other: at which of them are the paper's two phases seen?

The paper's experiment (Appendix A: n = 60, L = 5, d = 64, m = 128, m1 = 256), W_Q, W_K, W_V ~ N(0, σ0²), W ~ N(0, σ1²),
nine values of each from 0.002 to 0.512, 3 seeds; gradient flow in Gram variables to t = 300, one compiled program.

Up to σ0σ1 = 1.3e-4 the losses of I2 and I3 rise first in all seeds, and at most 9 % of the targets' score change is
made by T1. The signs of Theorem 3.2 hold in 240 of 243 runs.

    dynamics sweep --config=configs/cooccurrence/sweep_scales.py[:variant]    243 members, 45 s on 2 cores

Variants: plane (default), smoke.
"""

import dynamics
from dynamics import grid, seeds

VARIANTS = ("plane", "smoke")
SCALES = [0.002 * 2**i for i in range(9)]


def get_config(variant: str = "plane"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.init.update(name="normal", draw="gram", std=0.3 / (5 * 128) ** 0.5, std_of={"W": 0.3 / 256**0.5})
    config.laws = {"flow": {"name": "gram_flow", "solver": "auto", "rtol": 1e-6, "atol": 1e-12, "max_steps": 100_000}}
    config.times.update(start=1e-4, stop=300.0, count=120)
    config.probes = ("loss", "loss_by_type", "margin", "scores", "drift")
    config.update(words=3, checkpoints=1)
    config.figures = "experiments.cooccurrence.sweeps"
    if variant == "smoke":
        config.task.update(samples=12, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.times.update(stop=20.0, count=20)
    return config


def get_sweep(variant: str = "plane"):
    scales = SCALES[::4] if variant == "smoke" else SCALES
    return grid({"init.std": scales, "init.std_of.W": scales}, seeds(2 if variant == "smoke" else 3))
