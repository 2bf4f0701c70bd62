"""The origin of numbers, as a record names it."""

import functools
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "diffrax", "orbax-checkpoint", "numpy", "zarr", "wandb")


def provenance(dtype: str, config: str, code: Mapping[str, str]) -> dict[str, Any]:
    """The origin of the numbers: versions, commit, device, dtype and command.

    Args:
        dtype: of the arrays.
        config: the hash of the config or of the members.
        code: {module of a user: hash}; see dynamics.runs.identity.
    """
    device = jax.devices()[0]
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "config": config,
        "code": dict(code),
        "commit": _commit(),
        "device": f"{device.device_kind} ({device.platform}, {jax.device_count()} in all)",
        "dtype": dtype,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def _commit() -> str:
    root = pathlib.Path(__file__).parent
    try:
        git = functools.partial(subprocess.run, cwd=root, capture_output=True, text=True, check=True)
        commit = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        return commit + ("+changes" if git(["git", "status", "--porcelain", "--untracked-files=no"]).stdout else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
