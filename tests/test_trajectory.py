"""Saved times."""

import numpy as np
import pytest

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
