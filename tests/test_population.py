"""The population loss and error as finite sums, against the enumeration of all samples and against fresh samples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from conftest import small_config

import dynamics
from dynamics.probes import View, evaluator
from experiments.cooccurrence import population_claims, xor  # noqa: F401  (registers exactly_one)
from experiments.cooccurrence.population import PROBABILITIES, TARGETS, population_error, population_loss

AND = np.array([1, -1, -1, -1])


def enumerated(G, labels, length):
    """The expected loss and the probability of an error, over all (d − 3)^k choices of the random words."""
    loss = error = 0.0
    for probability, targets, label in zip(PROBABILITIES, TARGETS, labels, strict=True):
        known = G[2] + sum(G[list(targets)])
        chosen = itertools.product(G[3:], repeat=length - 1 - len(targets))
        margin = label * (known + np.array([sum(words) for words in chosen]))
        loss += probability * np.logaddexp(0, -margin).mean()
        error += probability * (margin <= 0).mean()
    return loss, error


@pytest.mark.parametrize("labels", [AND, np.array([-1, 1, 1, -1])])
@pytest.mark.parametrize(("length", "scale"), [(3, 1.0), (4, 1.0), (4, 1e-3), (5, 2.0), (5, 6.0)])
def test_every_sample_counts(length, scale, labels):
    G = scale * np.concatenate([[1.0, 1.1, -1.5], np.random.default_rng(length).normal(size=9) / 2])
    loss, error = enumerated(G, labels, length)
    arguments = jnp.asarray(G), jnp.asarray(labels), length
    np.testing.assert_allclose(population_loss(*arguments), loss, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(population_error(*arguments), error, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("margin", [-30.0, -3.0, 0.0, 3.0, 30.0])
def test_the_quadrature_of_one_output(margin):
    """G(μ3) alone: y F is −G(μ3) for three of the types and G(μ3) for I1."""
    G = jnp.zeros(5).at[2].set(-margin)
    exact = (np.logaddexp(0, margin) + np.logaddexp(0, -margin)) / 2
    stated = 1e-14 * (1 + np.cosh(margin / 2))
    assert abs(float(population_loss(G, jnp.asarray(AND), 3)) - exact) < stated


def test_small_losses_keep_their_digits():
    G = jnp.array([60.0, 60.0, -90.0, 0.0, 0.0])
    exact = np.log1p(np.exp(-30.0)) * (1 / 2 + 1 / 3) + np.log1p(np.exp(-90.0)) / 6
    assert float(population_loss(G, jnp.asarray(AND), 5)) == pytest.approx(exact, rel=1e-7)


def test_too_many_sums():
    with pytest.raises(dynamics.ConfigError, match=r"\(d - 3\)\^\(L // 2\)"):
        population_error(jnp.zeros(1100), jnp.asarray(AND), 6)


NAMES = ("population_loss", "population_loss_exact", "population_error_exact")


def measured(fresh_samples, **changes):
    """The probes of a start, with this many fresh samples, and the samples."""
    experiment = dynamics.Experiment.from_config(small_config(**{"task.words": "uniform", **changes}))
    params, objective, survey = experiment.drawn
    task = experiment.task
    fresh = task.sample(jax.random.key(1), fresh_samples)
    view = View(objective, survey._replace(evaluation=fresh), params, experiment.words)
    return jax.jit(lambda: evaluator(NAMES, view)(params))(), objective, params, fresh


@pytest.mark.parametrize("name", ["cooccurrence", "exactly_one"])
def test_attention_that_is_not_uniform_is_a_small_correction(name):
    """Few fresh samples give what many give, and with a smaller error than a mean over them would have."""
    few = measured(500, **{"task.name": name})[0]
    many, objective, params, fresh = measured(40_000, **{"task.name": name})
    assert few["population_loss_exact"][1] < few["population_loss"][1] / 2
    mean, error = many["population_loss"]
    for exact in (few["population_loss_exact"], many["population_loss_exact"]):
        assert abs(exact[0] - mean) < 4 * np.hypot(exact[1], error)
    output = jax.jit(lambda: objective.apply(params, fresh.inputs)[0])()
    wrong = np.asarray(fresh.targets) * np.asarray(output) <= 0
    share, deviation = many["population_error_exact"]
    assert abs(share - wrong.mean()) < 4 * np.hypot(deviation, wrong.std() / np.sqrt(len(wrong)))


def test_uniform_attention_needs_no_samples():
    values = measured(50, **{"init.std_of": {"W": 0.3, "W_K": 1e-9, "W_Q": 1e-9}})[0]
    assert values["population_loss_exact"][1] < 1e-14
    assert values["population_error_exact"][1] == 0


def test_an_output_of_zero_is_an_error():
    assert float(population_error(jnp.zeros(6), jnp.asarray(AND), 4)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", population_claims.SIZES)
def test_the_vocabularies_of_the_claims(name):
    """The smallest that fits, and n L words, of which 8n/3 + 3 are in the training set."""
    n, d = population_claims.SIZES[name]
    smallest = dynamics.Cooccurrence(samples=n, length=5, words="distinct").vocabulary
    assert d == (smallest if name in population_claims.SMALLEST else 5 * n) and d >= smallest
    config = population_claims.CASES[name].config()
    assert (config.task.samples, config.task.vocabulary, config.task.length) == (n, d, 5)
    widest = population_claims.predicted(name, (2**20,))
    assert population_claims.predicted(name, (2**11,)) > widest > 0
    if name in population_claims.LARGER:  # words that were not learnt make it smaller
        assert widest < population_claims.predicted(
            next(k for k, (m, _) in population_claims.SIZES.items() if m == n), (2**20,)
        )


def test_the_population_loss_at_a_training_loss():
    """Population loss = √(training loss) between saved times, and unknown below the last training loss."""
    training = np.array([1.0, 1e-2, 1e-4])
    arrays = {
        "loss": (("width", "t"), training[None]),
        "population_loss_exact": (("width", "t", "estimate"), np.sqrt(training)[None, :, None]),
    }
    runs = xr.Dataset(arrays, {"width": [2], "t": [1.0, 2.0, 3.0], "estimate": ["mean"]})
    found = [population_claims.at_training_loss(runs, xr.full_like(runs.width, x, float)).item() for x in (1e-3, 1e-5)]
    np.testing.assert_allclose(found, [1e-3**0.5, np.nan], rtol=1e-12)
