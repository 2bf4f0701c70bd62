"""The origin of numbers, as a record names it."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

# The same numbers come out of the same program where these are the same.
NEEDED = ("versions", "python", "commit", "flags", "device", "machine")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "diffrax", "orbax-checkpoint", "numpy", "zarr", "wandb")


def provenance(dtype: str, config: str, code: Mapping[str, str]) -> dict[str, Any]:
    """The origin of the numbers: versions, commit, device, machine, flags of the compiler, dtype, command and where.

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
        "directory": os.getcwd(),
        "device": f"{device.device_kind} ({device.platform}, {jax.device_count()} in all)",
        "dtype": dtype,
        "flags": os.environ.get("XLA_FLAGS", ""),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def numerics(origin: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of what of a provenance the bits of numbers depend on."""
    content = json.dumps([origin[key] for key in NEEDED], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _processor() -> str:
    """The name of the processor where it is known, since programs are compiled for it."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    root = pathlib.Path(__file__).parent
    try:
        git = functools.partial(subprocess.run, cwd=root, capture_output=True, text=True, check=True)
        commit = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        return commit + ("+changes" if git(["git", "status", "--porcelain", "--untracked-files=no"]).stdout else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
