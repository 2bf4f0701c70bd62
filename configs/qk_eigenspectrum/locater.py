"""The penalty on the QK-eigenspectrum, on a task where localisation helps and on one where it cannot.

One causal head, 32 dimensions, full W_K and W_Q, 60 training sequences of 24 words out of 12: far too few to determine
the parameters. Adam from a random start, 1500 full-batch steps.

    dynamics run --config=configs/qk_eigenspectrum/locater.py[:variant]    25 s on 2 cores

Variants: for the Markov chain markov (default, the trace held at 32), markov_shrink (the trace free), markov_zero (the
trace held at 0) and markov_none (no penalty); for bags of words bag, bag_shrink, bag_zero and bag_none; smoke.
"""

import dynamics

TASKS = ("markov", "bag")
# (κ, τ, ρ): the trace held at 32 (mean eigenvalue 0.97); the trace free; the trace held at 0; no penalty. Where
# there is a penalty κ is the same, so that only what is asked of the trace differs.
ARMS = {"locater": (0.03, 32.0, 1.0), "shrink": (0.03, 0.0, 0.0), "zero": (0.03, 0.0, 1.0), "none": (0.0, 32.0, 1.0)}
VARIANTS = (*TASKS, *(f"{task}_{arm}" for task in TASKS for arm in ARMS), "smoke")


def get_config(variant: str = "markov"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    task, _, arm = ("markov" if variant == "smoke" else variant).partition("_")
    kappa, tau, pin = ARMS[arm or "locater"]
    config = dynamics.base()
    config.task = {"name": task, "samples": 60, "length": 24, "vocabulary": 12, "concentration": 0.15}
    config.model = {"name": "transformer", "width": 32, "heads": 1, "layers": 1, "residual": False}
    config.init.name = "lecun_normal"
    config.regulariser = {"name": "qk_spectrum", "kappa": kappa, "tau": tau, "pin": pin, "scale": "frobenius"}
    config.laws = {"adam": {"name": "adam", "learning_rate": 0.003}}
    config.times.update(start=0.03, stop=4.5, count=40)
    config.probes = (
        "loss",
        "data_loss",
        "population_loss",
        "attention_entropy",
        "attention_within",
        "qk_spectrum",
        "qk_moments",
    )
    config.update(words=12, checkpoints=1)
    config.figures = "experiments.qk_eigenspectrum.figures"
    if variant == "smoke":
        config.task.update(samples=8, length=8)
        config.model.width = 8
        config.times.update(stop=0.06, count=5)
    return config
