"""Chains, bags, texts and averaging on demand: their distributions, and the smallest possible loss on each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

import dynamics
from dynamics.tasks import Bag, MarkovChain, Text, TriggerAveraging

KEY = jax.random.key(5)


def training_set(task, key=KEY):
    return jax.tree.map(np.asarray, jax.jit(task.training_set)(key))


def test_chain_follows_its_transitions():
    task = MarkovChain(samples=4000, length=10, vocabulary=6, concentration=0.5)
    batch = training_set(task)
    assert (batch.inputs[:, 1:] == batch.targets[:, :-1]).all()
    T = batch.source["transitions"]
    np.testing.assert_allclose(T.sum(axis=1), 1, rtol=1e-12)
    counts = np.zeros((6, 6))
    np.add.at(counts, (batch.inputs.ravel(), batch.targets.ravel()), 1)
    seen = counts.sum(axis=1, keepdims=True)
    error = np.sqrt(np.maximum(T * (1 - T), 1e-6) / seen)
    assert (np.abs(counts / seen - T) < 4.5 * error).all()


def test_fresh_sequences_are_of_the_same_chain_and_other_seeds_of_others():
    task = MarkovChain(samples=5, length=8, vocabulary=6)
    one, other = training_set(task), training_set(task, jax.random.key(6))
    assert not np.allclose(one.source["transitions"], other.source["transitions"])
    fresh = jax.jit(lambda source: task.sample(jax.random.key(0), 3000, source))(one.source)
    T, losses = np.asarray(one.source["transitions"]), -np.log(np.asarray(one.source["transitions"]))
    measured = losses[np.asarray(fresh.inputs), np.asarray(fresh.targets)].mean(axis=1)
    error = measured.std() / np.sqrt(measured.size)
    assert abs(measured.mean() - float(jax.jit(task.floor)(jnp.asarray(T)))) < 4 * error


def test_bag_counts_are_the_best_prediction():
    """The losses of a sequence add to the log of a Dirichlet-multinomial probability."""
    task = Bag(samples=50, length=12, vocabulary=4, concentration=0.4)
    batch = training_set(task)
    words = np.concatenate([np.asarray(batch.inputs[:, :1]), np.asarray(batch.targets)], axis=1)
    counts = np.stack([(words == j).sum(axis=1) for j in range(4)], axis=1)
    total = 4 * 0.4
    whole = gammaln(total) - gammaln(total + 13) + (gammaln(0.4 + counts) - gammaln(0.4)).sum(axis=1)
    np.testing.assert_allclose(jax.jit(task.best)(batch), -(whole - np.log(1 / 4)) / 12, rtol=1e-10)


def test_words_of_a_bag_come_in_no_order():
    task = Bag(samples=6000, length=5, vocabulary=3, concentration=0.5)
    batch = training_set(task)
    words = np.concatenate([batch.inputs[:, :1], batch.targets], axis=1)
    same = [(words[:, i] == words[:, j]).mean() for i in range(6) for j in range(i)]
    stated = (0.5 + 1) / (3 * 0.5 + 1)  # the second word is the first one
    assert (np.abs(np.array(same) - stated) < 4.5 * np.sqrt(stated * (1 - stated) / 6000)).all()


@pytest.fixture
def book(tmp_path):
    """Nine tenths consist of a and b, the last tenth of c."""
    path = tmp_path / "book.txt"
    path.write_text("A b, " * 300 + "c c c " * 34, encoding="utf-8")
    return path


def test_text(book):
    task = Text(path=str(book), samples=20, length=4, vocabulary=4)
    assert task.word_names == ("a", "b", ",", "<unknown>")
    train = training_set(task)
    assert (train.inputs[:, 1:] == train.targets[:, :-1]).all() and set(train.inputs.ravel()) == {0, 1, 2}
    following = {(int(a), int(b)) for a, b in zip(train.inputs.ravel(), train.targets.ravel(), strict=True)}
    assert following == {(0, 1), (1, 2), (2, 0)}
    assert set(np.asarray(task.sample(KEY, 30).inputs).ravel()) == {0, 1, 2}
    assert set(np.asarray(task.evaluation_set(KEY, 30).inputs).ravel()) == {3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "nosuch.txt"}, "path = 'nosuch.txt': must be a text file"),
        ({"vocabulary": 99}, "vocabulary = 99: must be at most 4, the text's words"),
        ({"length": 500}, "length = 500: must be below"),
    ],
)
def test_texts_that_do_not_do(book, changes, message):
    with pytest.raises(dynamics.ConfigError, match=message):
        Text(**{"path": str(book), "samples": 20, "length": 4, "vocabulary": 4, **changes})


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("answers", ["mean", "mean_or_own", "mean_plus_own"])
def test_averaging_on_demand(bos, answers):
    task = TriggerAveraging(
        samples=200, length=5, dimension=6, contents="axes", alignment=0.6, bos=bos, answers=answers
    )
    batch = training_set(task)
    assert batch.inputs.shape == (200, 5 + bos, 9) and batch.targets.shape == (200, 5 + bos, 6)
    ordinary, trigger, first = np.moveaxis(batch.inputs[..., -3:], -1, 0)
    assert (ordinary + trigger + first > 0).all() and (trigger.sum(axis=1) == 1).all()
    np.testing.assert_allclose(np.unique(ordinary), [0, 0.6], rtol=1e-6)
    assert set(np.unique(trigger)) == {0, 1}
    assert (first[:, :bos] == 1).all() and (first[:, bos:] == 0).all() and (batch.targets[:, :bos] == 0).all()
    places = trigger.argmax(axis=1) - bos
    assert set(places) == {1, 2, 3, 4}
    r = batch.inputs[:, bos:, :6] / 0.8
    np.testing.assert_allclose(np.einsum("nld,nkd->nlk", r, r), np.tile(np.eye(5), (200, 1, 1)), atol=1e-6)
    for one, place, target in zip(r, places, batch.targets[:, bos:], strict=True):
        expected = {"mean": 0 * one, "mean_or_own": one.copy(), "mean_plus_own": one.copy()}[answers]
        mean = one[:place].mean(axis=0)
        expected[place] = mean + one[place] if answers == "mean_plus_own" else mean
        np.testing.assert_allclose(target, expected, atol=1e-6)


def test_normal_contents_and_their_alignment():
    batch = training_set(TriggerAveraging(samples=3000, length=4, dimension=2))
    r = batch.inputs[:, 1:, :2].reshape(-1, 2) * 2**0.5
    error = 4.5 / np.sqrt(len(r))
    np.testing.assert_allclose(r.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose(np.cov(r.T), np.eye(2), atol=1.5 * error)
    assert not np.allclose(batch.targets, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 1}, "length = 1: must be at least 2"),
        ({"alignment": 1.5}, "alignment = 1.5: must be in"),
        ({"contents": "axes"}, "dimension = 2: must be at least length = 4 with contents='axes'"),
    ],
)
def test_averaging_that_does_not_do(changes, message):
    with pytest.raises(dynamics.ConfigError, match=message):
        TriggerAveraging(**{"samples": 4, "length": 4, "dimension": 2, **changes})
