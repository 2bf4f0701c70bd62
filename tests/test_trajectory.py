"""Saved times, and the steps that share them."""

import numpy as np
import pytest
from conftest import small_config

import dynamics


def test_linear():
    np.testing.assert_allclose(dynamics.Times("linear", stop=3.0, count=6).grid(), np.arange(7) * 0.5)


def test_logarithmic():
    t = dynamics.Times("logarithmic", start=0.1, stop=1000.0, count=5).grid()
    np.testing.assert_allclose(t, [0, 0.1, 1, 10, 100, 1000])


def test_given():
    np.testing.assert_array_equal(dynamics.Times("given", given=(1.0, 5.0)).grid(), [0, 1, 5])


@pytest.mark.parametrize("spacing", ["linear", "logarithmic"])
@pytest.mark.parametrize("step", [0.01, 0.003, 0.25])
def test_multiples_of_the_step(spacing, step):
    t = dynamics.Times(spacing, start=0.01, stop=300.0, count=200).grid(step)
    k = t / step
    np.testing.assert_allclose(k, np.rint(k), atol=1e-6)
    assert len(t) == 201 and t[0] == 0 and (np.diff(np.rint(k)) >= 1).all()
    assert abs(t[-1] - 300) <= step / 2


def times(**changes):
    return dynamics.Experiment.from_config(small_config(**{"times.count": 6, **changes})).times


@pytest.mark.parametrize("spacing", ["linear", "logarithmic"])
def test_experiments_with_different_steps_have_the_same_times(spacing):
    """With times.multiple_of; without it, times are multiples of the step itself."""
    grids = [times(step=step, **{"times.spacing": spacing, "times.multiple_of": 0.2}) for step in (0.2, 0.1, 0.025)]
    for grid in grids:
        np.testing.assert_array_equal(grid, grids[0])
        np.testing.assert_allclose(grid / 0.2, np.rint(grid / 0.2), atol=1e-9)
    np.testing.assert_array_equal(times(**{"times.spacing": spacing, "laws.gd.learning_rate": 0.2}), grids[0])
    assert not np.array_equal(times(step=0.025, **{"times.spacing": spacing}), grids[0])


def test_a_step_is_that_of_every_law_that_makes_steps():
    laws = {"flow": {"name": "flow"}, "gd": {"name": "gd", "learning_rate": 0.05}}
    laws["heavy_ball"] = {"name": "heavy_ball", "learning_rate": 0.0125, "momentum": 0.75}
    experiment = dynamics.Experiment.from_config(small_config(laws=laws, step=0.1))
    assert experiment.laws["gd"].learning_rate == 0.1 and experiment.laws["flow"].step is None
    np.testing.assert_allclose(experiment.laws["heavy_ball"].learning_rate, 0.1 * 0.25, rtol=1e-15)
    assert dynamics.Experiment.from_config(small_config(laws=laws)).laws["gd"].learning_rate == 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"step": 0.03, "times.multiple_of": 0.2},
            r"step = 0\.03: must divide the largest step, 0\.2, so that all laws",
        ),
        ({"step": 0.4, "times.multiple_of": 0.2}, r"step = 0\.4: must divide the largest step, 0\.2"),
        ({"times.multiple_of": 0.12}, r"laws\.gd\.learning_rate = 0\.05: must divide the largest step, 0\.12"),
        ({"step": 0.0}, r"step = 0\.0: must be positive"),
        ({"times.multiple_of": -0.1}, r"times\.multiple_of = -0\.1: must be positive"),
    ],
)
def test_impossible_steps(changes, message):
    with pytest.raises(dynamics.ConfigError, match=f"^{message}"):
        times(**changes)
