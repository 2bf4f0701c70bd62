"""Noisy labels: gradient flow and gradient descent reach the log-odds of the labels.

    dynamics run --config=dynamics/templates/paper/config.py[:variant]    seconds

Variants: default, smoke. Expected at the end: loss 0.5623, the entropy of p = 1/4, and log-odds ± log 3 = ± 1.0986.
"""

import ml_collections

import dynamics
from dynamics.templates.paper import probes, tasks  # noqa: F401 (they register what the config names)

__all__ = ["VARIANTS", "get_config"]

VARIANTS = ("default", "smoke")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The config of a variant."""
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "noisy_labels", "samples": 16, "vocabulary": 5, "flipped": 0.25}
    config.model = {"name": "one_layer", "width": 16, "neurons": 16}
    config.init.update(name="normal", std=0.1)
    config.laws = {
        "flow": {"name": "flow", "rtol": 1e-7, "atol": 1e-9},
        "gd": {"name": "gd", "learning_rate": 0.01},
    }
    config.times.update(stop=30.0, count=60)
    config.probes = ("loss", "log_odds", "drift")
    config.words = config.task.vocabulary
    config.figures = "dynamics.templates.paper.figures"
    if variant == "smoke":
        config.model.update(width=4, neurons=4)
        config.times.update(stop=1.0, count=10)
    return config
