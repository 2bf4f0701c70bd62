"""How the QK-eigenspectrum, the entropy and localisation of attention change as a causal head learns a Markov chain.

One head of 16 dimensions with full W_K and W_Q, 64 sequences of 16 words out of 8, from a random start. There is no
residual path, so that the current word is seen through attention alone.

    dynamics run --config=configs/qk_eigenspectrum/training.py[:variant]    30 s on 2 cores

Variants: flow (default), gradient flow; adamw; smoke: both, in seconds. Flow and AdamW have the same start and the same
sequences. They are separate runs, because they need different times t = η·k to learn the chain.
"""

import dynamics

VARIANTS = ("flow", "adamw", "smoke")
FLOW = {"name": "flow", "solver": "auto", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000}


def get_config(variant: str = "flow"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "markov", "samples": 64, "length": 16, "vocabulary": 8, "concentration": 0.15}
    config.model = {"name": "transformer", "width": 16, "heads": 1, "layers": 1, "residual": False}
    config.init.name = "lecun_normal"
    adamw = {"name": "adam", "learning_rate": 0.003, "weight_decay": 0.01, "batch_size": 64, "replacement": False}
    config.laws = {"adamw": adamw} if variant == "adamw" else {"flow": FLOW}
    if variant == "smoke":
        config.laws.adamw = adamw
    config.times.update({"flow": {"start": 1.0, "stop": 200.0}, "adamw": {"start": 0.03, "stop": 9.0}}.get(variant, {}))
    config.times.count = 80
    config.probes = (
        "loss",
        "data_loss",
        "population_loss",
        "attention_entropy",
        "attention_within",
        "peak_within",
        "attention_distance",
        "qk_spectrum",
        "qk_moments",
        "qk_rank",
        "token_rank",
        "token_similarity",
        "drift",
    )
    config.update(words=8, checkpoints=2)
    config.figures = "experiments.qk_eigenspectrum.figures"
    if variant == "smoke":
        config.times.update(start=0.03, stop=0.3, count=8)
    return config
