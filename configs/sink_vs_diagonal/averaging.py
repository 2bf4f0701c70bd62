"""Averaging on demand: one row asks for the mean of the tokens before it, and in all others attention must be off.

One head without positions, trained by AdamW on fresh samples, from a random start. Does it make the token in front a
sink, and does it still if a token may as well attend to itself?

    dynamics run --config=configs/sink_vs_diagonal/averaging.py[:variant]    10 s on 2 cores

Variants: softmax (default), with a token in front; no_bos, without it; sink_logit, with a learned sink logit in its
place; relu, attention max(s, 0) over the number of tokens in the mean: 16 tokens with contents N(0, I_4), the target 0
in all rows but that of the trigger. Then 8 tokens ±e_k whose rows answer with their own content: copy, copy_no_bos, an
MLP that sees what attention reads; skip, skip_no_bos, one that sees the token as well; additive, no MLP, the token's
content is added. full: softmax with 512 samples a step, 3000 steps at a constant rate, 30 s. smoke.
"""

import dynamics
import experiments.sink_vs_diagonal.probes  # noqa: F401  (registers probes and a normaliser)

STEPS, RATE, LAST = 2000, 0.01, 0.01  # the learning rate falls from RATE to LAST · RATE along a cosine
SWITCH = {
    "softmax": {},
    "no_bos": {"bos": False},
    "sink_logit": {"bos": False},
    "relu": {},
    "full": {},
    "smoke": {},
}
COPY = {
    "copy": {},
    "skip": {},
    "copy_no_bos": {"bos": False},
    "skip_no_bos": {"bos": False},
    "additive": {"answers": "mean_plus_own"},
}
VARIANTS = (*SWITCH, *COPY)


def get_config(variant: str = "softmax"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "trigger_averaging", "samples": 512, "length": 16, "dimension": 4}
    if variant in COPY:
        config.task.update(length=8, dimension=8, contents="axes", alignment=0.6, answers="mean_or_own")
    config.task.update({**SWITCH, **COPY}[variant])
    config.data.regime = "fresh"
    config.model = {"name": "transformer", "width": 16, "positions": "none", "residual": False}
    config.init.name = "lecun_normal"
    config.laws = {
        "adamw": {"name": "adam", "learning_rate": RATE, "weight_decay": 1e-4, "batch_size": 64},
    }
    config.laws.adamw.schedule = {"name": "cosine", "steps": STEPS, "end": LAST}
    config.times.update(start=RATE, stop=RATE * STEPS * (1 + LAST) / 2 * 0.999, count=40)
    config.probes = ("loss", "mass", "read_by_row", "error", "first_value", "attention_entropy")
    config.probes += ("attention_shown", "is_trigger")
    if variant in SWITCH or variant == "additive":  # without an MLP, what attention adds to the output is Σ_k p_k v_k
        config.probes += ("values_shown", "added_shown")
    config.checkpoints = 1
    if variant == "sink_logit":
        config.model.sink = True
    if variant == "relu":
        config.model.normaliser = {"name": "relu_over_others", "left_out": 2}
    if variant in ("skip", "skip_no_bos", "additive"):
        config.model.residual = True
    if variant in COPY and variant != "additive":
        config.model.neurons = 32
    if variant == "full":
        del config.laws.adamw.schedule
        config.laws.adamw.batch_size = 512
        config.times.stop = 3000 * RATE
    if variant == "smoke":
        config.task.update(samples=64, length=6)
        config.laws.adamw.update(batch_size=16)
        config.laws.adamw.schedule.steps = 50
        config.times.update(stop=0.25, count=6)
    return config
