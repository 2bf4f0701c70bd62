"""Adam and RMSProp at four steps against the flow that they tend to: do phases, balancing and signs hold?

The paper's experiment from the theory's start, 3 seeds, t = ηk up to 0.04 (T1 is about 0.001 to 0.01). The laws adam
and rmsprop have their usual settings. The laws adam_smooth and rmsprop_smooth have ε = 0.01 and β1 = β2 = 0.9. Their
averages over ten steps are short compared with the time in which the gradient changes, so that they tend to
dθ/dt = −∇L / (|∇L| + ε). Their controls, fixed_time_adam and fixed_time_rmsprop, have the same ε, and the same averages
at the largest step; at smaller steps theirs are over the same time, and therefore over more steps. The laws
frozen_adam and frozen_rmsprop are adam and rmsprop with W_K and W_Q frozen.

    dynamics compare --config=configs/cooccurrence/compare_adaptive.py[:variant]    50 s on 2 cores

Variants: adaptive (default); usual: Adam and RMSProp at η = 0.001 to t = 20, 5 seeds, 75 s; smoke.
"""

import dynamics
from experiments.cooccurrence.controls import ALL_BUT_ATTENTION  # registers the controls, too

VARIANTS = ("adaptive", "usual", "smoke")
FROZEN = (("rmsprop", "frozen_rmsprop"), ("adam", "frozen_adam"))
STEPS = (1e-4, 5e-5, 2.5e-5, 1.25e-5)


def get_config(variant: str = "adaptive"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.init.update(name="normal", std=0.3 / (5 * 128) ** 0.5, std_of={"W": 0.3 / 256**0.5})
    step, epsilon = {"learning_rate": max(STEPS)}, {"epsilon": 0.01}
    frozen = {"train": {"only": ALL_BUT_ATTENTION}}
    exact = {"solver": "auto", "rtol": 1e-8, "atol": 1e-10, "max_steps": 100_000}
    config.laws = {
        "preconditioned_flow": {"name": "preconditioned_flow", **exact, **epsilon},
        "rmsprop_smooth": {"name": "rmsprop", **step, "decay": 0.9, **epsilon},
        "adam_smooth": {"name": "adam", **step, "beta1": 0.9, "beta2": 0.9, **epsilon},
        "rmsprop": {"name": "rmsprop", **step},
        "adam": {"name": "adam", **step},
        "fixed_time_rmsprop": {"name": "fixed_time_rmsprop", **step, "decay": 0.9, **epsilon},
        "fixed_time_adam": {"name": "fixed_time_adam", **step, "beta1": 0.9, "beta2": 0.9, **epsilon},
        "frozen_rmsprop": {"name": "rmsprop", **step, **frozen},
        "frozen_adam": {"name": "adam", **step, **frozen},
    }
    config.times.update(start=max(STEPS), stop=0.04, count=60)
    config.probes = ("loss", "gradient_by_type", "margin", "output", "scores", "mlp")
    config.update(words=8, checkpoints=1)
    config.figures = "experiments.cooccurrence.comparison"
    config.compare.update(
        pairs=(
            *((law, "preconditioned_flow") for law in ("rmsprop_smooth", "adam_smooth")),
            *((law, "preconditioned_flow") for law in ("fixed_time_rmsprop", "fixed_time_adam")),
            *FROZEN,
        ),
        steps=STEPS,
        seeds=3,
        claims="experiments.cooccurrence.adaptive_claims",
    )
    if variant == "usual":
        step = {"learning_rate": 0.001}
        config.laws = {
            "rmsprop": {"name": "rmsprop", **step, "decay": 0.99},
            "adam": {"name": "adam", **step},
            "frozen_rmsprop": {"name": "rmsprop", **step, "decay": 0.99, **frozen},
            "frozen_adam": {"name": "adam", **step, **frozen},
        }
        config.times.update(start=0.01, stop=20.0, count=80)
        config.figures = ""
        config.compare.update(
            pairs=(("rmsprop", "adam"), *FROZEN), steps=(), seeds=5, claims="experiments.cooccurrence.usual_claims"
        )
    if variant == "smoke":
        config.task.update(samples=12, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.compare.update(claims="", steps=STEPS[:3], seeds=2)
    return config
