"""The theory of Gaussian tokens against sampling, limits and cases that follow from symmetry."""

import numpy as np
import pytest

from experiments.qk_eigenspectrum import text, theory
from experiments.qk_eigenspectrum.theory import Cell

RANDOM = np.random.default_rng(3)
ROOT = RANDOM.normal(size=(12, 12)) / 4 + np.eye(12)
COVARIANCE = ROOT @ ROOT.T
W = RANDOM.normal(size=(12, 12)) / 3 + 0.4 * np.eye(12)


@pytest.mark.parametrize("walks", [True, False], ids=["walk", "independent"])
def test_moments_of_any_matrix_and_covariance(walks):
    samples, T = 40_000, 8
    z, _ = theory.sampled(W, COVARIANCE, T, samples, 1, walks)
    stated = (theory.walk if walks else theory.independent)(W, COVARIANCE, T)
    assert (np.abs(z.mean(axis=0) - stated.mean) < 4 * np.sqrt(stated.variance / samples)).all()
    np.testing.assert_allclose(z.var(axis=0), stated.variance, rtol=0.1)


def test_crossing_is_exact():
    """Within 3 standard errors of 40 000 walks at every t, for a general matrix and a general covariance."""
    samples, T = 40_000, 8
    z, _ = theory.sampled(W, COVARIANCE, T, samples, 2)
    for t in (1, 4, 7):
        exact = theory.crossing(W, COVARIANCE, T, t)
        share = (z[:, -1] > z[:, t - 1]).mean()
        assert abs(share - exact) < 3 * np.sqrt(exact * (1 - exact) / samples)


def test_the_limit_of_many_dimensions():
    """At t different from T/2, where exchanging t and T − t would show."""
    one = theory.matrix(Cell(1.0, 40.0, 256, 16), 4)
    exact, stated = theory.crossing(one, np.eye(256), 16, 12), theory.crossing_limit(one, np.eye(256), 16)
    assert 0.7 < exact < 0.9 and abs(exact - stated[11]) < 0.01 < abs(stated[3] - stated[11])


def test_an_antisymmetric_matrix_prefers_no_key():
    skew = W - W.T
    assert abs(theory.crossing(skew, np.eye(12), 8, 3) - 0.5) < 1e-9
    np.testing.assert_allclose(theory.crossing_limit(skew, np.eye(12), 8), 0.5, atol=1e-12)


def test_matrices_have_the_moments_that_are_asked_for():
    for skew in (0.0, 2.0):
        W = theory.matrix(Cell(0.7, 3.0, 40, 8, skew), 5)
        eigenvalues = np.linalg.eigvalsh((W + W.T) / 2)
        np.testing.assert_allclose([eigenvalues.mean(), eigenvalues.var()], [0.7, 3.0], rtol=1e-10)
        np.testing.assert_allclose(np.linalg.norm(W - W.T) / (2 * np.sqrt(40)), skew, atol=1e-12)


def test_geometric_entropy():
    g, T = 0.3, 9
    p = np.exp(g * np.arange(1, T + 1))
    p /= p.sum()
    np.testing.assert_allclose(theory.geometric_entropy(g, T), -(p * np.log(p)).sum(), rtol=1e-12)
    np.testing.assert_allclose(theory.geometric_entropy(0.0, T), np.log(T), rtol=1e-12)
    assert theory.geometric_entropy(50.0, T) < 1e-18


def test_verses_and_books():
    assert text.from_verses("Ge1:1 In the beginning\n1Sa2:3 Talk no more\n") == "In the beginning\nTalk no more\n"
    book = "legal\n*** START OF THE BOOK ***\nstory\n*** END OF THE BOOK ***\nlegal"
    assert text.from_file(book) == "\nstory\n" and text.from_file("story") == "story"
