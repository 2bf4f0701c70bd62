"""Co-occurrence as XOR: y = +1 when exactly one of μ1 and μ2 occurs, with the model and sizes of arXiv:2410.09605.

Word counts cannot solve it, and the flow is stiff: its sharpness stays near 500 while the loss waits on a plateau, and
an explicit solver takes 10 000 steps to t = 100. The default solver changes to a stabilised method after about 20.

    dynamics run --config=configs/cooccurrence/xor.py[:variant]    10 s on 2 cores

Variants: paper (default), n = 240, m = 128, m1 = 256, Kaiming's initialisation, to t = 100; small, m = 64, m1 = 32,
σ0 = σ1 = 0.3, to t = 1000, where attention solves the task; narrow, m = 16, m1 = 2, likewise, to t = 3000; escape, to
measure at any width when the loss leaves the plateau: d = 16, and values that start small and learn at one rate
(W_V ~ N(0, 10⁻⁴/m), W ~ N(0, 80/(m1 m)), so that C_V ≈ 10⁻⁴ and S ≈ 80); smoke.
"""

import dynamics
import experiments.cooccurrence.xor  # noqa: F401  (registers the task)

VARIANTS = ("paper", "small", "narrow", "escape", "smoke")


def get_config(variant: str = "paper"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "exactly_one", "samples": 240, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}
    config.laws = {
        "flow": {"name": "flow", "solver": "auto", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000},
        "gram_flow": {"name": "gram_flow", "solver": "auto", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000},
    }
    config.times.update(stop=100.0, count=100)
    config.probes = ("loss", "margin", "loss_by_type", "scores", "mlp", "drift", "population_loss")
    config.update(words=8, checkpoints=2)
    if variant == "small":
        config.model.update(width=64, neurons=32)
        config.init.update(name="normal", std=0.3)
        config.times.stop = 1000.0
    if variant == "narrow":
        config.model.update(width=16, neurons=2)
        config.init.update(name="normal", std=0.3)
        config.times.stop = 3000.0
    if variant == "escape":
        config.task.vocabulary = 16
        config.model.update(width=2**30, neurons=2)
        del config.laws.flow  # it would form the weights
        config.init.update(name="normal", std=0.05, draw="gram")
        width, neurons = (config.model.get_ref(key).to_float() for key in ("width", "neurons"))
        config.init.std_of.W_V = 0.01 / width**0.5
        config.init.std_of.W = (80.0 / (neurons * width)) ** 0.5
        config.times.update(start=1.0, stop=3000.0, count=100)
        config.probes = ("loss", "mlp", "neuron_gram", "drift")
        config.words = 16
    if variant == "smoke":
        config.task.update(samples=24, vocabulary=16)
        config.model.update(width=16, neurons=8)
        config.times.update(stop=20.0, count=10)
    return config
