"""How well the drift of conserved quantities tells the true error of a gradient flow (arXiv:2410.09605).

Gradient flow in weights and in Gram variables, three solvers and six tolerances each, against a reference at rtol
1e-11: the largest relative error of the loss beside the largest drift.

    dynamics run --config=configs/cooccurrence/calibration.py[:variant]    80 s on 2 cores

Variants: paper (default), the paper's experiment; xor, the stiff flow of configs/cooccurrence/xor.py, without the
explicit solvers, which take 10 000 steps there; smoke.
"""

import itertools

import dynamics
import experiments.cooccurrence.xor  # noqa: F401  (registers the task)

TOLERANCES = {"1e-4": 1e-4, "1e-5": 1e-5, "1e-6": 1e-6, "1e-7": 1e-7, "1e-8": 1e-8, "1e-9": 1e-9}
VARIANTS = ("paper", "xor", "smoke")


def get_config(variant: str = "paper"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 60, "length": 5, "vocabulary": 64, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 128, "neurons": 256, "heads": 1}

    def law(name, solver, rtol):
        return {"name": name, "solver": solver, "rtol": rtol, "atol": rtol / 100, "max_steps": 100_000}

    solvers = ("auto", "rkc2") if variant == "xor" else ("tsit5", "dopri8", "rkc2")
    laws = {"reference": law("flow", "rkc2" if variant == "xor" else "dopri8", 1e-11)}
    for name, solver, (label, rtol) in itertools.product(("flow", "gram_flow"), solvers, TOLERANCES.items()):
        laws[f"{name}_{solver}_{label}"] = law(name, solver, rtol)
    config.laws = laws
    config.times.update(stop=300.0, count=200)
    config.probes = ("loss", "scores", "mlp", "drift")
    config.update(words=3, checkpoints=1)
    config.figures = "experiments.cooccurrence.calibration"
    if variant == "xor":
        config.task.update(name="exactly_one", samples=240)
        config.times.stop = 100.0
    if variant == "smoke":
        config.task.update(samples=12, vocabulary=12)
        config.model.update(width=16, neurons=16)
        config.times.update(stop=20.0, count=20)
    return config
