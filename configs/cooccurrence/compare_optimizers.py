"""Do the two phases, the balancing and the signs of Theorem 3.2 hold for GD, SGD and heavy ball over a long time?

The paper's experiment from the theory's start, 5 seeds, η = 0.01, t up to 20. For Adam and RMSProp t = ηk is another
time; they are in compare_adaptive.

    dynamics compare --config=configs/cooccurrence/compare_optimizers.py[:variant]    35 s on 2 cores

Variants: optimizers (default), smoke.
"""

import dynamics

VARIANTS = ("optimizers", "smoke")


def get_config(variant: str = "optimizers"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.init.update(name="normal", std=0.3 / (5 * 128) ** 0.5, std_of={"W": 0.3 / 256**0.5})
    config.laws = {
        "flow": {"name": "flow", "solver": "auto", "rtol": 1e-7, "atol": 1e-9, "max_steps": 100_000},
        "gd": {"name": "gd", "learning_rate": 0.01},
        "sgd": {"name": "sgd", "learning_rate": 0.01, "batch_size": 12},
        "heavy_ball": {"name": "heavy_ball", "learning_rate": 0.001, "momentum": 0.9},
    }
    config.times.update(start=0.01, stop=20.0, count=80)
    config.probes = ("loss", "gradient_by_type", "margin", "output", "scores", "mlp")
    config.update(words=8, checkpoints=1)
    config.figures = "experiments.cooccurrence.comparison"
    config.compare.update(seeds=5, draws=4, claims="experiments.cooccurrence.optimizer_claims")
    if variant == "smoke":
        config.task.update(samples=12, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.times.update(stop=2.0, count=12)
        config.compare.update(claims="", seeds=2, draws=2)
    return config
