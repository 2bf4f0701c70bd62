"""Means and variances of SGD over batch sizes, with and without replacement, and of its stochastic modified equation.

The paper's experiment from the theory's start, η = 0.008, t up to 0.4, 12 seeds with 48 draws each.

    dynamics compare --config=configs/cooccurrence/compare_noise.py[:variant]    190 s on 2 cores

Variants: noise (default), smoke.
"""

import dynamics

VARIANTS = ("noise", "smoke")
BATCH_SIZES = (12, 24, 96, 192)
DISTINCT = (30,)


def get_config(variant: str = "noise"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.init.update(name="normal", std=0.3 / (5 * 128) ** 0.5, std_of={"W": 0.3 / 256**0.5})
    step = {"learning_rate": 0.008}
    exact = {"solver": "auto", "rtol": 1e-9, "atol": 1e-11, "max_steps": 100_000}
    config.laws = {
        "flow": {"name": "flow", **exact},
        "gd": {"name": "gd", **step},
        **{f"sgd_{size}": {"name": "sgd", **step, "batch_size": size, "replacement": True} for size in BATCH_SIZES},
        **{f"sgd_{size}_distinct": {"name": "sgd", **step, "batch_size": size} for size in DISTINCT},
        "sme": {"name": "sme", **step, "batch_size": BATCH_SIZES[0], "replacement": True},
    }
    config.times.update(spacing="linear", stop=0.4, count=10)
    config.probes = ("loss", "margin", "output", "mlp")
    config.update(words=3, checkpoints=1)
    random = [law for law in config.laws if law.startswith("sgd") or law == "sme"]
    config.compare.update(
        pairs=(("gd", "flow"), *((law, "gd") for law in random), ("sme", f"sgd_{BATCH_SIZES[0]}"), ("sme", "flow")),
        seeds=12,
        draws=48,
        claims="experiments.cooccurrence.noise_claims",
    )
    if variant == "smoke":
        config.task.update(samples=60, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.times.update(stop=0.08, count=2)
        config.compare.update(claims="", seeds=2, draws=4)
    return config
