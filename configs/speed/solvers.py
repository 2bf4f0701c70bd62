"""Work against error of the solvers of flows: one law for every solver and tolerance, beside a reference.

    dynamics run --config=configs/speed/solvers.py[:variant]    3 to 6 minutes on 2 busy cores, as part of make solvers

Variants: figure1 (default), the paper's experiment of arXiv:2410.09605; xor and xor_small, two stiff flows
(configs/cooccurrence/xor.py); training, the transformer of configs/qk_eigenspectrum/training.py; smoke. Explicit
solvers have few tolerances on the stiff flows, since stability decides their work there.
"""

import pathlib

import dynamics
import experiments.cooccurrence.xor  # noqa: F401  (registers the task)
from dynamics.files import load_config

CONFIGS = pathlib.Path(__file__).parents[1]
VARIANTS = ("figure1", "xor", "xor_small", "training", "smoke")
ALL = ("1e-2", "1e-3", "1e-4", "1e-5", "1e-6", "1e-7", "1e-8", "1e-9")
TIGHT = (*ALL, "1e-10")
TOLERANCES = {"tsit5": TIGHT, "dopri8": ALL, "rkc2": ALL, "auto": TIGHT}
STIFF = {**TOLERANCES, "tsit5": ("1e-4", "1e-6", "1e-9"), "dopri8": ("1e-9",)}
# At 1e-2 the explicit solver leaves the solution of the training, and takes ten times as long.
TRAINING = {**TOLERANCES, "tsit5": TIGHT[1:]}
SMOKE = {"tsit5": ("1e-3", "1e-6"), "rkc2": ("1e-3", "1e-6"), "auto": ("1e-3", "1e-6")}
ROUNDS = {"figure1": 3}  # solves that take tenths of a second are repeated; the shortest counts
BASES = {
    "figure1": ("cooccurrence/figure1.py", "kaiming_normal", TOLERANCES),
    "xor": ("cooccurrence/xor.py", "paper", STIFF),
    "xor_small": ("cooccurrence/xor.py", "small", STIFF),
    "training": ("qk_eigenspectrum/training.py", "flow", TRAINING),
    "smoke": ("cooccurrence/xor.py", "smoke", SMOKE),
}


def get_config(variant: str = "figure1"):
    if variant not in VARIANTS:
        raise dynamics.ConfigError("variant", variant, f"must be one of {', '.join(VARIANTS)}")
    file, base, tolerances = BASES[variant]
    config = load_config(CONFIGS / file, base)

    def law(name, solver, rtol):
        return {"name": name, "solver": solver, "rtol": rtol, "atol": rtol / 1000, "max_steps": 100_000}

    laws = {"reference": law("flow", "dopri8", 1e-11)}
    variables = {"weights": "flow", "gram": "gram_flow"}
    if variant in ("training", "smoke"):
        del variables["gram"]
    for kind, name in variables.items():
        for rtol in TIGHT:
            for solver in (solver for solver, of_solver in tolerances.items() if rtol in of_solver):
                for time in range(ROUNDS.get(variant, 1)):
                    # Laws are solved in the order of their names: all solvers of a tolerance one after another, so that
                    # other work on the machine slows them alike.
                    again = f"_{time + 1}" if time else ""
                    laws[f"{kind}_{rtol}_{solver}{again}"] = law(name, solver, float(rtol))
    config.laws = laws
    config.times.count = 60
    config.probes = ("loss", "drift")
    config.update(checkpoints=1, figures="experiments.speed.solvers")
    return config
