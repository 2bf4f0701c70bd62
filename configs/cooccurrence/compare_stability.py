"""GD against the flow, and η λmax over t, in the first hundred steps from the paper's own start (Kaiming).

The paper's experiment (Appendix A, η = 0.01 there), 2 seeds, t up to 1. This start is far from 0.

    dynamics compare --config=configs/cooccurrence/compare_stability.py[:variant]    40 s on 2 cores

Variants: kaiming (default), smoke.
"""

import dynamics

VARIANTS = ("kaiming", "smoke")
STEPS = (0.02, 0.01, 0.005)


def get_config(variant: str = "kaiming"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.init.name = "kaiming_normal"
    config.laws = {
        "flow": {"name": "flow", "solver": "auto", "rtol": 1e-8, "atol": 1e-10, "max_steps": 100_000},
        "gd": {"name": "gd", "learning_rate": max(STEPS)},
    }
    steps = tuple(k * max(STEPS) for k in (*range(1, 13), *range(15, 51, 7)))
    config.times.update(spacing="given", given=steps)
    config.probes = ("loss", "loss_by_type", "margin", "output", "mlp", "sharpness")
    config.update(words=3, checkpoints=1)
    config.figures = "experiments.cooccurrence.stability"
    config.compare.update(pairs=(("gd", "flow"),), steps=STEPS, seeds=2)
    if variant == "smoke":
        config.task.update(samples=12, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.times.update(given=steps[:4])
        config.compare.update(steps=STEPS[:3], seeds=2)
    return config
