"""Learning rate against batch size: where SGD follows the flow, where it differs from it, and where it diverges.

The paper's experiment (Appendix A: n = 60, L = 5, d = 64, m = 128, m1 = 256, true Kaiming) to t = ηk = 20.48, with
steps from 0.01 to 0.64, minibatches of 6, 20 and 60 samples without replacement (60 = n is GD), and 3 seeds.

No run diverges up to η = 0.08, which is 1.5 to 6.3 times 2/λmax of its start; from 0.16 on 25 of 27 do.

    dynamics sweep --config=configs/cooccurrence/sweep_batch.py[:variant]    63 members, 60 s on 2 cores

Variants: kaiming (default), smoke.
"""

import dynamics
from dynamics import grid, seeds

VARIANTS = ("kaiming", "smoke")
STEPS = [0.01 * 2**k for k in range(7)]
BATCH_SIZES = (6, 20, 60)


def get_config(variant: str = "kaiming"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.init.update(name="kaiming_normal")
    config.laws = {
        "flow": {"name": "flow", "solver": "auto", "rtol": 1e-6, "atol": 1e-8, "max_steps": 100_000},
        "sgd": {"name": "sgd", "learning_rate": 0.01, "batch_size": 60, "replacement": False},
    }
    config.times.update(start=0.01, stop=20.48, count=24)
    config.probes = ("loss", "margin", "mlp", "starting_sharpness")
    config.update(words=3, checkpoints=1)
    config.figures = "experiments.cooccurrence.sweeps"
    if variant == "smoke":
        config.task.update(samples=12, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.laws.sgd.batch_size = 12
    return config


def get_sweep(variant: str = "kaiming"):
    steps, sizes = (STEPS[::4], (6, 12)) if variant == "smoke" else (STEPS, BATCH_SIZES)
    rates = {"laws.sgd.learning_rate": steps, "laws.sgd.batch_size": sizes}
    return grid(rates, seeds(2 if variant == "smoke" else 3))
