"""The word co-occurrence task under the theory's hypotheses (arXiv:2410.09605, Assumption 2.3 and Condition 1).

Every random word occurs at most once: d = 163 for n = 60, L = 5. m = 256, m1 = 64, σ0 = 0.3/√(L m), σ1 = 0.3/√m1. If
L, m or m1 is overridden, σ0 and σ1 follow, unless they are given as well.

    dynamics run --config=configs/cooccurrence/theory.py[:variant]

Variants: the initialisations theory (default), kaiming_normal, kaiming_uniform and torch_linear; smoke: all laws, in
seconds.
"""

from ml_collections import config_dict

import dynamics
from experiments.cooccurrence.probes import FIGURE_1

INITIALISATIONS = ("theory", "kaiming_normal", "kaiming_uniform", "torch_linear")
VARIANTS = (*INITIALISATIONS, "smoke")


def get_config(variant: str = "theory"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    smallest_that_fits = config_dict.placeholder(int)
    config.task = {
        "name": "cooccurrence",
        "samples": 60,
        "length": 5,
        "vocabulary": smallest_that_fits,
        "words": "distinct",
    }
    config.model = {"name": "one_layer", "width": 256, "neurons": 64, "heads": 1}
    config.laws = {
        "flow": {"name": "flow", "solver": "auto", "rtol": 1e-7, "atol": 1e-9, "max_steps": 100_000},
        "gd": {"name": "gd", "learning_rate": 0.01},
    }
    config.times.update(stop=300.0, count=200)
    config.probes = FIGURE_1
    config.figures = "experiments.cooccurrence.figures"
    if variant in INITIALISATIONS[1:]:
        config.init.name = variant
    else:
        config.init.name = "normal"
        # References: if L, m or m1 is overridden, σ0 and σ1 follow.
        length, width = config.task.get_ref("length").to_float(), config.model.get_ref("width").to_float()
        config.init.std = 0.3 / (length * width) ** 0.5
        config.init.std_of.W = 0.3 / config.model.get_ref("neurons").to_float() ** 0.5
    if variant == "smoke":
        config.task.update(samples=12, length=4)
        config.model.update(width=16, neurons=16)
        config.laws.sgd = {"name": "sgd", "learning_rate": 0.01, "batch_size": 6, "replacement": True}
        config.times.update(stop=20.0, count=20)
        config.update(words=8, checkpoints=2)
    return config
