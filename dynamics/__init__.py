"""A laboratory for transformer training dynamics.

Symbols: d words in the vocabulary, m the width of queries, keys and values, m1 neurons of the MLP, H heads, L words in
a sample, n samples; W_Q, W_K, W_V [H m, d] and W [m1, m] train, a [m1] is fixed; F the output, y = ±1 the label,
g = 1/(1 + exp(y F)); G(μ) = aᵀ W W_V μ. Time is t = η·k, with η the step and k the number of steps.

Axis letters in names: N samples, L positions, K keys, Q queries, T times (or types, in tasks and probes), H heads.
"""

import contextlib
import os

# diffrax checks traced save times by a host callback, which keeps a program out of the persistent compile cache. Our
# times are checked when their grid is made, and a solve's outcome is its result code; a bad time would give nan.
os.environ.setdefault("EQX_ON_ERROR", "nan")

import jax

# Flows and claims need float64; a config that asks for float32 gets it for its own arrays. An accelerator's default
# matrix products are of lower precision (TF32) and inflate adaptive step counts: full precision everywhere.
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_matmul_precision", "highest")

# Every core is a device, over which the members of an ensemble are spread; a single run does not notice. A process
# whose devices are in use already keeps them.
if "JAX_NUM_CPU_DEVICES" not in os.environ:
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)

from dynamics.config import ConfigError, base  # noqa: E402
from dynamics.experiment import Experiment, solve  # noqa: E402
from dynamics.laws import LAWS, GradientDescent, GradientFlow, Law, Optimizer, StochasticGradientDescent  # noqa: E402
from dynamics.models import MODELS, Initialisation, OneLayerTransformer  # noqa: E402
from dynamics.objective import Objective  # noqa: E402
from dynamics.probes import PROBES  # noqa: E402
from dynamics.record import Record, load  # noqa: E402
from dynamics.run import execute  # noqa: E402
from dynamics.tasks import TASKS, Cooccurrence  # noqa: E402
from dynamics.trajectory import Times, Trajectory, joined  # noqa: E402

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
    "Times",
    "Trajectory",
    "base",
    "execute",
    "joined",
    "load",
    "solve",
]
