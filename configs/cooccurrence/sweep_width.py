"""Width against seeds: T1 = Õ(1/m) of Theorem 3.1, and what training has changed at the end (arXiv:2410.09605).

n = 60, L = 5, every random word at most once (d = 163), m1 = 64, σ0 = 0.3/√(L m), σ1 = 0.3/√m1, m = 2⁷ to 2²⁰, 5 seeds;
gradient flow in Gram variables to t = 300, one compiled program for all widths.

m T1 is 100 to 102 from m = 2¹² on. At large m the changes of the scores over √m fall as m^−1.84, and those of the value
Grams as m^−0.85.

    dynamics sweep --config=configs/cooccurrence/sweep_width.py[:variant]    70 members, 100 s on 2 cores

Variants: theory (default), smoke.
"""

import dynamics
from dynamics import grid, seeds

VARIANTS = ("theory", "smoke")


def get_config(variant: str = "theory"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "words": "distinct"}
    config.model = {"name": "one_layer", "width": 2**14, "neurons": 64, "heads": 1}
    length, width = config.task.get_ref("length").to_float(), config.model.get_ref("width").to_float()
    config.init.update(name="normal", draw="gram", std_of={"W": 0.3 / config.model.neurons**0.5})
    config.init.std = 0.3 / (length * width) ** 0.5
    config.laws = {"flow": {"name": "gram_flow", "solver": "auto", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000}}
    config.times.update(start=1e-7, stop=300.0, count=120)
    config.probes = ("loss", "margin", "scores", "value_gram", "mlp", "drift")
    config.update(words=3, checkpoints=1)
    config.figures = "experiments.cooccurrence.sweeps"
    if variant == "smoke":
        config.task.update(samples=12, length=4)
        config.times.update(count=20)
    return config


def get_sweep(variant: str = "theory"):
    if variant == "smoke":
        return grid({"model.width": (2**8, 2**12, 2**16)}, seeds(2))
    return grid({"model.width": [2**k for k in range(7, 21)]}, seeds(5))
