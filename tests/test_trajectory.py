"""Saved times and the operational T1."""

import numpy as np
import pytest

import dynamics
from dynamics.trajectory import classification_time, zero_crossing


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


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        ([-1, 1, 2, 3], 1.0),
        ([-1, 1, -1, 3], 3.0),
        ([1, 1, 1, 1], 0.0),
        ([-1, -1, 1, 0], np.nan),
        ([-1, 1, 1, np.nan], np.nan),
    ],
)
def test_classified_and_staying_so(margin, expected):
    np.testing.assert_equal(classification_time(np.arange(4.0), np.array(margin, float)), expected)


def test_zero_crossing():
    """Exact for a margin that is linear between saved times, and within the interval that ends at T1."""
    t = np.array([0.0, 1.0, 3.0, 4.0])
    assert zero_crossing(t, np.array([-1.0, -1.0, 3.0, 5.0])) == 1.5
    assert zero_crossing(t, np.array([-1.0, 1.0, -1.0, 1.0])) == 3.5
    assert zero_crossing(t, np.array([1.0, 1.0, 1.0, 1.0])) == 0.0
    assert np.isnan(zero_crossing(t, np.array([1.0, 1.0, 1.0, -1.0])))
