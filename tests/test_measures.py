"""Measures of attention, matrices and tokens where they are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.analysis import attention as measures
from dynamics.models.attention import Causal, Softmax

L = 6


def causal(scores):
    """P [key, query, n] of scores [query, key], one sample."""
    p = Softmax()(jnp.asarray(scores), Causal()(L))
    return jnp.asarray(np.asarray(p).T[:, :, None])


def test_uniform_attention():
    p = causal(np.zeros((L, L)))
    seen = np.arange(1, L + 1)
    np.testing.assert_allclose(measures.entropy(p), np.log(seen).mean(), rtol=1e-14)
    np.testing.assert_allclose(measures.mean_distance(p), ((seen - 1) / 2).mean(), rtol=1e-14)
    for window in (1, 3):
        np.testing.assert_allclose(measures.within(p, window), (np.minimum(window, seen) / seen).mean(), rtol=1e-14)


def test_attention_to_one_key():
    q = np.arange(L)
    for back in (0, 2):
        p = np.zeros((L, L, 1))
        p[np.maximum(q - back, 0), q] = 1
        assert float(measures.entropy(jnp.asarray(p))) == 0
        distance = np.minimum(back, q)
        np.testing.assert_allclose(measures.mean_distance(jnp.asarray(p)), distance.mean())
        for measure in (measures.within, measures.peak_within):
            np.testing.assert_allclose(measure(jnp.asarray(p), 1), (distance < 1).mean())
            np.testing.assert_allclose(measure(jnp.asarray(p), 2), (distance < 2).mean())


def test_the_peak_is_not_the_mass():
    """0.4 on the query's own position, 0.3 on each of two others: the peak is local, most of the mass is not."""
    p = np.zeros((L, L, 1))
    p[:, 5, 0] = (0.3, 0.3, 0, 0, 0, 0.4)
    p[0, :5] = 1
    one = jnp.asarray(p[:, 5:])
    p_query = jnp.concatenate([jnp.zeros((L, 5, 1)), one], axis=1)
    own = np.asarray(measures.within(p_query, 1)) * L
    np.testing.assert_allclose(own, 0.4)
    peaks = np.asarray(measures.peak_within(jnp.asarray(p), 1)) * L
    assert peaks == 2  # query 0, which sees itself alone, and query 5


def test_sinks_and_diagonals():
    """Two queries, the first sees key 0 alone; the second pays 0.2 to key 0 and 0.5 to itself, and 0.3 to a sink."""
    p = jnp.array([[1.0, 0.2], [0.0, 0.5]])[:, :, None]
    np.testing.assert_allclose(measures.on_key(p, 0)[:, 0], [1, 0.2])
    np.testing.assert_allclose(measures.on_key(p, 1)[:, 0], [0, 0.5])
    np.testing.assert_allclose(measures.on_self(p)[:, 0], [1, 0.5])
    np.testing.assert_allclose(measures.unspent(p)[:, 0], [0, 0.3], atol=1e-15)
    np.testing.assert_allclose(measures.shares(p)[:, 1, 0], [0.2 / 0.7, 0.5 / 0.7])
    assert not measures.shares(jnp.zeros((2, 2, 1))).any()
    v = jnp.array([[3.0, 4.0], [0.0, 1.0]])[:, :, None]
    np.testing.assert_allclose(measures.reads(p, v)[:, :, 0], [[3, 4], [0.6, 1.3]])


def test_the_norm_of_one_value():
    """5 against the median of 1, 2, 9, which is 2: three other keys of one sample."""
    v = jnp.array([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [9.0, 0.0]])[:, :, None]
    np.testing.assert_allclose(measures.norm_ratio(v, 0), 2.5)
    np.testing.assert_allclose(measures.norm_ratio(v, 1), 1 / 5)


def test_spectra_of_known_matrices():
    angle = 0.3
    rotation = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(
        np.sort(measures.spectrum(rotation), axis=0),
        [[2 * np.cos(angle), -2 * np.sin(angle)], [2 * np.cos(angle), 2 * np.sin(angle)]],
        rtol=1e-12,
    )
    # Mean 2 cos, the mean of (λ − m)² is −(2 sin)², tr W² = 8 cos 2θ and ‖W‖² = 8.
    stated = [2 * np.cos(angle), -4 * np.sin(angle) ** 2, np.cos(2 * angle), 4]
    np.testing.assert_allclose(measures.moments(jnp.asarray(rotation)), stated, rtol=1e-12)
    np.testing.assert_allclose(measures.moments(jnp.asarray([[0.0, 1.0], [-1.0, 0.0]]))[2], -1)


def test_a_matrix_that_is_not_finite_has_no_spectrum():
    """And harms no other."""
    W = np.stack([np.full((3, 3), np.inf), np.diag([3.0, 1.0, 2.0])])
    parts = measures.spectrum(W)
    assert np.isnan(parts[0]).all()
    np.testing.assert_array_equal(parts[1, :, 0], [3, 2, 1])


def test_moments_are_those_of_the_spectrum():
    W = np.random.default_rng(0).normal(size=(2, 3, 7, 7))
    parts = measures.spectrum(W)
    eigenvalues = parts[..., 0] + 1j * parts[..., 1]
    assert (np.diff(parts[..., 0]) <= 1e-12).all()
    mean, variance, normality, size = np.moveaxis(np.asarray(measures.moments(jnp.asarray(W))), -1, 0)
    np.testing.assert_allclose(mean, eigenvalues.mean(-1).real, rtol=1e-10, atol=1e-12)
    centred = eigenvalues - eigenvalues.mean(-1, keepdims=True)
    np.testing.assert_allclose(variance, (centred**2).mean(-1).real, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(normality * size * 7, (eigenvalues**2).sum(-1).real, rtol=1e-9, atol=1e-11)
    assert (np.abs(normality) <= 1).all()


def test_ranks():
    np.testing.assert_allclose(measures.effective_rank(jnp.eye(5)), 5, rtol=1e-12)
    one = jnp.outer(jnp.arange(1.0, 4.0), jnp.arange(1.0, 6.0))
    np.testing.assert_allclose(measures.effective_rank(one), 1, rtol=1e-12)
    assert [float(measures.numerical_rank(X)) for X in (jnp.eye(5), one)] == [5, 1]
    np.testing.assert_allclose(measures.effective_rank(jnp.diag(jnp.array([3.0, 1.0]))), 4 / 3**0.75, rtol=1e-12)


@pytest.mark.parametrize("rows", [4, 9])
def test_similarity(rows):
    X = np.asarray(jax.random.normal(jax.random.key(0), (rows, 5)))
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[~np.eye(rows, dtype=bool)]
    np.testing.assert_allclose(measures.similarity(jnp.asarray(X)), cosines.mean(), rtol=1e-12)
    np.testing.assert_allclose(measures.similarity(jnp.ones((rows, 5))), 1, rtol=1e-12)
