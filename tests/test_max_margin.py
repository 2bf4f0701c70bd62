"""The max-margin law of word counts: closed forms against a solver, and the flow that leads there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import dynamics
from experiments.cooccurrence.max_margin import MaxMargin, generalising_samples, hard_margin, word_counts
from experiments.cooccurrence.population import population_loss

NUMBERS = [(18, 3), (42, 5), (60, 5), (120, 5), (36, 4), (96, 8)]


def training_set(n, length):
    task = dynamics.Cooccurrence(samples=n, length=length, words="distinct")
    return task, task.training_set(jax.random.key(n))


@pytest.mark.parametrize(("n", "length"), NUMBERS)
def test_margins_and_stationarity(n, length):
    law = MaxMargin(n, length)
    (first, second), a, c = law.multipliers, law.target, law.common
    assert a == pytest.approx(n / 2 * first - n / 6 * second, rel=1e-12)
    assert c == pytest.approx(n / 3 * second - n / 2 * first, rel=1e-12)
    assert 2 * a - c + (length - 3) * first == pytest.approx(1, rel=1e-12)
    assert c - a + (length - 2) * second == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(("n", "length"), NUMBERS)
def test_the_closed_form_is_the_solution(n, length):
    law, (task, batch) = MaxMargin(n, length), training_set(n, length)
    assert law.applies
    solved = hard_margin(batch.inputs, batch.targets, task.vocabulary)
    by_type = np.array([*law.multipliers, law.multipliers[1], 0])
    np.testing.assert_allclose(solved.multipliers, by_type[batch.type], atol=1e-6)
    np.testing.assert_allclose(solved.G[:3], [law.target, law.target, -law.common], atol=1e-6)
    one, two, three, four = (solved.multipliers[batch.type == kind].sum() for kind in range(4))
    total = one + two + three + four
    assert (two + three + four - one) / (one - two) == pytest.approx(law.ratio, rel=1e-5)
    assert total / min(two + three + four - one, one - two) == pytest.approx(law.gradient_ratio, rel=1e-5)
    c = -solved.G[2]
    assert min(c / solved.G[0] - 1, 1 - c / solved.G[:2].sum()) == pytest.approx(law.constant, rel=1e-5)


def test_the_samples_without_a_target_support_the_margin_of_small_sets():
    law, (task, batch) = MaxMargin(18, 5), training_set(18, 5)
    solved = hard_margin(batch.inputs, batch.targets, task.vocabulary)
    assert not law.applies
    assert solved.multipliers[batch.type == 3].min() > 0.01
    assert abs(-solved.G[2] / solved.G[0] - law.ratio) > 0.1
    np.testing.assert_allclose(-batch_outputs(solved.G, batch)[batch.type == 3], 1, atol=1e-6)


def batch_outputs(G, batch):
    return G[np.asarray(batch.inputs)].sum(axis=1)


@pytest.mark.parametrize(("length", "smallest"), [(3, 13), (4, 26), (5, 39), (6, 53), (8, 80), (16, 187)])
def test_from_where_on_it_applies(length, smallest):
    assert MaxMargin(smallest, length).applies and not MaxMargin(smallest - 1, length).applies
    assert MaxMargin(smallest, length).common > 1 >= MaxMargin(smallest - 1, length).common


@pytest.mark.parametrize(("length", "smallest"), [(3, 27), (4, 48), (5, 68), (8, 130), (16, 295), (32, 624)])
def test_how_many_samples_generalise(length, smallest):
    assert generalising_samples(length) == smallest
    assert (
        MaxMargin(smallest, length).fresh_margin > 1e-12 > MaxMargin(smallest - 1, length).fresh_margin
    )  # 0 at (294, 16)
    assert MaxMargin(smallest - 1, length).applies


def test_the_limits_of_many_samples():
    many = MaxMargin(1e9, 5)
    np.testing.assert_allclose([many.ratio, many.constant, many.gradient_ratio], [3 / 2, 1 / 4, 17 / 2], rtol=1e-7)
    assert generalising_samples(10_000) / 10_000 == pytest.approx(10 + np.sqrt(112), rel=1e-3)


@pytest.mark.parametrize(("n", "length"), [(60, 5), (72, 5), (36, 4)])
def test_the_worst_fresh_sample(n, length):
    """The smallest y F over all types and words, of the solver's G."""
    task, batch = training_set(n, length)
    G = hard_margin(batch.inputs, batch.targets, task.vocabulary).G
    lowest, highest = G[3:].min(), G[3:].max()
    margins = [G[:3].sum() + (length - 3) * lowest, -G[0] - G[2] - (length - 2) * highest]
    margins += [-G[1] - G[2] - (length - 2) * highest, -G[2] - (length - 1) * highest]
    assert min(margins) == pytest.approx(MaxMargin(n, length).fresh_margin, abs=1e-6)


