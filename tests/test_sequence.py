"""The transformer on sequences against its formula, its symmetries and the conserved quantities of its flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import recorded, small_config
from scipy.special import softmax

import dynamics
from dynamics.config import build
from dynamics.objectives.losses import cross_entropy
from dynamics.objectives.regularisers import SpectrumPenalty
from dynamics.probes import PROBES, Survey, View, coordinates, dimensions, evaluator

V, L, M = 5, 6, 8
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, V, (3, L)), jnp.int32)
RICH = {"heads": 2, "layers": 2, "neurons": 7, "norm": "layer"}


def model(**settings):
    return build(dynamics.Transformer, {"width": M, **settings}, "model.", name=None, vocabulary=V, length=L)


def start(**settings):
    built = model(**settings)
    params, constants = jax.jit(lambda key: dynamics.Initialisation("lecun_normal")(built, key, TOKENS[:1]))(
        jax.random.key(1)
    )
    assert constants == {}
    return built, jax.tree.map(lambda x: 3 * x, params)  # attention that is not uniform


def applied(built, params, tokens=TOKENS):
    return jax.jit(built.apply)({"params": params}, tokens)


def score_matrices(built, params):
    return jax.jit(lambda params: built.apply({"params": params}, method="score_matrices"))(params)


def markov(parts=None, **changes):
    config = dynamics.base()
    config.task = {"name": "markov", "samples": 9, "length": L, "vocabulary": V, "concentration": 0.3}
    config.model = {"name": "transformer", "width": M, "heads": 2, "layers": 2, "neurons": 0, "scores": "factored"}
    config.model = {**config.model, **(parts or {})}
    config.init.name = "lecun_normal"
    config.regulariser = {"name": "qk_spectrum", "kappa": 0.1, "tau": 4.0, "pin": 1.0}
    config.laws = {"flow": {"name": "flow", "rtol": 1e-9, "atol": 1e-11}}
    config.times.update(start=0.1, stop=5.0, count=4)
    config.update(words=V, checkpoints=1, probes=("loss", "drift"))
    config.wandb.mode = "disabled"
    config.update_from_flattened_dict(changes)
    return dynamics.Experiment.from_config(config.to_dict())


def normed(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


SLOW = [pytest.param({}, marks=pytest.mark.slow), pytest.param({"residual": False, "heads": 4}, marks=pytest.mark.slow)]


@pytest.mark.parametrize("settings", [RICH, *SLOW], ids=["rich", "plain", "no residual"])
def test_the_formula(settings):
    """The output, computed sample by sample, query by query and head by head."""
    built, params = start(**settings)
    logits, seen = applied(built, params)
    p = jax.tree.map(np.asarray, params)
    heads, layers = built.heads, built.layers
    e, hat = M // heads, normed if built.norm == "layer" else lambda x: x
    for n, words in enumerate(np.asarray(TOKENS)):
        x = p["E"][words] + p["P"]
        for layer in range(layers):
            np.testing.assert_allclose(seen["states"][layer, n], x, rtol=1e-12)
            read, before = np.zeros_like(x), hat(x)
            for h in range(heads):
                rows = slice(h * e, (h + 1) * e)
                W = p["W_K"][layer, rows].T @ p["W_Q"][layer, rows] / np.sqrt(e)
                for q in range(L):
                    weights = softmax(before[: q + 1] @ W @ before[q])
                    np.testing.assert_allclose(seen["attention"][layer, h, : q + 1, q, n], weights, rtol=1e-10)
                    assert not np.any(seen["attention"][layer, h, q + 1 :, q, n])
                    value = p["W_O"][layer][:, rows] @ p["W_V"][layer, rows]
                    read[q] += value @ (weights @ before[: q + 1])
            x = x + read if built.residual else read
            if built.neurons:
                x = x + np.asarray(jax.nn.gelu(hat(x) @ p["W_1"][layer].T)) @ p["W_2"][layer].T
        np.testing.assert_allclose(logits[n], hat(x) @ p["U"].T, rtol=1e-9, atol=1e-12)


def test_later_words_change_nothing_before_them():
    changed = TOKENS.at[:, 4].set((TOKENS[:, 4] + 1) % V)
    for mask, same in (("causal", True), ("full", False)):
        built, params = start(mask=mask, **RICH)
        one, other = (np.asarray(applied(built, params, tokens)[0]) for tokens in (TOKENS, changed))
        assert np.array_equal(one[:, :4], other[:, :4]) is same
        assert not np.array_equal(one[:, 4:], other[:, 4:])


@pytest.mark.slow
def test_two_ways_to_write_the_scores():
    built, params = start(heads=2)
    other, others = start(heads=2, scores="bilinear")
    matrices = score_matrices(built, params)
    others = {**others, **{k: v for k, v in params.items() if k in others}, "W_QK": matrices * np.sqrt(M)}
    np.testing.assert_allclose(score_matrices(other, others), matrices, rtol=1e-12)
    np.testing.assert_allclose(applied(other, others)[0], applied(built, params)[0])


@pytest.mark.parametrize("normaliser", ["relu", "linear"])
def test_other_normalisers(normaliser):
    built, params = start(normaliser=normaliser)
    p = np.asarray(applied(built, params)[1]["attention"])[0, 0]
    x = np.asarray(params["E"])[np.asarray(TOKENS)] + np.asarray(params["P"])
    W = np.asarray(score_matrices(built, params))[0, 0]
    scores = np.einsum("nkm,mp,nqp->kqn", x, W, x) / np.arange(1, L + 1)[None, :, None]
    scores = np.maximum(scores, 0) if normaliser == "relu" else scores
    np.testing.assert_allclose(p, np.where(np.triu(np.ones((L, L)))[..., None] > 0, scores, 0), rtol=1e-10, atol=1e-13)


@pytest.mark.slow
def test_float32_is_float32():
    built, params = start(dtype="float32", **RICH)
    leaves = jax.tree.leaves((params, applied(built, params)))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_cross_entropy():
    label = TOKENS
    np.testing.assert_allclose(cross_entropy(jnp.zeros((3, L, V)), label), np.log(V), rtol=1e-14)
    logits = np.asarray(jax.random.normal(jax.random.key(2), (3, L, V)))
    p = softmax(logits, axis=-1)
    by_hand = [-np.mean([np.log(p[n, q, label[n, q]]) for q in range(L)]) for n in range(3)]
    np.testing.assert_allclose(cross_entropy(jnp.asarray(logits), label), by_hand, rtol=1e-12)


@pytest.mark.parametrize("scores", ["factored", pytest.param("bilinear", marks=pytest.mark.slow)])
def test_flow_conserves(scores):
    """Also with a penalty on the spectrum; without the name of what a bilinear score does not have."""
    experiment = markov(**{"model.scores": scores})
    probes = dynamics.solve(experiment, "flow").probes
    assert probes["loss"][-1] < 0.8 * probes["loss"][0]
    names = experiment.model.coordinates["conserved"]
    assert probes["drift"].shape[-1] == len(names) == (2 if scores == "factored" else 1)
    assert np.max(probes["drift"]) < 1e-7


def test_attention_probes_have_their_dimensions():
    experiment = markov(**{"model.neurons": 4, "model.norm": "layer"})
    params, objective = experiment.start
    task = experiment.task
    evaluation = task.evaluation_set(jax.random.key(0), task.evaluation, objective.batch.source)
    view = View(objective, Survey.of(task, objective.batch, evaluation), params, experiment.words)
    curvatures = ("sharpness", "starting_sharpness")  # long to compile; tests/test_curvature.py is about them
    fitting = [
        name
        for name, probe in PROBES.items()
        if probe.fits(experiment.task, experiment.model) and name not in curvatures
    ]
    assert "qk_spectrum" in fitting and "scores" not in fitting and "margin" not in fitting
    labels = coordinates(experiment.task, experiment.model, experiment.words)
    values = recorded(jax.jit(lambda: evaluator(tuple(fitting), view)(params))())
    rows = M // experiment.model.heads  # of the W_Q and W_K of a head
    assert (values["qk_numerical_rank"] == rows).all() and (values["qk_rank"] < rows).all()
    for name, value in values.items():
        if name != "parameters":
            assert value.shape == tuple(len(labels[dim]) for dim in dimensions(name, experiment.model)), name
        assert np.isfinite(np.asarray(value)).all(), name


def penalty(params, objective):
    return float(objective.loss(params) - jnp.mean(objective.losses(params)))


@pytest.mark.parametrize("scale", ["frobenius", "trace_square"])
def test_penalty(scale):
    """The penalty's value, gradient and minimum."""
    d, kappa, tau, pin = 5, 0.3, 4.0, 0.7

    def of(W):
        return SpectrumPenalty(kappa, tau, pin, scale)(W, lambda params, method: params)

    W = np.random.default_rng(1).normal(size=(2, 3, d, d))
    squares = W * (W if scale == "frobenius" else np.swapaxes(W, -1, -2))
    trace = np.trace(W, axis1=-2, axis2=-1)
    stated = kappa * (squares.sum() + pin * ((trace - tau) ** 2).sum()) / d
    np.testing.assert_allclose(of(jnp.asarray(W)), stated, rtol=1e-12)
    slope = jax.grad(of)(jnp.asarray(W))
    one = W if scale == "frobenius" else np.swapaxes(W, -1, -2)
    by_hand = 2 * kappa / d * (one + pin * (trace - tau)[..., None, None] * np.eye(d))
    np.testing.assert_allclose(slope, by_hand, rtol=1e-12, atol=1e-13)
    least = jnp.asarray(np.broadcast_to(pin * tau / (1 + pin * d) * np.eye(d), W.shape))
    np.testing.assert_allclose(jax.grad(of)(least), 0, atol=1e-13)


