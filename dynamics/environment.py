"""Every setting of jax, XLA and equinox that this package makes; settings of the user win."""

import atexit
import contextlib
import gc
import os
import pathlib
import sys


def prepare() -> None:
    """Make the settings that the numbers depend on; `import dynamics` calls it.

    EQX_ON_ERROR=nan: diffrax checks traced times by a host callback, which keeps a program out of the persistent
    compile cache. Our times are checked when their grid is made, and a bad time would give nan.

    JAX_ENABLE_X64: flows and claims need float64; a config that asks for float32 gets it for its own arrays.

    JAX_DEFAULT_MATMUL_PRECISION=highest: the default matrix products of an accelerator (TF32) are less precise and
    inflate the step counts of adaptive solvers.

    JAX_NUM_CPU_DEVICES: every core is a device, and the members of an ensemble are spread over them.

    XLA_FLAGS: LLVM optimises at level 2: compilation takes less time than at level 3, and no program here runs slower
    (experiments/speed/history.md). XLA reads the flags when jax uses its first device, and another level rounds some
    sums differently: they must be set before anything else can do so.
    """
    flags, level = os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level"
    if level not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {level}=2".strip()
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    settings = {
        "jax_enable_x64": True,
        "jax_default_matmul_precision": "highest",
        "jax_num_cpu_devices": int(os.environ.get("SLURM_CPUS_PER_TASK") or _cores()),
    }
    for setting, value in settings.items():
        if "jax" not in sys.modules:  # importing it takes seconds, and some commands need no arrays
            os.environ.setdefault(setting.upper(), str(value))
        elif setting.upper() not in os.environ:
            with contextlib.suppress(RuntimeError):  # the number of devices cannot change once they are in use
                sys.modules["jax"].config.update(setting, value)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no such function
        return os.cpu_count() or 1


def collect_rarely() -> None:
    """Let Python look for unused cycles of objects after 100 000 new objects instead of 700, and not at the end.

    For commands. Importing and tracing make objects that stay: looking through them again and again takes a fifth of
    that time, and when Python ends almost a second.
    """
    gc.set_threshold(100_000, 10, 10)
    atexit.unregister(gc.freeze)  # of a command before, in the same process
    atexit.register(gc.freeze)


def use_compile_cache() -> None:
    """Store compiled programs in ~/.cache/dynamics, where the next process finds them; for commands."""
    import jax

    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "dynamics"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