def test_labels_that_no_count_of_words_gives():
    with pytest.raises(dynamics.ConfigError, match="some G classifies"):
        hard_margin(np.array([[0, 1], [0, 1]]), np.array([1, -1]), 2)


@pytest.mark.parametrize(("n", "length"), [(0, 5), (60, 2)])
def test_sizes_that_there_are_not(n, length):
    with pytest.raises(dynamics.ConfigError, match=r"samples|length"):
        MaxMargin(n, length)


def in_order(n, length):
    """The training set whose random words are numbered in the order of its samples, and their labels."""
    signals, kinds = ((0, 1, 2), (0, 2), (1, 2), (2,)), (n // 2, n // 6, n // 6, n // 6)
    rows, word = [], 3
    for signal, count in zip(signals, kinds, strict=True):
        for _ in range(count):
            rows.append([*signal, *range(word, word + length - len(signal))])
            word += length - len(signal)
    return np.array(rows), np.repeat([1, -1, -1, -1], kinds), word


def test_three_numbers_are_the_flow_of_all_words():
    """dG/dτ = n z from G = 0, with one variable for each word."""
    (tokens, label, d), losses = in_order(18, 4), np.array([0.5, 0.1, 1e-3])
    counts = np.stack([np.bincount(row, minlength=d) for row in tokens])

    def velocity(tau, G):
        del tau
        return (label / (1 + np.exp(label * (counts @ G)))) @ counts

    expected = word_counts(18, 4, d + 2, losses)
    assert expected.shape == (3, d + 2) and (expected[:, d:] == 0).all()
    reached = np.logaddexp(0, -label * (expected[:, :d] @ counts.T)).mean(axis=1)
    np.testing.assert_allclose(reached, losses, rtol=1e-8)

    def events(loss):
        return lambda tau, G: np.log(np.logaddexp(0, -label * (counts @ G)).mean() / loss) + 0 * tau

    solved = solve_ivp(
        velocity, (0, 1e4), np.zeros(d), "LSODA", events=[events(x) for x in losses], rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(expected[:, :d], [states[0] for states in solved.y_events], rtol=1e-6, atol=1e-7)


def test_word_counts_tend_to_the_margin():
    """The slope of G in log 1/loss is the hard margin; what I4 adds falls as loss^(c − 1)."""
    losses = np.array([1e-30, 1e-31])
    early, late = word_counts(120, 5, None, losses)
    slope, law = (late - early) / np.log(10), MaxMargin(120, 5)
    np.testing.assert_allclose(slope[:4], [law.target, law.target, -law.common, law.multipliers[0]], rtol=1e-6)


@pytest.mark.parametrize("n", [72, 84, 120])
def test_the_population_loss_is_a_power_of_the_training_loss(n):
    losses = np.array([1e-39, 1e-40])
    G_TxD = jnp.asarray(word_counts(n, 5, None, losses))
    before, after = (float(population_loss(G_D, jnp.array([1, -1, -1, -1]), 5)) for G_D in G_TxD)
    assert np.log10(before / after) == pytest.approx(MaxMargin(n, 5).fresh_margin, abs=1e-3)


@pytest.mark.parametrize("d", [None, 640])
def test_the_population_loss_of_too_few_samples_grows_in_the_end(d):
    G_TxD = jnp.asarray(word_counts(60, 5, d, np.array([1e-30, 1e-40])))
    before, after = (float(population_loss(G_D, jnp.array([1, -1, -1, -1]), 5)) for G_D in G_TxD)
    assert after > before


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("losses", (18, 4, 40, np.array([0.1, 0.2]))),
        ("losses", (18, 4, 40, np.array([0.7]))),
        ("vocabulary", (18, 4, 20, np.array([0.1]))),
    ],
)
def test_word_counts_refuse(key, arguments):
    with pytest.raises(dynamics.ConfigError, match=key):
        word_counts(*arguments)
