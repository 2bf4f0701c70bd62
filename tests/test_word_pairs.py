"""Work that follows the data: all forms of a product over pairs of words agree, and the cheaper one is taken."""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.laws import GramFlow, GramGradientDescent
from dynamics.models import HeavyBallStep, at_rest, one_layer, pairs
from dynamics.objectives.regularisers import L2

# (heads, n, L, d): words that never occur, one that occurs in every sample, one that occurs twice in a sample.
SHAPES = [(1, 7, 5, 23), (3, 11, 2, 41), (2, 3, 7, 13)]
RATES = {"W": None, "W_K": 0.5, "W_Q": 2.0, "W_V": None}


def a_batch(n, length, d, seed=0):
    random = np.random.default_rng(seed)
    tokens = random.integers(3, d - 2, (n, length))  # the words 1, 2, d - 2 and d - 1 never occur
    tokens[:, 0], tokens[0, 1] = 0, 0
    tokens[-1] = tokens[-1, -1]  # one word alone
    return dynamics.Batch(jnp.asarray(tokens, jnp.int32), jnp.asarray(random.choice([-1, 1], n), jnp.int32))


def an_objective(heads, n, length, d):
    model = dynamics.OneLayerTransformer(vocabulary=d, width=9, neurons=6, heads=heads)
    batch = a_batch(n, length, d)
    variables = model.init(jax.random.key(1), batch.inputs[:1])
    return variables["params"], dynamics.Objective(model, variables["constants"], batch, "logistic")


@pytest.fixture(params=SHAPES, ids=str)
def case(request):
    return an_objective(*request.param)


def in_form(monkeypatch, columns):
    monkeypatch.setattr(one_layer, "few_pairs", lambda *_: columns)


def close(one, two, rtol=1e-12):
    def compare(x, y):
        assert np.linalg.norm(x - y) <= rtol * np.linalg.norm(y)

    jax.tree.map(compare, one, two)


def test_columns_are_the_table(case, monkeypatch):
    """F, the loss, its gradient, forward derivatives and Hessian times a vector, from either form of the scores."""
    params, objective = case
    along = jax.tree.map(lambda leaf: jnp.sin(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), params)

    def everything():
        @jax.jit
        def values(params):
            output = objective.apply(params, objective.batch.inputs)
            gradient, curved = jax.jvp(jax.grad(objective.loss), (params,), (along,))
            return output, gradient, curved, jax.jvp(objective.loss, (params,), (along,))[1]

        return values(params)

    in_form(monkeypatch, False)
    table = everything()
    in_form(monkeypatch, True)
    close(everything(), table)
    assert not any(np.any(table[1][name][:, [1, 2, -2, -1]]) for name in ("W_Q", "W_K", "W_V"))


@pytest.mark.slow
def test_columns_of_several_paths_at_once(monkeypatch):
    """Batched over parameters and over samples, as an ensemble on an accelerator is."""
    params, objective = an_objective(*SHAPES[0])
    in_form(monkeypatch, True)
    n, length = objective.batch.inputs.shape
    batches = [a_batch(n, length, objective.model.vocabulary, seed) for seed in (0, 1)]

    def slope(params, batch):
        return dynamics.Objective(objective.model, objective.constants, batch, "logistic").slope(params)

    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    batched = jax.vmap(slope)(several, jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches))
    for i, (one, batch) in enumerate(zip((params, jax.tree.map(lambda leaf: 2 * leaf, params)), batches, strict=True)):
        close(jax.tree.map(operator.itemgetter(i), batched), slope(one, batch))


