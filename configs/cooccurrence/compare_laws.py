"""Gradient flow against GD, heavy ball and SGD from the same starts, at five steps: the orders in η.

The paper's experiment (d = 64, m = 128, m1 = 256) from the theory's start, 5 seeds, t up to 0.96 (T1 is about 0.45).
SGD has minibatches of 30, with replacement, and 20 draws from every start.

    dynamics compare --config=configs/cooccurrence/compare_laws.py[:variant]    100 s on 2 cores
    dynamics run --config=configs/cooccurrence/compare_laws.py[:variant]        one member of it

Variants: laws (default), smoke.
"""

import dynamics
from experiments.cooccurrence import controls  # noqa: F401  (registers wrong_sign)

VARIANTS = ("laws", "smoke")
STEPS = (0.016, 0.008, 0.004, 0.002, 0.001)


def get_config(variant: str = "laws"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.init.update(name="normal", std=0.3 / (5 * 128) ** 0.5, std_of={"W": 0.3 / 256**0.5})
    exact = {"solver": "auto", "rtol": 1e-10, "atol": 1e-12, "max_steps": 100_000}
    step = {"learning_rate": max(STEPS)}
    momentum = {"learning_rate": max(STEPS) / 10, "momentum": 0.9}  # t = ηk / (1 − β): the same time per step
    config.laws = {
        "flow": {"name": "flow", **exact},
        "gram_flow": {"name": "gram_flow", **exact},
        "modified_flow": {"name": "modified_flow", **exact, **step},
        "wrong_sign": {"name": "wrong_sign", **exact, **step, "rtol": 1e-8, "atol": 1e-10},
        "gd": {"name": "gd", **step},
        "gram_gd": {"name": "gram_gd", **step},
        "heavy_ball": {"name": "heavy_ball", **momentum},
        "gram_heavy_ball": {"name": "gram_heavy_ball", **momentum},
        "modified_heavy_ball": {"name": "modified_flow", **exact, **momentum},
        "sgd": {"name": "sgd", **step, "batch_size": 30, "replacement": True},
    }
    config.times.update(spacing="linear", stop=0.96, count=12)
    config.probes = ("loss", "margin", "output", "mlp", "parameters")
    config.update(words=3, checkpoints=2)  # orders in η are fitted at half of the time
    config.figures = "experiments.cooccurrence.comparison"
    config.compare.update(
        pairs=(
            ("gd", "flow"),
            ("gd", "modified_flow"),
            ("gd", "wrong_sign"),
            ("gram_gd", "gram_flow"),
            ("heavy_ball", "flow"),
            ("heavy_ball", "modified_flow"),
            ("heavy_ball", "modified_heavy_ball"),
            ("heavy_ball", "gram_heavy_ball"),
            ("sgd", "flow"),
        ),
        steps=STEPS,
        seeds=5,
        draws=20,
        claims="experiments.cooccurrence.order_claims",
    )
    if variant == "smoke":
        config.task.update(samples=12, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.times.update(stop=0.32, count=4)
        config.compare.update(claims="", steps=STEPS[:3], seeds=2, draws=4)
    return config
