"""The statistics of the second paper's claims: pooled seeds, the Šidák bound, low rank, and one stated time."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from experiments.qk_eigenspectrum import measures, measures_training, sampling
from experiments.qk_eigenspectrum.theory import Cell

CELLS = [(1.0, 0.0, 32, 8, 0.0, 1), (1.0, 0.0, 32, 8, 0.0, 2), (1.0, 10.0, 32, 8)]


def evidence(cells=CELLS, seeds=(11, 12), walks=True):
    arrays, labels, attributes = sampling.sampling(cells, 2000, seeds, walks)
    sizes = {dim: size for dims, values in arrays.values() for dim, size in zip(dims, values.shape, strict=True)}
    return xr.Dataset(arrays, coords={dim: labels[dim] for dim in sizes}, attrs=attributes)


@pytest.fixture(scope="module")
def walks():
    return evidence()


def test_sidak_bound():
    """All of 192 independent N(0, 1) variables stay within it with probability 0.99; one of them with 0.9999."""
    assert abs((1 - 2 * stats.norm.sf(measures.sidak(192))) ** 192 - 0.99) < 1e-12
    assert abs(measures.sidak(1) - stats.norm.ppf(0.995)) < 1e-12


def test_seeds_are_pooled(walks):
    """The record has the samples of each seed under its own seed, and the claims count all of them."""
    assert walks.seed.values.tolist() == [11, 12] and measures._pooled(walks) == 4000
    alone = evidence(seeds=(11,))
    np.testing.assert_array_equal(walks.crossings.sel(seed=11), alone.crossings.sel(seed=11))
    assert (walks.crossings.sel(seed=11) != walks.crossings.sel(seed=12)).any()


def test_the_shape_of_a_low_rank_cell():
    W = measures.theory.matrix(Cell.of(0.7, 3.0, 40, 8, 0.0, 5), 5)
    eigenvalues = np.linalg.eigvalsh(W)
    kept = eigenvalues[np.abs(eigenvalues) > 1e-10]
    np.testing.assert_allclose([kept.size, kept.mean(), kept.var()], [5, 0.7, 3.0], rtol=1e-10)


def test_formulas_hold_and_wrong_ones_do_not(walks):
    data = {"walks": walks, "independent": evidence(walks=False)}
    for measure in (measures.means, measures.variances):
        for case, other in (("walks", "independent"), ("independent", "walks")):
            assert measure()(data, case).holds is True
            assert measure(other)(data, case).holds is False
    assert measures.crossings(data, "walks").holds is True
    assert measures.crossings_without_b(data, "walks").holds is False


def test_the_limit_fails_at_low_rank_and_only_there(walks):
    """Φ(SNR_t) is refuted by samples at ranks 1 and 2; without them it is not, so that it is the rank that matters."""
    data = {"all": walks, "low": walks.isel(cell=[0, 1]), "full": walks.isel(cell=[2])}
    assert [measures.crossings_in_the_limit(data, case).holds for case in data] == [False, False, True]
    assert [measures.limit_at_half(data, case).holds for case in data] == [False, False, True]
    assert measures.limit(data, "low").holds is False
    assert "1 (1.00): 0.7" in measures.at_every_rank(data, "low").measured
    assert "2 (0.71): 0.8" in measures.at_every_rank(data, "low").measured


def test_few_samples_decide_nothing(walks):
    """An interval that straddles the bound is no refutation."""
    full = walks.isel(cell=[2])
    few = full.assign(crossings=np.round(full.crossings / 40)).assign_attrs(samples=50)
    assert measures.limit({"few": few}, "few").holds is None


def arm(entropy, loss, seeds=6):
    """A member per seed with these values at three times, and the best loss at the second, with a little noise."""
    noise = 0.01 * np.random.default_rng(0).normal(size=(seeds, 1))
    dims = ("seed", "t")
    losses = np.stack([np.asarray(loss) * (1 + noise), np.zeros((seeds, 3))], axis=-1)
    arrays = {
        "attention_entropy": (dims, np.asarray(entropy) + noise),
        "population_loss": ((*dims, "estimate"), losses),
    }
    return xr.Dataset(arrays, coords={"seed": range(seeds), "estimate": ["mean", "standard error"]})


def test_the_entropy_is_that_of_the_best_time():
    """Lower at each arm's best time, higher at the end: the claim is about the former."""
    data = {
        "markov none": arm([1.0, 0.8, 0.1], [2.0, 1.0, 3.0]),
        "markov locater": arm([0.9, 0.3, 0.5], [2.0, 0.9, 1.5]),
    }
    falls = measures_training.falls(measures_training.entropy, 0.1)
    assert falls(data, "markov locater").holds is True
    assert measures_training.rises(measures_training.entropy, 0.1)(data, "markov locater").holds is False
    later = {**data, "markov locater": arm([0.9, 0.3, 0.9], [2.0, 1.5, 0.9])}
    assert falls(later, "markov locater").holds is False


@pytest.mark.parametrize(
    ("gain", "spread", "better", "same"),
    [(0.03, 0.001, True, False), (0.0, 0.001, False, True), (0.007, 0.01, None, None), (-0.03, 0.001, False, False)],
)
def test_gains(gain, spread, better, same):
    """Better: above 0.5 %. As good: within 1 %. An interval that straddles an end decides nothing."""
    pattern = spread * np.array([-1.5, -1, -0.5, 0.5, 1, 1.5])
    one = arm([1.0, 1.0, 1.0], [2.0, 1.0, 3.0])
    scaled = one.population_loss * xr.DataArray(1 - gain + pattern, dims="seed")
    data = {"markov none": one, "markov locater": one.assign(population_loss=scaled)}
    assert measures_training.generalises(data, "markov locater").holds is better
    assert measures_training.learns_as_well(data, "markov locater").holds is same
