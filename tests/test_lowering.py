"""Every program of every shipped config lowers for CPUs, NVIDIA GPUs and TPUs, none of which has to be there."""

from concurrent.futures import Future

import numpy as np
import pytest
from test_configs import FILES, module

import dynamics
from dynamics.runs import engine, programs
from dynamics.runs.path import Path

PLATFORMS = ("cpu", "cuda", "tpu")


@pytest.fixture
def lowered(monkeypatch):
    """What lowers for all platforms in place of what compiles: the programs."""
    programs_ = []

    def lower(traced):
        programs_.append(traced.lower(lowering_platforms=PLATFORMS))
        done = Future()
        done.set_result((None, 0.0))
        return done

    monkeypatch.setattr(programs, "_compiling", lower)
    programs.compiled_paths.cache_clear()
    yield programs_
    programs.compiled_paths.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_for_every_platform(lowered, file):
    experiment = dynamics.Experiment.from_config(module(file).get_config("smoke").to_dict())
    for law in experiment.laws:
        engine.Program(Path(experiment, law), 1)
    assert lowered


@pytest.mark.slow
def test_many_at_once(lowered):
    """The programs of sweeps, one path after another on each device or all at once."""
    config = module(next(file for file in FILES if file.stem == "figure1")).get_config("smoke")
    experiment = dynamics.Experiment.from_config(config.to_dict())
    for strategy in programs.STRATEGIES:
        for law in experiment.laws:
            engine.Program(Path(experiment, law), 2, strategy)
    assert len(lowered) == 2 * len(experiment.laws)


def test_what_no_platform_may_lack(lowered, monkeypatch):
    """A probe that only CPUs have a program for is found."""
    import jax.numpy as jnp

    def eigenvalues(params, view):
        return jnp.linalg.eigvals(view.objective.apply(params, method="score_matrices")).real

    monkeypatch.setitem(
        dynamics.PROBES, "eigenvalues", dynamics.probes.Probe("eigenvalues", ("layer", "head", "mode"), eigenvalues)
    )
    config = module(next(file for file in FILES if file.stem == "locater")).get_config("smoke")
    config.probes = ("eigenvalues",)
    experiment = dynamics.Experiment.from_config(config.to_dict())
    with pytest.raises(NotImplementedError, match="tpu"):
        engine.Program(Path(experiment, "adam"), 1)
    assert not lowered


def test_devices_without_float64_are_refused(monkeypatch):
    """Pairs of float32 have neither the precision nor the range; each is found alone."""

    def tried(values, small):
        return np.array([np.dot(values, values) * (1 + 2.0**-44), small * 2.0**500])

    def out_of_range(values, small):
        return np.array([np.dot(values, values), 0.0])

    programs.check_float64.__wrapped__("cpu")
    for wrong in (tried, out_of_range):
        monkeypatch.setattr(programs, "_tried", wrong)
        with pytest.raises(dynamics.ConfigError, match=r"dtype = 'float64': must be 'float32' here"):
            programs.check_float64.__wrapped__("tpu")
