"""Work against error of the solvers of flows: one law for every solver and tolerance, beside a reference.

    dynamics run --config=configs/speed/solvers.py[:variant]    1 to 4 minutes on 2 cores, as part of make solvers

Variants: figure1 (default), the paper's experiment of arXiv:2410.09605; xor and xor_small, two stiff flows
(configs/cooccurrence/xor.py); training, the transformer of configs/qk_eigenspectrum/training.py; smoke. Explicit
solvers have few tolerances on xor, since stability decides their work there.
"""

import pathlib

import dynamics
import experiments.cooccurrence.xor  # noqa: F401  (registers the task)
from dynamics.config import load_config

CONFIGS = pathlib.Path(__file__).parents[1]
VARIANTS = ("figure1", "xor", "xor_small", "training", "smoke")
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
FEW = (1e-4, 1e-6, 1e-9)
BASES = {
    "figure1": ("cooccurrence/figure1.py", "kaiming_normal"),
    "xor": ("cooccurrence/xor.py", "paper"),
    "xor_small": ("cooccurrence/xor.py", "small"),
    "training": ("qk_eigenspectrum/training.py", "flow"),
    "smoke": ("cooccurrence/xor.py", "smoke"),
}


def get_config(variant: str = "figure1"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    file, base = BASES[variant]
    config = load_config(CONFIGS / file, base)

    def law(name, solver, rtol):
        return {"name": name, "solver": solver, "rtol": rtol, "atol": rtol / 1000, "max_steps": 100_000}

    laws = {"reference": law("flow", "dopri8", 1e-9 if variant == "xor" else 1e-11)}
    for variables in ("flow",) if variant == "training" else ("flow", "gram_flow"):
        for solver in ("tsit5", "dopri8", "rkc2", "auto"):
            few = variant == "xor" and solver in ("tsit5", "dopri8")
            for rtol in FEW[1:] if few and solver == "dopri8" else FEW if few or variant == "smoke" else TOLERANCES:
                laws[f"{variables}_{solver}_{rtol:.0e}"] = law(variables, solver, rtol)
    config.laws = laws
    config.times.count = 50
    config.probes = ("loss",)
    config.update(checkpoints=1, figures="experiments.speed.solvers")
    return config
