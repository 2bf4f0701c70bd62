"""The command `dynamics doctor`: what this machine has, and a self-test against a stored answer, on one screen."""

import argparse
import importlib.util
import os
import pathlib
import platform
import shutil
import time
from collections.abc import Mapping
from typing import Any

import jax

from dynamics.cli.status import print_table
from dynamics.config import base, plain
from dynamics.environment import use_compile_cache
from dynamics.runs.engine import solve
from dynamics.runs.experiment import Experiment
from dynamics.runs.origin import provenance

# The losses of the self-test at t = 1, of gradient flow and after ten steps of gradient descent.
ANSWER = {"flow": 0.140177555197, "gd": 0.137907838150}
ALLOWED = 1e-11  # relative difference, of which 4e-12 is the rounding of the answer to 12 digits


def doctor(arguments: argparse.Namespace) -> int:
    """Print what this machine has; 1 if the self-test fails."""
    del arguments
    use_compile_cache()
    settings: Any = jax.config
    here = pathlib.Path.cwd()
    disk = shutil.disk_usage(here)
    origin = provenance("", "", {})
    rows = [
        ("commit", origin["commit"]),
        ("python", f"{origin['python']} on {platform.platform()}, {origin['machine']}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in origin["versions"].items())),
        ("devices", origin["device"]),
        ("dtype", "float64" if settings.jax_enable_x64 else "float32 only: JAX_ENABLE_X64 is off"),
        ("matrix products", f"precision {settings.jax_default_matmul_precision}"),
        ("compiled programs", str(settings.jax_compilation_cache_dir)),
        ("wandb", os.environ.get("WANDB_MODE") or f"{base().wandb.mode}, unless a config says otherwise"),
        ("free disk", f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB in {here}"),
        ("SLURM", _slurm()),
    ]
    begin = time.monotonic()
    losses = measured()
    wrong = compared(losses)
    rows.append(("self-test", f"{wrong or 'passed'} ({time.monotonic() - begin:.1f} s)"))
    print_table(("", ""), rows)
    return int(bool(wrong))


def _slurm() -> str:
    submitit = importlib.util.find_spec("submitit")
    return (
        f"{shutil.which('sbatch') or 'not seen, no sbatch on the PATH'}; submitit {'' if submitit else 'not '}installed"
    )


def measured() -> dict[str, float]:
    """The losses of the self-test on this machine."""
    config = base()
    config.task = {"name": "cooccurrence", "samples": 6, "length": 3, "vocabulary": 5, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 4, "neurons": 4}
    config.init = {"name": "normal", "std": 0.5}
    config.laws = {
        "flow": {"name": "flow", "solver": "dopri8", "rtol": 1e-12, "atol": 1e-14},
        "gd": {"name": "gd", "learning_rate": 0.1},
    }
    config.times = {"spacing": "given", "given": (1.0,)}
    config.update(probes=("loss",), checkpoints=1, words=3)
    experiment = Experiment.from_config(plain(config))
    return {law: float(solve(experiment, law).probes["loss"][-1]) for law in experiment.laws}


def compared(losses: Mapping[str, float]) -> str:
    """Which losses are not those of the stored answer, in one line; empty if all are."""
    wrong = [
        f"{law}: the loss is {loss:.12g} and should be {ANSWER[law]:.12g}"
        for law, loss in losses.items()
        if not abs(loss - ANSWER[law]) <= ALLOWED * ANSWER[law]
    ]
    return f"FAILED, {'; '.join(wrong)}" if wrong else ""
