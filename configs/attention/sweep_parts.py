"""What each part of attention can learn: bags of words, where the best prediction counts all words so far.

One layer with one part exchanged at a time, trained by Adam on new samples at every step; the figure shows how far the
loss on the evaluation set stays above the best one.

    dynamics sweep --config=configs/attention/sweep_parts.py[:variant]    24 members

Variants: default, smoke.
"""

import ml_collections

import dynamics
from dynamics import chain, grid

VARIANTS = ("default", "smoke")
# Every query sees itself and the keys before it at even positions.
EVEN = {"name": "given", "rows": [[int(k == q or (k < q and k % 2 == 0)) for k in range(16)] for q in range(16)]}
RELU = tuple({"name": "relu", "divisor": divisor} for divisor in ("keys", "length", "sum", "none"))
PARTS = {
    "model.scores": tuple(dynamics.SCORES),
    "model.mask": ("causal_window", "blocks", {"name": "window", "back": 2}, EVEN),
    "model.normaliser": (*RELU, "linear", "hard", "gumbel"),
    "model.values": ("mlp",),
    "model.positions": ("learned", "relative"),
    "model.norm": ("l2", "layer", "rms"),
    "model.residual": (False,),
    "model.sink": (True,),
}


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The config of a variant."""
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "bag", "samples": 256, "length": 16, "vocabulary": 5, "concentration": 0.3}
    config.data.regime = "fresh"
    config.model = {"name": "transformer", "width": 16, "heads": 2, "neurons": 0, "positions": "none"}
    config.init.name = "lecun_normal"
    config.laws = {"adam": {"name": "adam", "learning_rate": 0.01, "batch_size": 64}}
    config.times.update(spacing="linear", stop=10.0, count=20)
    config.probes = ("population_loss", "attention_entropy")
    config.figures = "experiments.attention.figures"
    if variant == "smoke":
        config.task.length = 6
        config.times.update(stop=0.2, count=2)
        config.checkpoints = 2
    return config


def get_sweep(variant: str = "default"):
    """One part exchanged at a time."""
    if variant == "smoke":
        return grid({"model.scores": ("tied", "additive"), "model.normaliser": ("softmax", "hard")})
    return chain(*(grid({key: values}) for key, values in PARTS.items()))
