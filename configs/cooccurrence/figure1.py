"""Figure 1 of arXiv:2410.09605: the paper's own experiment (Appendix A), GD and gradient flow side by side.

60 samples (30 / 10 / 10 / 10 of the four types), L = 5, d = 64, m = 128, m1 = 256, learning rate 0.01, 30000 steps
(t = 300).

    dynamics run --config=configs/cooccurrence/figure1.py[:variant]

Variants: the initialisations kaiming_normal (default), kaiming_uniform, torch_linear and theory; smoke: all laws, in
seconds.
"""

import math

import dynamics
from experiments.cooccurrence.probes import FIGURE_1

INITIALISATIONS = ("kaiming_normal", "kaiming_uniform", "torch_linear", "theory")
VARIANTS = (*INITIALISATIONS, "smoke")


def get_config(variant: str = "kaiming_normal"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.laws = {
        "flow": {"name": "flow", "solver": "auto", "rtol": 1e-7, "atol": 1e-9, "max_steps": 100_000},
        "gd": {"name": "gd", "learning_rate": 0.01},
    }
    config.times.update(stop=300.0, count=200)
    config.probes = FIGURE_1
    config.figures = "experiments.cooccurrence.figures"
    if variant == "theory":
        length, width, neurons = config.task.length, config.model.width, config.model.neurons
        config.init.update(name="normal", std=0.3 / math.sqrt(length * width), std_of={"W": 0.3 / math.sqrt(neurons)})
    elif variant in INITIALISATIONS:
        config.init.name = variant
    if variant == "smoke":
        config.task.update(samples=12, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.laws.sgd = {"name": "sgd", "learning_rate": 0.01, "batch_size": 6, "replacement": False}
        config.times.update(stop=20.0, count=20)
        config.update(words=8, checkpoints=2)
    return config
