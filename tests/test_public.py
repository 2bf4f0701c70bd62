"""The public names, and the settings that importing the package makes."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

import dynamics


def python(code, **environment):
    """The output of a new Python process."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "EQX_", "SLURM_"))}
    path = {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", code]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, env={**kept, **path, **environment})
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_every_public_name_is_there():
    assert dir(dynamics) == dynamics.__all__ and len(set(dir(dynamics))) == len(dir(dynamics))
    for name in dir(dynamics):
        assert getattr(dynamics, name) is not None, name
    with pytest.raises(AttributeError, match="nosuch"):
        dynamics.nosuch  # noqa: B018


def test_everything_registered_is_public():
    public = {id(getattr(dynamics, name)) for name in dir(dynamics)}
    for registry in (dynamics.LAWS, dynamics.TASKS, dynamics.MODELS):
        shipped = [one for one in registry.values() if one.__module__.startswith("dynamics.")]
        assert shipped and all(id(one) in public for one in shipped), shipped


def test_names_are_listed_without_importing_jax():
    assert (
        python("import dynamics, sys; dir(dynamics); print('jax' in sys.modules, 'numpy' in sys.modules)")
        == "False False"
    )


@pytest.mark.slow  # `make check` runs mypy over the whole package
def test_a_type_checker_sees_types(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import dynamics\nreveal_type(dynamics.GradientFlow)\ndynamics.nosuch\ndynamics.seeds('a')\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={ROOT / '.mypy_cache'}", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    ).stdout
    assert "-> dynamics.laws.flow.GradientFlow" in checked and 'no attribute "nosuch"' in checked, checked
    assert 'Argument 1 to "seeds" has incompatible type "str"' in checked and "2 errors" in checked, checked


SETTINGS = (
    "import os; print(*(os.environ[k] for k in "
    "('EQX_ON_ERROR', 'JAX_ENABLE_X64', 'JAX_DEFAULT_MATMUL_PRECISION', 'JAX_NUM_CPU_DEVICES')))"
)


def test_settings():
    assert python(f"import dynamics; {SETTINGS}", SLURM_CPUS_PER_TASK="3") == "nan True highest 3"
    own = {"EQX_ON_ERROR": "raise", "JAX_ENABLE_X64": "0", "JAX_NUM_CPU_DEVICES": "5"}
    assert python(f"import dynamics; {SETTINGS}", **own) == "raise 0 highest 5"


def test_settings_after_jax_was_imported():
    values = "jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision, jax.device_count()"
    assert (
        python(f"import jax, dynamics; print({values})", SLURM_CPUS_PER_TASK="3", JAX_PLATFORMS="cpu")
        == "True highest 3"
    )


def test_no_affinity_of_processes():
    """Python on macOS has no os.sched_getaffinity."""
    removed = f"import os; del os.sched_getaffinity; import dynamics; dynamics.Times; {SETTINGS}"
    assert python(removed) == f"nan True highest {os.cpu_count()}"


@pytest.mark.parametrize("flags", ["", "--xla_cpu_enable_fast_math=false"])
def test_programs_are_compiled_at_level_2_unless_told_otherwise(monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    for _ in range(2):  # a process that this one starts asks for it again
        dynamics.environment.prepare()
        assert os.environ["XLA_FLAGS"].split() == [*flags.split(), "--xla_backend_optimization_level=2"]
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    dynamics.environment.prepare()
    assert os.environ["XLA_FLAGS"] == "--xla_backend_optimization_level=0"
