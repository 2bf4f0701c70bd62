"""A laboratory for transformer training dynamics.

Symbols: d words in the vocabulary, m the width of queries, keys and values, m1 neurons of the MLP, H heads, L words in
a sample, n samples; W_Q, W_K, W_V [H m, d] and W [m1, m] train, a [m1] is fixed; F the output, y = ±1 the label,
g = 1/(1 + exp(y F)); G(μ) = aᵀ W W_V μ. Time is t = η·k, with η the step and k the number of steps.

Axis letters in names: N samples, L positions, K keys, Q queries, T times (or types, in tasks and probes), X layers,
H heads, D words, M the width, E its share of a head, J neurons.
"""

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

# diffrax checks traced save times by a host callback, which keeps a program out of the persistent compile cache. Our
# times are checked when their grid is made, and a solve's outcome is its result code; a bad time would give nan.
os.environ.setdefault("EQX_ON_ERROR", "nan")

# Flows and claims need float64; a config that asks for float32 gets it for its own arrays. An accelerator's default
# matrix products are of lower precision (TF32) and inflate adaptive step counts: full precision everywhere. Every core
# is a device, over which the members of an ensemble are spread; a single run does not notice.
_cores = os.environ.get("SLURM_CPUS_PER_TASK") or len(os.sched_getaffinity(0))
SETTINGS = {
    "jax_enable_x64": True,
    "jax_default_matmul_precision": "highest",
    "jax_num_cpu_devices": _cores,
}
for _setting, _value in SETTINGS.items():
    if "jax" not in sys.modules:  # it takes seconds to import, and some commands need no arrays
        os.environ.setdefault(_setting.upper(), str(_value))
    elif _setting.upper() not in os.environ:
        with contextlib.suppress(RuntimeError):  # a process whose devices are in use keeps them
            sys.modules["jax"].config.update(_setting, _value)

if TYPE_CHECKING:
    from dynamics.config import ConfigError, base
    from dynamics.laws import LAWS, GradientDescent, GradientFlow, Law, Optimizer, StochasticGradientDescent
    from dynamics.models import MODELS, Initialisation, OneLayerTransformer
    from dynamics.objectives.objective import Objective
    from dynamics.probes import PROBES
    from dynamics.runs.experiment import Experiment
    from dynamics.runs.programs import solve
    from dynamics.runs.record import Record
    from dynamics.runs.run import execute
    from dynamics.sweeps.results import SweepRecord, load
    from dynamics.tasks import TASKS, Cooccurrence
    from dynamics.trajectory import Times, Trajectory, joined

_HOME = {
    "config": ("ConfigError", "base"),
    "runs.experiment": ("Experiment",),
    "laws": ("LAWS", "GradientDescent", "GradientFlow", "Law", "Optimizer", "StochasticGradientDescent"),
    "models": ("MODELS", "Initialisation", "OneLayerTransformer"),
    "objectives.objective": ("Objective",),
    "probes": ("PROBES",),
    "runs.programs": ("solve",),
    "runs.record": ("Record",),
    "sweeps.results": ("SweepRecord", "load"),
    "runs.run": ("execute",),
    "tasks": ("TASKS", "Cooccurrence"),
    "trajectory": ("Times", "Trajectory", "joined"),
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"dynamics.{module}"), name)
    raise AttributeError(f"module 'dynamics' has no attribute {name!r}")


__all__ = [
    "LAWS",
    "MODELS",
    "PROBES",
    "TASKS",
    "ConfigError",
    "Cooccurrence",
    "Experiment",
    "GradientDescent",
    "GradientFlow",
    "Initialisation",
    "Law",
    "Objective",
    "OneLayerTransformer",
    "Optimizer",
    "Record",
    "StochasticGradientDescent",
    "SweepRecord",
    "Times",
    "Trajectory",
    "base",
    "execute",
    "joined",
    "load",
    "solve",
]
