"""The theory of Gaussian tokens against sampling, limits and cases that follow from symmetry."""

import jax
import numpy as np
import pytest
from scipy import stats

from experiments.qk_eigenspectrum import text, theory
from experiments.qk_eigenspectrum.theory import Cell

RANDOM = np.random.default_rng(3)
ROOT = RANDOM.normal(size=(12, 12)) / 4 + np.eye(12)
COVARIANCE = ROOT @ ROOT.T
W = RANDOM.normal(size=(12, 12)) / 3 + 0.4 * np.eye(12)


@pytest.mark.parametrize("walks", [True, False], ids=["walk", "independent"])
def test_moments_of_any_matrix_and_covariance(walks):
    samples, T = 40_000, 8
    z, _ = theory.sampled(W, COVARIANCE, T, samples, jax.random.key(1), walks)
    stated = (theory.walk if walks else theory.independent)(W, COVARIANCE, T)
    assert (np.abs(z.mean(axis=0) - stated.mean) < 4 * np.sqrt(stated.variance / samples)).all()
    np.testing.assert_allclose(z.var(axis=0), stated.variance, rtol=0.1)


def test_crossing_is_exact():
    """Within 3 standard errors of 40 000 walks at every t, for a general matrix and a general covariance."""
    samples, T = 40_000, 8
    z, _ = theory.sampled(W, COVARIANCE, T, samples, jax.random.key(2))
    for t in (1, 4, 7):
        exact = theory.crossing(W, COVARIANCE, T, t)
        share = (z[:, -1] > z[:, t - 1]).mean()
        assert abs(share - exact) < 3 * np.sqrt(exact * (1 - exact) / samples)


RANKS = (1, 2, 3, 8, 64)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("t", [1, 4, 7])
def test_crossing_in_closed_form_at_every_rank(rank, t):
    """W a projector of this rank, T = 8: z_T − z_t = p χ²_r − q χ'²_r, so that P is a tail of Fisher's F(r, r).

    p and −q are the eigenvalues (D ± √(D² + tD))/2, D = T − t, of one pair of coordinates of the step and the walk.
    """
    T = 8
    D = T - t
    p, q = (D + np.sqrt(D * T)) / 2, (np.sqrt(D * T) - D) / 2
    basis, _ = np.linalg.qr(RANDOM.normal(size=(64, rank)))
    stated = stats.f.sf(q / p, rank, rank)
    assert abs(theory.crossing(basis @ basis.T, np.eye(64), T, t) - stated) < 1e-11


def test_crossing_at_rank_one():
    """¾ at t = T/2 for W = aaᵀ, and ½ + arcsin(c)/π for W = abᵀ, c the correlation of δᵀa and bᵀx_T."""
    a, b = RANDOM.normal(size=(2, 12)) + 0.5
    assert abs(theory.crossing(np.outer(a, a), COVARIANCE, 8, 4) - 0.75) < 1e-11
    assert abs(theory.crossing_limit(np.outer(a, a), COVARIANCE, 8)[3] - stats.norm.cdf(1 / np.sqrt(3))) < 1e-12
    sizes = np.sqrt((a @ COVARIANCE @ a) * (b @ COVARIANCE @ b))
    for t in (1, 3, 7):
        c = np.sqrt((8 - t) / 8) * (a @ COVARIANCE @ b) / sizes
        assert abs(theory.crossing(np.outer(a, b), COVARIANCE, 8, t) - (0.5 + np.arcsin(c) / np.pi)) < 1e-11


def test_a_form_of_a_thousand_variables():
    """Fisher's F at 500 against 500 degrees, and a form without negative eigenvalues."""
    eigenvalues = np.concatenate([np.full(500, 1.0), np.full(500, -1.1)])
    assert abs(theory.positive(eigenvalues) - stats.f.sf(1.1, 500, 500)) < 1e-11
    for size in (1, 2, 1000):
        assert abs(theory.positive(np.ones(size)) - 1) < 1e-11


def test_the_limit_needs_a_small_operator_norm():
    """A spectrum of 3 and −1 in the ratio 1 : 3, and a mean ∝ 1/√r: |P − Φ| is of the order of op/F, ∝ r^(−1/2)."""
    errors, shares = [], []
    for quarter in (16, 64, 256):
        rank = 4 * quarter
        W = np.repeat([3.0, -1.0], [quarter, 3 * quarter]) + 2 / np.sqrt(rank)
        # The eigenvalues of the form at t = T/2, up to a factor.
        pairs = np.concatenate([W * (1 + np.sqrt(2)), W * (1 - np.sqrt(2))])
        errors.append(abs(theory.positive(pairs) - stats.norm.cdf(W.sum() / np.sqrt(3 * np.sum(W**2)))))
        shares.append(theory.operator_share(np.diag(W), np.eye(rank)))
    orders = np.diff(np.log(errors)) / np.diff(np.log(shares))
    assert (np.abs(orders - 1) < 0.15).all()


def test_the_limit_of_many_dimensions():
    """At t different from T/2, where exchanging t and T − t would show."""
    one = theory.matrix(Cell.of(1.0, 40.0, 256, 16), 4)
    exact, stated = theory.crossing(one, np.eye(256), 16, 12), theory.crossing_limit(one, np.eye(256), 16)
    assert 0.7 < exact < 0.9 and abs(exact - stated[11]) < 0.01 < abs(stated[3] - stated[11])


def test_an_antisymmetric_matrix_prefers_no_key():
    skew = W - W.T
    assert abs(theory.crossing(skew, np.eye(12), 8, 3) - 0.5) < 1e-9
    np.testing.assert_allclose(theory.crossing_limit(skew, np.eye(12), 8), 0.5, atol=1e-12)


def test_matrices_have_the_moments_that_are_asked_for():
    for skew in (0.0, 2.0):
        W = theory.matrix(Cell.of(0.7, 3.0, 40, 8, skew), 5)
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
