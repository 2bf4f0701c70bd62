"""W_Q and W_K of one head learn to attend by a pattern, from a small random start: normalised GD and gradient flow.

Eight orthonormal tokens; the loss is Σ log(1 + exp(−margin)) over all queries and keys that are not the target.
Normalised GD has the length of its path for the time t = η·k: at the end its margins are 100 to 300, those of the flow
7 to 10.

    dynamics run --config=configs/sink_vs_diagonal/training.py[:variant]    15 s on 2 cores

Variants: sink (default), all queries attend to the first token; diagonal, each to itself; causal, the sink when a query
sees the tokens up to its own; causal_bilinear, the same with one matrix W in the place of W_Kᵀ W_Q; smoke. Expected at
the end under normalised GD: the sum of the singular values of W over the smallest margin 2.65 (sink), 7 to 9
(diagonal), 2.47 (causal), 3.49 (causal_bilinear).
"""

import dynamics
import experiments.sink_vs_diagonal.head  # noqa: F401  (registers the task, the model, the loss and the probes)

VARIANTS = ("sink", "diagonal", "causal", "causal_bilinear", "smoke")


def get_config(variant: str = "sink"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    pattern = "diagonal" if variant == "diagonal" else "sink"
    config.task = {"name": "attention_pattern", "samples": 1, "tokens": 8, "pattern": pattern}
    config.model = {"name": "scoring_head", "scores": {"name": "factored", "scale": 1.0}, "mask": "full"}
    config.init.update(name="normal", std=0.01)
    config.laws = {
        "normalised_gd": {"name": "normalised_gd", "learning_rate": 0.01, "epsilon": 1e-150},
        "flow": {"name": "flow", "rtol": 1e-8, "atol": 1e-11, "max_steps": 100_000},
    }
    config.times.update(start=0.01, stop=40.0, count=100)
    config.probes = (
        "loss",
        "target_margin",
        "half_square",
        "qk_singular_values",
        "qk_rank",
        "attention_smoothing",
        "drift",
    )
    config.checkpoints = 1
    config.figures = "experiments.sink_vs_diagonal.figures_training"
    if variant.startswith("causal"):
        config.model.mask = "causal"
    if variant == "causal_bilinear":
        # The product of two matrices with entries of size 0.01 has entries of this size.
        config.model.scores.name = "bilinear"
        config.init.std = 0.01**2 * 8**0.5
        config.times.stop = 400.0
        config.probes = tuple(name for name in config.probes if name != "drift")
    if variant == "smoke":
        config.task.tokens = 3
        config.times.update(stop=2.0, count=10)
    return config
