"""Definition 2.1 and Assumption 2.3: exact counts, positions and words."""

import jax
import numpy as np
import pytest
from scipy import stats

import dynamics

KEY = jax.random.key(3)


def kinds(tokens):
    """The type of each sample, computed from its words."""
    has = [(np.asarray(tokens) == word).any(axis=1) for word in (0, 1)]
    return np.select([has[0] & has[1], has[0], has[1]], [0, 1, 2], 3)


@pytest.mark.parametrize("words", ["uniform", "distinct"])
@pytest.mark.parametrize("length", [3, 5])
def test_training_set_is_exact(words, length):
    task = dynamics.Cooccurrence(60, length, None if words == "distinct" else 64, words)
    batch = jax.tree.map(np.asarray, task.training_set(KEY))
    assert np.bincount(batch.type).tolist() == [30, 10, 10, 10]
    np.testing.assert_array_equal(kinds(batch.inputs), batch.type)
    np.testing.assert_array_equal(batch.targets, np.where(batch.type == 0, 1, -1))
    for word in (0, 1, 2):
        assert ((batch.inputs == word).sum(axis=1) <= 1).all()
    assert ((batch.inputs == 2).sum(axis=1) == 1).all()
    random = batch.inputs[batch.inputs > 2]
    assert len(random) == task.random_slots and random.max() < task.vocabulary
    if words == "distinct":
        assert sorted(random) == list(range(3, task.vocabulary))


def test_distinct_words_of_a_larger_vocabulary():
    task = dynamics.Cooccurrence(60, 5, 500, "distinct")
    tokens = np.asarray(task.training_set(KEY).inputs)
    random = tokens[tokens > 2]
    assert len(set(random.tolist())) == len(random) == 160
    assert random.max() > 300  # drawn from all of them


def test_smallest_vocabulary_of_the_theory():
    assert dynamics.Cooccurrence(60, 5, None, "distinct").vocabulary == 163


def test_population_frequencies():
    """Types 1/2, 1/6, 1/6, 1/6; the signals at uniform positions; random words uniform: chi-square, p > 1e-3."""
    task = dynamics.Cooccurrence(6, 5, 20)
    batch = jax.tree.map(np.asarray, task.sample(KEY, 60_000))
    counts = np.bincount(batch.type, minlength=4)
    assert stats.chisquare(counts, 60_000 * np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6])).pvalue > 1e-3
    np.testing.assert_array_equal(kinds(batch.inputs), batch.type)
    for word in (0, 1, 2):
        assert stats.chisquare(np.bincount(np.argwhere(batch.inputs == word)[:, 1], minlength=5)).pvalue > 1e-3
    random = batch.inputs[batch.inputs > 2]
    assert stats.chisquare(np.bincount(random - 3, minlength=17)).pvalue > 1e-3


def test_pairs_of_positions_are_uniform():
    task = dynamics.Cooccurrence(6, 4, 20)
    batch = jax.tree.map(np.asarray, task.sample(KEY, 40_000))
    both = batch.inputs[batch.type == 0]
    places = np.stack([np.argmax(both == word, axis=1) for word in (0, 1, 2)], axis=1)
    _, counts = np.unique(places, axis=0, return_counts=True)
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3


def test_canonical_samples_are_of_their_type():
    task = dynamics.Cooccurrence(6, 5, 64)
    np.testing.assert_array_equal(kinds(task.canonical), [0, 1, 2, 3])
    assert (np.asarray(task.canonical) == 2).any(axis=1).all()


def test_seeds_differ():
    task = dynamics.Cooccurrence(60, 5, 64)
    assert (task.training_set(KEY).inputs != task.training_set(jax.random.key(4)).inputs).any()