@pytest.mark.slow
def test_a_penalty_on_the_one_layer_model():
    """Its flow follows it: the matrices go to those at which the penalty is least, and the drift stays small."""
    experiment = dynamics.Experiment.from_config(
        small_config(
            regulariser={"name": "qk_spectrum", "kappa": 50.0, "tau": 3.0},
            **{"times.stop": 30.0, "times.count": 2, "checkpoints": 1, "probes": ("loss", "qk_moments", "drift")},
            laws={"flow": {"name": "flow", "rtol": 1e-8, "atol": 1e-10}},
        )
    )
    probes = dynamics.solve(experiment, "flow").probes
    assert np.max(probes["drift"]) < 1e-6
    # Of rank m = 8 in d = 9 dimensions: the mean eigenvalue is (8/9) τ/(8 + 1), and no other deviates from it.
    mean, variance, _, _ = probes["qk_moments"][-1]
    np.testing.assert_allclose([mean, variance], [8 / 9 / 3, 8 / 81 / 9], rtol=0.02)


def test_the_penalty_is_added_to_the_loss():
    """That of the score matrices, once; nothing for κ = 0."""
    params, objective = markov().start
    matrices = score_matrices(objective.model, params)
    np.testing.assert_allclose(
        penalty(params, objective), SpectrumPenalty(0.1, 4.0, 1.0)(params, lambda _, method: matrices), rtol=1e-12
    )
    params, objective = markov(**{"regulariser.kappa": 0.0}).start
    assert penalty(params, objective) == 0
    assert float(objective.minibatch_loss(params, jax.random.key(0), 9, False)) == float(objective.loss(params))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"probes": ("margin",)},
            "probes = 'margin': needs 'signed_targets', which this task, this model and the variables of its laws",
        ),
        ({"probes": ("scores",)}, "probes = 'scores': needs 'gram'"),
        ({"model.heads": 3}, "model.heads = 3: must divide the width, 8"),
        ({"regulariser.kappa": -1.0}, "regulariser.kappa = -1.0: must not be negative"),
        ({"regulariser.name": "nosuch"}, "regulariser.name = 'nosuch': must be one of 'qk_spectrum'"),
        (
            {"laws": {"flow": {"name": "gram_flow"}}},
            "laws.flow.name = 'GramFlow': needs a model with the capability 'gram'; this model has",
        ),
        ({"init.draw": "gram"}, "init.draw = 'gram': must be 'weights'"),
        ({"task.concentration": 0.0}, "task.concentration = 0.0: must be positive"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(dynamics.ConfigError, match=message.replace("(", r"\(")):
        markov(**changes)


def test_a_law_that_cannot_have_the_penalty():
    config = small_config(regulariser={"name": "qk_spectrum", "kappa": 1.0, "tau": 3.0})
    dynamics.Experiment.from_config(config)
    config["laws"]["reduced"] = {"name": "gram_flow"}
    message = (
        "regulariser.name = 'qk_spectrum': must be left out: it needs 'score_matrices', which laws.reduced does not"
    )
    with pytest.raises(dynamics.ConfigError, match=message):
        dynamics.Experiment.from_config(config)
