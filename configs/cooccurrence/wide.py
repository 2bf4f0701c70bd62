"""GD at three steps against gradient flow at m = 10^6, in Gram variables: the theory's start, n = 18, d = 51.

GD differs from the flow by an amount proportional to η.

    dynamics run --config=configs/cooccurrence/wide.py[:smoke]    20 s on 2 cores
"""

import dynamics

VARIANTS = ("million", "smoke")


def get_config(variant: str = "million"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 18, "length": 5, "vocabulary": 51, "words": "distinct"}
    config.model = {"name": "one_layer", "width": 10**6, "neurons": 64, "heads": 1}
    config.init.update(name="normal", std=0.3 / (5 * 10**6) ** 0.5, std_of={"W": 0.3 / 64**0.5}, draw="gram")
    config.laws = {
        "flow": {"name": "gram_flow", "solver": "auto", "rtol": 1e-9, "atol": 1e-11, "max_steps": 100_000},
        "gd_4e-7": {"name": "gram_gd", "learning_rate": 4e-7},
        "gd_2e-7": {"name": "gram_gd", "learning_rate": 2e-7},
        "gd_1e-7": {"name": "gram_gd", "learning_rate": 1e-7},
    }
    config.times.update(start=4e-6, stop=2e-3, count=80)
    config.probes = ("loss", "loss_by_type", "margin", "scores", "mlp", "drift")
    config.update(words=6, checkpoints=1)
    config.figures = "experiments.cooccurrence.wide"
    if variant == "smoke":
        config.times.update(stop=1e-4, count=20)
    return config