def on_all_pairs(tokens, heads, d):
    """A matrix of every head that is not zero at the pairs of the samples only, and another one that is full."""
    random = np.random.default_rng(2)
    M = np.zeros((heads, d, d))
    for sample in np.asarray(tokens):
        M[:, sample[:, None], sample[None]] = random.normal(size=(heads, len(sample), len(sample)))
    return jnp.asarray(M), jnp.asarray(random.normal(size=(heads, d, d)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_by_pairs(shape):
    heads, n, length, d = shape
    tokens = a_batch(n, length, d).inputs
    M, X = on_all_pairs(tokens, heads, d)
    C = X + X.mT

    @jax.jit
    def products(M, X, C):
        sparse = pairs.PairMatrix(M, pairs.Pairs.of(tokens, d))
        return sparse @ X, sparse.mT @ X, X @ sparse, X[:, :3] @ sparse.mT, pairs.symmetric_times(C, sparse)

    close(products(M, X, C), (M @ X, M.mT @ X, X @ M, X[:, :3] @ M.mT, C @ M))
    several = jax.vmap(products)(*(jnp.stack([leaf, 3 * leaf]) for leaf in (M, X, C)))
    close([leaf[1] for leaf in several], [9 * leaf for leaf in products(M, X, C)])


def test_pairs_are_counted_once():
    """(a, b) and (b, a) are there, each of them once, in the order of the rows."""
    found = pairs.Pairs.of(jnp.array([[4, 1, 4], [1, 1, 2]]), 6)
    once = [(int(a), int(b)) for a, b, first in zip(found.rows, found.columns, found.first, strict=True) if first]
    assert once == [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1), (4, 4)]
    assert found.begins.tolist() == [0, 0, 9, 12, 12, 18, 18]


@pytest.fixture
def gram_case(case):
    """All entries of the Gram matrices; for those that move alone see tests/test_theory_moving_gram.py."""
    return GramGradientDescent(0.1).variables(*case)


def in_products(monkeypatch, cost):
    monkeypatch.setitem(pairs.COSTS, "cpu", pairs.COSTS["cpu"]._replace(sparse=cost))


@pytest.mark.parametrize("name", ["velocity", "step", "heavy_ball"])
def test_gram_variables_by_pairs(gram_case, name, monkeypatch):
    gram, objective = gram_case
    model, tokens = objective.model, objective.batch.inputs
    slope, rates = objective.slope(gram), {**objective.rates(gram), **RATES}
    momenta = jax.tree.map(lambda leaf: leaf + 0.1, at_rest(gram))
    forms = {
        "velocity": functools.partial(model.velocity, {"params": gram}, slope, rates),
        "step": functools.partial(model.step, gram, slope, 0.3, rates),
        "heavy_ball": functools.partial(model.heavy_ball_step, gram, momenta, slope, HeavyBallStep(0.3, 0.9), rates),
    }
    in_products(monkeypatch, 0.0)
    assert isinstance(pairs.on_pairs(slope["A"], tokens), pairs.PairMatrix)
    close(jax.jit(forms[name])(tokens), jax.jit(forms[name])(None))


def test_symmetric_block_by_block(monkeypatch):
    """X + Xᵀ, the same bits."""
    X = jax.random.normal(jax.random.key(0), (2, 131, 131))
    expected = X + X.mT
    monkeypatch.setattr(pairs, "LARGE", 1)
    np.testing.assert_array_equal(jax.jit(pairs.symmetric)(X), expected)
    np.testing.assert_array_equal(pairs.symmetric(X[0]), expected[0])


class Population(dynamics.Task):
    loss, dims, capabilities = "logistic", {"inputs": ("position",)}, frozenset({"population_loss"})

    def sample(self, key, n, source=None):
        raise NotImplementedError


def test_pairs_of_samples_only_where_the_loss_looks_at_nothing_else():
    """Not with a regulariser, nor for the loss of a distribution, nor for minibatches of new samples."""
    _, objective = GramFlow().variables(*an_objective(*SHAPES[0]))
    replaced = functools.partial(dataclasses.replace, objective)
    assert objective.looked_at is objective.batch.inputs
    assert replaced(regulariser=L2({"A": 0.1})).looked_at is None
    assert replaced(task=Population(samples=6)).looked_at is None
    looked_at = dynamics.laws.gram.looked_at
    descents = [dynamics.LAWS["gram_gd"](0.1), dynamics.LAWS["gram_sgd"](0.1, batch_size=2)]
    assert [looked_at(law, objective) is None for law in descents] == [False, False]
    assert [looked_at(law, replaced(fresh=True)) is None for law in descents] == [False, True]


@pytest.mark.parametrize(
    ("samples", "d", "m", "few", "sparse"),
    [
        ((60, 5), 64, 128, False, False),
        ((60, 5), 163, 256, False, True),
        ((720, 5), 1923, 256, True, True),
        ((10_000, 64), 10_000, 1024, False, False),
        ((64, 64), 10_000, 1024, True, True),
    ],
)
def test_the_cheaper_form_is_taken(samples, d, m, few, sparse):
    """Shapes that were measured, see experiments/speed/README.md."""
    tokens = jax.ShapeDtypeStruct(samples, jnp.int32)
    assert pairs.few_pairs(samples, d, m) == few
    M = jax.eval_shape(pairs.on_pairs, jax.ShapeDtypeStruct((1, d, d), float), tokens)
    assert isinstance(M, pairs.PairMatrix) == sparse


def flops(objective, params):
    compiled = jax.jit(dynamics.Objective.slope).lower(objective, params).compile()
    return compiled.cost_analysis()["flops"]


def test_work_grows_with_the_vocabulary_no_faster_than_the_weights():
    """Exponents in d of the operations that XLA counts in a gradient, for samples that stay the same."""
    counted = {}
    for d in (200, 400, 800):
        params, objective = an_objective(1, 6, 3, d)
        tokens = a_batch(6, 3, 100).inputs  # the same samples for every d
        objective = dataclasses.replace(objective, batch=objective.batch._replace(inputs=tokens))
        counted[d] = flops(objective, params)
    slope = np.polyfit(np.log(list(counted)), np.log(list(counted.values())), 1)[0]
    assert slope < 1.1, counted


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_both_forms_lower_for_accelerators(platform, monkeypatch):
    params, objective = an_objective(*SHAPES[1])
    gram, objective_of_gram = GramFlow().variables(params, objective)
    in_form(monkeypatch, True)
    in_products(monkeypatch, 0.0)
    for of, at in ((objective, params), (objective_of_gram, gram)):
        jax.jit(lambda p, of=of: of.velocity(p)).trace(at).lower(lowering_platforms=(platform,))


def forgotten():
    """Programs are found again by shapes, which do not know the form that was asked for."""
    dynamics.runs.programs.compiled_paths.cache_clear()
    jax.clear_caches()


@pytest.mark.slow
def test_flows_by_pairs(monkeypatch):
    """Whole solves: as many steps, the same trajectories up to rounding."""
    config = small_config(**{"model.heads": 2, "task.vocabulary": 31, "times.stop": 20.0})
    config["probes"], config["laws"] = ("loss", "scores"), {"gram": {"name": "gram_flow"}, "flow": {"name": "flow"}}

    def solved():
        experiment = dynamics.Experiment.from_config(config)
        return [dynamics.solve(experiment, law) for law in ("gram", "flow")]

    in_form(monkeypatch, False)
    in_products(monkeypatch, 1e9)
    dense = solved()
    forgotten()
    in_form(monkeypatch, True)
    in_products(monkeypatch, 0.0)
    sparse = solved()
    for one, other in zip(sparse, dense, strict=True):
        assert int(one.steps) == int(other.steps)
        close(dict(one.probes), dict(other.probes), rtol=1e-10)
    assert all(np.any(one.probes["loss"] != other.probes["loss"]) for one, other in zip(sparse, dense, strict=True))
    forgotten()
