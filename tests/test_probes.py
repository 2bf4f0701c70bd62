"""Probes against direct formulas on the weights, with the dimensions that they promise."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import recorded, small_config

import dynamics
from dynamics.probes import PROBES, Survey, View, coordinates, dimensions, evaluator


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["one head", "two heads"])
def seen(request):
    experiment = dynamics.Experiment.from_config(small_config(**{"model.heads": request.param}))
    params, objective = experiment.start
    task = experiment.task
    survey = Survey.of(task, objective.batch, task.evaluation_set(jax.random.key(0), task.evaluation))
    view = View(objective, survey, jax.tree.map(lambda x: 0.9 * x, params), experiment.words)
    fitting = [name for name, probe in PROBES.items() if probe.fits(experiment.task, experiment.model)]
    return experiment, recorded(jax.jit(lambda: evaluator(tuple(fitting), view)(params))())


def test_dimensions(seen):
    experiment, values = seen
    labels = coordinates(experiment.task, experiment.model, experiment.words)
    for name, value in values.items():
        dims = dimensions(name, experiment.model)
        if dims == ("parameter",):  # all weights, which have no labels
            assert value.size == sum(np.size(matrix) for matrix in experiment.start[0].values())
        else:
            chex.assert_shape(value, [len(labels[dim]) for dim in dims])
        chex.assert_type(value, jnp.float64)
        chex.assert_tree_all_finite(value)


def test_values(seen):
    experiment, values = seen
    params, objective = jax.tree.map(np.asarray, experiment.start)
    y, kind = objective.batch.targets, objective.batch.type
    output = np.asarray(experiment.start[1].output(experiment.start[0]))
    losses, g = np.log1p(np.exp(-y * output)), 1 / (1 + np.exp(y * output))
    np.testing.assert_allclose(values["loss"], losses.mean(), rtol=1e-12)
    np.testing.assert_allclose(values["loss_by_type"], [losses[kind == i].mean() for i in range(4)], rtol=1e-12)
    np.testing.assert_allclose(values["gradient_by_type"], [g[kind == i].sum() / len(y) for i in range(4)], rtol=1e-12)
    np.testing.assert_allclose(values["margin"], (y * output).min(), rtol=1e-12)
    norms = [np.linalg.norm(params[name]) for name in ("W", "W_K", "W_Q", "W_V")]
    np.testing.assert_allclose(values["weight_norm"], norms, rtol=1e-12)
    words, heads = experiment.words, experiment.model.heads
    split = {
        name: params[name].reshape(heads, experiment.model.width, -1)[..., :words] for name in ("W_Q", "W_K", "W_V")
    }
    u = params["W"].T @ objective.constants["a"]
    inner = np.outer(objective.constants["a"], objective.constants["a"]) * (params["W"] @ params["W"].T)
    np.testing.assert_allclose(values["neuron_gram"], inner.mean(), rtol=1e-12)
    expected = {
        "scores": [K.T @ Q for K, Q in zip(split["W_K"], split["W_Q"], strict=True)],
        "value_gram": [V.T @ V for V in split["W_V"]],
        "key_gram": [K.T @ K for K in split["W_K"]],
        "query_gram": [Q.T @ Q for Q in split["W_Q"]],
        "mlp": [u @ V for V in split["W_V"]],
    }
    for name, per_head in expected.items():
        np.testing.assert_allclose(values[name], per_head[0] if heads == 1 else per_head, rtol=1e-12, atol=1e-14)


def test_velocities(seen):
    """Central differences of the Gram probes along −∇L."""
    experiment, values = seen
    params, objective = experiment.start
    slope = jax.tree.map(jnp.negative, jax.grad(objective.loss)(params))
    view = View(objective, experiment.drawn[2], params, experiment.words)
    h = 1e-5
    measure = evaluator(("scores", "value_gram", "mlp"), view)
    ahead = measure(jax.tree.map(lambda p, v: p + h * v, params, slope))
    behind = measure(jax.tree.map(lambda p, v: p - h * v, params, slope))
    for name in ahead:
        difference = (ahead[name] - behind[name]) / (2 * h)
        np.testing.assert_allclose(values[f"{name}_velocity"], difference, rtol=1e-6, atol=1e-9)


def test_population_loss(seen):
    """The mean over other fresh samples lies within five standard errors, which are those of a mean."""
    experiment, values = seen
    params, objective = experiment.start
    batch = experiment.task.sample(jax.random.key(5), 20_000)
    losses = np.asarray(dynamics.objectives.losses.logistic(objective.apply(params, batch.inputs)[0], batch.targets))
    mean, error = values["population_loss"]
    assert abs(float(mean) - losses.mean()) < 5 * float(error)
    np.testing.assert_allclose(error, losses.std() / np.sqrt(1024), rtol=0.2)


def test_drift_is_relative_to_the_terms(seen):
    """The start has weights 0.9 θ: every quadratic form went from 0.81 Q to Q, and W ⊥ a from 0.9 to 1 of its end."""
    experiment, values = seen
    W_Q, W_K, W_V, W = (np.asarray(experiment.start[0][name]) for name in ("W_Q", "W_K", "W_V", "W"))
    a, heads = np.asarray(experiment.start[1].constants["a"]), experiment.model.heads
    queries, keys, value = (matrix.reshape(heads, 8, -1) for matrix in (W_Q, W_K, W_V))
    pairs = [
        (W.T @ W, np.einsum("hmd,hnd->mn", value, value)),
        (queries @ queries.mT, keys @ keys.mT),
        (W, np.outer(a, a @ W) / len(a)),
    ]
    share = [np.abs(one - other).max() / max(np.abs(one).max(), np.abs(other).max()) for one, other in pairs]
    np.testing.assert_allclose(values["drift"], np.multiply(share, [0.19, 0.19, 0.1]), rtol=1e-12)


def test_attention_by_words(seen):
    """Over the words of its sample the attention of a query adds to one; it is softmax(score/√m); elsewhere zero."""
    experiment, values = seen
    heads, words = experiment.model.heads, experiment.words
    attention = np.asarray(values["attention"]).reshape(heads, 4, words, words)
    scores = np.asarray(values["scores"]).reshape(heads, words, words)
    for kind, tokens in enumerate(np.asarray(experiment.task.canonical)):
        present = np.isin(np.arange(words), tokens)
        np.testing.assert_allclose(attention[:, kind].sum(axis=1), np.tile(present, (heads, 1)), atol=1e-12)
        e = np.exp(scores / np.sqrt(experiment.model.width)) * present[:, None]
        expected = e / e.sum(axis=1, keepdims=True) * present
        np.testing.assert_allclose(attention[:, kind], expected, rtol=1e-10, atol=1e-12)


def test_a_survey_without_fresh_samples(small):
    view = View(small.start[1], small.drawn[2], small.start[0], small.words)
    with pytest.raises(dynamics.ConfigError, match="probes = 'population_loss': needs a survey with an evaluation set"):
        evaluator(("loss", "population_loss"), view)


def decompositions(jaxpr):
    """The shapes of the matrices that a program decomposes."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in (
            "eigh",
            "eig",
            "svd",
            "lu",
            "qr",
            "geqrf",
            "cholesky",
            "schur",
            "triangular_solve",
        ):
            yield equation.primitive.name, equation.invars[0].aval.shape
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            yield from decompositions(getattr(inner, "jaxpr", inner)) if hasattr(inner, "eqns") else ()


