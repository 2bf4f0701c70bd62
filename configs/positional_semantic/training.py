"""A head of rank one learns a teacher that mixes tokens by position and by meaning: gradient flow, GD and SGD.

There are two minima: in one attention looks at positions, in the other at meaning. α = n/d is 1.5, above the transition
at α_c = 1.25, so that the semantic minimum is the lower one. Time and the step of GD are those of the paper.

    dynamics run --config=configs/positional_semantic/training.py[:variant]

Variants: positional (default), an informed start; random, a random start also under SGD, with larger steps; smoke.
"""

import dynamics
import experiments.positional_semantic.parts  # noqa: F401  (registers what is named below)

VARIANTS = ("positional", "random", "smoke")
RIDGE = 0.01  # λ


def get_config(variant: str = "positional"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    d = {"positional": 300, "random": 200, "smoke": 20}[variant]
    config.task = {"name": "mixed_teacher", "samples": round(1.5 * d), "dimension": d, "omega": 0.3}
    config.model = {"name": "rank_one_head", "start": "random" if variant == "random" else "positional"}
    config.init.name = "model"
    config.regulariser = {"name": "l2", "weights": {"*": RIDGE}}
    config.laws.flow = {"name": "flow", "solver": "tsit5", "rtol": 1e-5, "atol": 1e-7}
    config.laws.gd = {"name": "gd", "learning_rate": 0.15}
    config.times.update(start=0.6, stop=18.0 if variant == "smoke" else 1800.0, count=40)
    config.probes = ("loss", "m", "theta", "generalisation_error", "linear_error")
    if variant == "random":
        config.laws.gd.learning_rate = 1.0
        config.laws.sgd = {"name": "sgd", "learning_rate": 1.0, "batch_size": 32}
        config.times.update(start=8.0, stop=800.0, count=20, multiple_of=8.0)
        config.probes = ("loss", "m", "theta")
    config.checkpoints = 1
    config.figures = "experiments.positional_semantic.figures"
    return config
