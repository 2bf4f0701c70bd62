"""What a head reads beside its sink: the bounds, where they are attained, and where they need independent values."""

import numpy as np
import pytest
from scipy import special

from experiments.sink_vs_diagonal import switch

RNG = np.random.default_rng(11)


def read(a, values):
    return np.linalg.norm(np.einsum("...k,...kd->...d", a, values), axis=-1)


def found(a, values, gain=switch.smallest_gain):
    return switch.bounds(a.sum(axis=-1), values, read(a, values), gain(values))


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_the_lower_bound_is_attained_by_equal_attention_to_orthogonal_values_of_equal_size(n):
    values = 1.7 * np.linalg.qr(RNG.normal(size=(7, 7)))[0][:n]
    mass = 0.4
    one = found(np.full(n, mass / n), values)
    np.testing.assert_allclose(one.lower, one.read, rtol=1e-12)
    np.testing.assert_allclose(one.read, mass / np.sqrt(n) * 1.7, rtol=1e-12)


def test_the_upper_bound_is_attained_by_attention_to_the_largest_value():
    values = RNG.normal(size=(4, 6))
    largest = np.linalg.norm(values, axis=1).argmax()
    one = found(0.3 * np.eye(4)[largest], values)
    np.testing.assert_allclose(one.upper, one.read, rtol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(3, 5), (5, 5), (8, 5)])
def test_random_rows_are_inside(n, d):
    a, values = RNG.dirichlet(np.ones(n), size=2000) * RNG.uniform(size=(2000, 1)), RNG.normal(size=(2000, n, d))
    one = found(a, values)
    assert switch.outside(one, np.ones(2000)).max() == 0
    assert (one.lower > 0).all() == (n <= d)


def test_the_smallest_gain_is_a_minimum_over_directions():
    values = RNG.normal(size=(2, 4))
    angle = np.linspace(0, np.pi, 20001)
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(directions @ values, axis=1).min(), switch.smallest_gain(values), rtol=1e-6
    )


def test_where_0_is_in_the_hull_nothing_is_read_whatever_the_sink_takes():
    """±e_1, ..., ±e_d: the listed singular values are all √2, and equal attention reads 0."""
    values = np.concatenate([np.eye(3), -np.eye(3)])
    a = np.full(6, 1 / 6)
    assert read(a, values) == 0 and switch.smallest_gain(values) == 0
    assert switch.outside(found(a, values), np.array(1.0)) == 0
    listed = found(a, values, switch.smallest_listed)
    np.testing.assert_allclose(switch.outside(listed, np.array(1.0)), (2 / 6) ** 0.5)


def test_the_value_of_the_sink_is_what_remains():
    """With v_s = 0 subtracted, a row is inside of its bounds; as it is, a head that is switched off reads v_s."""
    values, sink = RNG.normal(size=(3, 5)), RNG.normal(size=5)
    a, a_s = np.array([1e-6, 2e-6, 0.0]), 1 - 3e-6
    whole = np.einsum("k,kd->d", a, values) + a_s * sink
    inside = switch.bounds(a.sum(), values, np.linalg.norm(whole - a_s * sink), switch.smallest_gain(values))
    as_it_is = switch.bounds(a.sum(), values, np.linalg.norm(whole), switch.smallest_gain(values))
    assert switch.outside(inside, np.array(1.0)) < 1e-15
    assert switch.outside(as_it_is, np.array(1.0)) > 0.1


def sink_mass(W, alignment, signs):
    """The attention to the sink of row i, for both signs of its content; tokens r_j = e_j, c = e_0, the sink e_8."""
    sink, c = np.eye(9)[8], np.eye(9)[0]
    others = alignment * c + (1 - alignment**2) ** 0.5 * np.eye(9)[1:4]
    masses = []
    for sign in signs:
        own = alignment * c + (1 - alignment**2) ** 0.5 * sign * np.eye(9)[4]
        logits = np.stack([sink, *others, own]) @ W.T @ own
        masses.append(special.softmax(logits)[0])
    return np.mean(masses)


def test_without_alignment_the_mean_on_a_sink_is_at_most_a_half():
    """For any W, as large as it may be; near 1/2 for one sign each."""
    largest = max(
        sink_mass(scale * RNG.normal(size=(9, 9)), 0.0, (1, -1)) for scale in (0.1, 1, 10) for _ in range(300)
    )
    assert 0.45 < largest <= 0.5
    assert sink_mass(50 * np.outer(np.eye(9)[0], np.eye(9)[8]), 0.6, (1, -1)) > 0.99