MARKOV = {"name": "markov", "samples": 9, "length": 5, "vocabulary": 6, "concentration": 0.3}
LAYERS = {"name": "transformer", "width": 8, "heads": 2, "layers": 2, "neurons": 0, "scores": "factored"}


@pytest.mark.parametrize("kind", ["weights", "gram", "sequence"])
def test_matrices_are_decomposed_one_after_another(kind):
    """Two batched decompositions in one program may deadlock: see dynamics.analysis.attention."""
    config = small_config(**{"model.heads": 2, "init.draw": "gram" if kind == "gram" else "weights"})
    config["laws"] = {"flow": {"name": "gram_flow" if kind == "gram" else "flow", "rtol": 1e-6, "atol": 1e-8}}
    if kind == "sequence":
        config.update(task=MARKOV, model=LAYERS, init={"name": "lecun_normal"}, words=6, probes=("loss",))
    experiment = dynamics.Experiment.from_config(config)
    params, objective, survey = experiment.abstract_start("flow")
    names = [name for name, probe in PROBES.items() if probe.fits(experiment.task, objective.model)]
    names = [name for name in names if not PROBES[name].evaluation]

    def evaluate(params, objective, survey):
        return evaluator(tuple(names), View(objective, survey, params, experiment.words))(params)

    shapes = list(decompositions(jax.make_jaxpr(evaluate)(params, objective, survey).jaxpr))
    assert len(shapes) >= 3
    for name, shape in shapes:
        assert len(shape) == 2, (name, shape)


def test_attention_to_the_first_position_to_itself_and_what_is_read():
    """By loops over layers, heads, queries and samples; a learned sink takes a part of the attention."""
    config = small_config(probes=("loss",), **{"init.std_of": {}, "checkpoints": 1})
    config["task"] = {"name": "markov", "samples": 3, "length": 4, "vocabulary": 5}
    config["model"] = {"name": "transformer", "width": 4, "heads": 2, "layers": 2, "sink": True}
    config["laws"] = {"gd": {"name": "gd", "learning_rate": 0.1}}
    names = ("attention_on_first", "attention_on_self", "attention_unspent", "value_norm_ratio", "read_norm")
    experiment = dynamics.Experiment.from_config({**config, "probes": names})
    params, objective, survey = experiment.drawn
    view = View(objective, survey, params, experiment.words)
    seen = jax.jit(evaluator(names, view))(params)
    inside = jax.tree.map(np.asarray, jax.jit(lambda p: objective.apply(p, objective.batch.inputs)[1])(params))
    p, v = inside["attention"], inside["value_vectors"]  # [layer, H, key, query, n], [layer, H, key, e, n]
    by_hand = {name: np.zeros((2, 2)) for name in names}
    for x, h in np.ndindex(2, 2):
        rows = [(q, i) for q in range(1, 4) for i in range(3)]
        by_hand["attention_on_first"][x, h] = np.mean([p[x, h, 0, q, i] for q, i in rows])
        by_hand["attention_on_self"][x, h] = np.mean([p[x, h, q, q, i] for q, i in rows])
        by_hand["attention_unspent"][x, h] = np.mean([1 - p[x, h, :, q, i].sum() for q, i in rows])
        by_hand["read_norm"][x, h] = np.mean([np.linalg.norm(p[x, h, :, q, i] @ v[x, h, :, :, i]) for q, i in rows])
        norms = np.linalg.norm(v[x, h], axis=1)
        by_hand["value_norm_ratio"][x, h] = norms[0].mean() / np.median(norms[1:])
    for name in names:
        np.testing.assert_allclose(seen[name], by_hand[name], rtol=1e-11, err_msg=name)
    assert (by_hand["attention_unspent"] > 0.01).all()
