"""A head of rank one learns a teacher that mixes tokens by position and by meaning: gradient flow and GD.

Two starts end in two minima: one attends by position, the other by meaning. α = n/d is 1.5, above the transition at
α_c = 1.25, so that the semantic minimum is the lower one. Time and the step of GD are those of the paper.

    dynamics run --config=configs/positional_semantic/training.py[:variant]

Variants: positional (default) and semantic, the informed starts; random; between, a start on the arc between the two;
smoke.
"""

import dynamics
import experiments.positional_semantic.parts
import experiments.positional_semantic.probes  # noqa: F401  (both register what is named below)

VARIANTS = ("positional", "semantic", "random", "between", "smoke")
RIDGE = 0.01  # λ


def get_config(variant: str = "positional"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    d, alpha = 20 if variant == "smoke" else 300, 1.5
    config.task = {"name": "mixed_teacher", "samples": round(alpha * d), "dimension": d, "omega": 0.3}
    config.model = {"name": "rank_one_head", "start": "positional" if variant == "smoke" else variant}
    config.init.name = "model"
    config.regulariser = {"name": "l2", "weights": {"*": RIDGE}}
    config.laws = {
        "flow": {"name": "flow", "solver": "tsit5", "rtol": 1e-5, "atol": 1e-7},
        "gd": {"name": "gd", "learning_rate": 0.15},
    }
    config.times.update(start=0.6, stop=18.0 if variant == "smoke" else 1800.0, count=40)
    config.probes = ("loss", "m", "theta", "size", "generalisation_error", "linear_error", "slope")
    config.checkpoints = 1
    config.figures = "experiments.positional_semantic.figures"
    return config
