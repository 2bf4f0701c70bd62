"""The transformer with other parts than the usual ones, against its formula, and interventions on it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from test_sequence import TOKENS, L, M, V, markov

import dynamics
from dynamics.analysis import attention as measures
from dynamics.config import build
from dynamics.laws import GradientDescent
from dynamics.models import MODELS
from dynamics.models.attention import Full, times
from dynamics.probes import PROBES, View, evaluator, probe
from dynamics.probes.interventions import attention_replaced, direction_removed, edited, head_zeroed

VECTORS = jnp.asarray(np.random.default_rng(1).normal(size=(3, L, 4)))


def start(given=None, inputs=TOKENS, **settings):
    """A model and its parameters, 1.5 times those of the usual start."""
    given = {"vocabulary": V, "length": L, **(given or {})}
    model = build(MODELS["transformer"], {"width": M, **settings}, "model.", name=None, **given)
    params, _ = jax.jit(lambda key: dynamics.Initialisation("lecun_normal")(model, key, inputs))(jax.random.key(1))
    return model, jax.tree.map(lambda x: 1.5 * x, params)


def applied(model, params, inputs=TOKENS, edits=None, **rest):
    return jax.jit(lambda params: model.apply({"params": params}, inputs, edits or {}, **rest))(params)


def norms(kind, x):
    if kind == "layer":
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    size = np.linalg.norm(x, axis=-1, keepdims=True)
    return {"none": x, "l2": x / size, "rms": x / size * np.sqrt(M)}[kind]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("norm", ["l2", "rms", "layer"])
def test_norm_sink_relative_positions_and_vectors(norm, place):
    """Two layers with MLPs, computed query by query; vectors for inputs, another number of outputs."""
    parts = {"positions": "relative", "sink": True, "neurons": 3, "layers": 2, "heads": 2, "norm": norm}
    given = {"vocabulary": None, "inputs": 4, "outputs": 2}
    model, params = start(given, VECTORS, norm_place=place, **parts)
    output, seen = applied(model, params, VECTORS)
    p = jax.tree.map(np.asarray, params)
    assert p["U"].shape == (2, M) and p["W_E"].shape == (M, 4) and "P" not in p and "E" not in p

    def normed(at, x):
        return norms(norm if at == place else "none", x)

    for n, vectors in enumerate(np.asarray(VECTORS)):
        x = vectors @ p["W_E"].T
        for layer in range(2):
            hat, read = normed("before", x), np.zeros_like(x)
            for h in range(2):
                rows = slice(4 * h, 4 * h + 4)
                keys, queries, values = (hat @ p[name][layer, rows].T for name in ("W_K", "W_Q", "W_V"))
                for q in range(L):
                    bias = p["b_relative"][layer, h, q - np.arange(q + 1) + L - 1]
                    scores = np.append(keys[: q + 1] @ queries[q] / 2 + bias, p["b_sink"][layer, h])
                    weights = softmax(scores)[:-1]
                    np.testing.assert_allclose(seen["attention"][layer, h, : q + 1, q, n], weights, rtol=1e-10)
                    read[q] += p["W_O"][layer][:, rows] @ (weights @ values[: q + 1])
            x = normed("after", x + read)
            hat = normed("before", x)
            hidden = np.asarray(jax.nn.gelu(hat @ p["W_1"][layer].T))
            x = normed("after", x + hidden @ p["W_2"][layer].T)
            np.testing.assert_allclose(seen["states"][layer + 1, n], x, rtol=1e-10)
        hat = normed("before", x)
        np.testing.assert_allclose(output[n], hat @ p["U"].T, rtol=1e-9, atol=1e-12)


RICH = [
    {"scores": {"name": "tied", "rank": 3}, "mask": {"name": "window", "back": 2}, "norm": "l2", "sink": True},
    {"scores": "additive", "normaliser": {"name": "linear", "divisor": "length"}, "norm": "rms", "norm_place": "after"},
    {"scores": "constant", "values": {"name": "mlp", "hidden": 5}, "positions": "relative", "normaliser": "gumbel"},
]


@pytest.mark.parametrize("settings", RICH, ids=[str(one["scores"]) for one in RICH])
def test_gradients(settings):
    """Along a random direction of all parameters, against central differences."""
    model, params = start(heads=2, layers=2, **settings)
    rng = np.random.default_rng(2)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)
    weights = jnp.asarray(rng.normal(size=(3, L, V)))

    @jax.jit
    def both(params):
        def of(shift):
            moved = jax.tree.map(lambda x, v: x + shift * v, params, direction)
            return jnp.sum(weights * model.apply({"params": moved}, TOKENS)[0])

        return jax.grad(of)(0.0), (of(1e-5) - of(-1e-5)) / 2e-5

    np.testing.assert_allclose(*both(params), rtol=1e-6)


@pytest.mark.parametrize("values", ["linear", {"name": "mlp", "hidden": 5}], ids=["linear", "mlp"])
def test_what_heads_read_is_attention_times_values(values):
    """W_O times the reads of all heads, side by side, is what attention adds to the stream."""
    model, params = start(heads=2, layers=2, values=values)
    _, seen = jax.jit(model.apply)({"params": params}, TOKENS)
    reads_XxHxQxExN = measures.reads(seen["attention"], seen["value_vectors"])
    joined_XxNxQxP = jnp.moveaxis(reads_XxHxQxExN, (4, 2), (1, 2)).reshape(2, 3, L, -1)
    added = jnp.einsum("xnqp,xmp->xnqm", joined_XxNxQxP, params["W_O"])
    np.testing.assert_allclose(added, seen["states"][1:] - seen["states"][:-1], atol=1e-12)


def test_capabilities():
    model, _ = start()
    known = {"weights", "attention", "value_vectors", "states", "edits", "score_matrices", "conserved"}
    assert model.capabilities == known
    assert "score_matrices" not in start(scores="additive")[0].capabilities
    for name in ("hard", "gumbel"):
        assert "noise" in start(normaliser=name)[0].capabilities


def test_a_sink_takes_attention():
    """A low sink changes nothing; a high one leaves exactly the share 1/(1 + e^b / Σ e^s)."""
    model, params = start(sink=True, heads=2)
    without = start(heads=2)[0]
    rest = {name: value for name, value in params.items() if name != "b_sink"}
    p = np.asarray(applied(without, rest)[1]["attention"])
    low = applied(model, {**params, "b_sink": jnp.full((1, 2), -800.0)})[1]["attention"]
    np.testing.assert_allclose(low, p, rtol=1e-13)
    hard = start(sink=True, heads=2, normaliser="hard")[0]
    assert not np.asarray(applied(hard, {**params, "b_sink": jnp.full((1, 2), 1e6)})[1]["attention"]).any()


def test_noise():
    """From the stream "noise" alone: deterministic without, of its key with it, another in every layer."""
    model, params = start(normaliser="hard", layers=2, heads=2, scores={"name": "factored", "scale": 0.0})
    one, again = (applied(model, params)[1]["attention"] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert np.asarray(one)[:, :, 0].all()  # all scores are equal: the first key
    drawn = [
        np.asarray(applied(model, params, rngs={"noise": jax.random.key(seed)})[1]["attention"]) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any() and (drawn[0][0] != drawn[0][1]).any()
    assert set(np.unique(drawn[0])) == {0, 1} and (drawn[0].sum(axis=2) == 1).all()


def test_another_part_at_the_same_parameters():
    """Later words matter under another mask; the objective of the experiment is as it was."""
    params, objective = markov().start
    full = objective.changed(mask=Full())
    other = markov(**{"model.mask": "full"}).start[1]
    assert float(full.loss(params)) == float(other.loss(params)) != float(objective.loss(params))
    assert full.batch is objective.batch


@pytest.fixture(scope="module")
def two_layers():
    experiment = markov()
    params, objective = experiment.start
    return params, objective, jax.jit(lambda params: objective.apply(params, objective.batch.inputs))(params)


def seen_with(edits, two_layers):
    params, objective, _ = two_layers
    of = edited(objective, edits)
    return jax.jit(lambda params: of.apply(params, objective.batch.inputs))(params)


def test_a_direction_removed(two_layers):
    """Nothing along it in any state after a layer; exactly nothing where the direction is an axis."""
    states = np.asarray(seen_with(direction_removed(3.0 * jnp.eye(M)[2]), two_layers)[1]["states"])
    assert states[0, ..., 2].any() and (states[1:, ..., 2] == 0).all() and states[1:, ..., 1].all()
    v = jax.random.normal(jax.random.key(4), (M,))
    states = np.asarray(seen_with(direction_removed(v), two_layers)[1]["states"])
    assert (np.abs(states[1:] @ np.asarray(v)) < 1e-14 * np.linalg.norm(v)).all()
    assert np.abs(states[0] @ np.asarray(v)).max() > 0.1


def test_zeroed_heads(two_layers):
    """One head is its rows of W_V zeroed; all heads are a model without attention, in which the stream stays."""
    params, objective, (logits, _) = two_layers
    one, _ = seen_with(head_zeroed(1, 0), two_layers)
    without = {**params, "W_V": params["W_V"].at[1, : M // 2].set(0)}
    expected = jax.jit(lambda params: objective.apply(params, objective.batch.inputs)[0])(without)
    np.testing.assert_allclose(one, expected, rtol=1e-12, atol=1e-14)
    assert np.abs(np.asarray(one) - np.asarray(logits)).max() > 1e-3
    nothing = {"heads": lambda layer, read: jnp.zeros_like(read)}
    none, seen = seen_with(nothing, two_layers)
    x = np.asarray(params["E"])[np.asarray(objective.batch.inputs)] + np.asarray(params["P"])
    np.testing.assert_array_equal(seen["states"], np.broadcast_to(x, seen["states"].shape))
    np.testing.assert_allclose(none, x @ np.asarray(params["U"]).T, rtol=1e-12, atol=1e-14)


def test_attention_replaced(two_layers):
    """By itself: nothing changes, bit for bit. By uniform attention: the mean of the values."""
    params, _, (logits, seen) = two_layers
    same, again = seen_with(attention_replaced(seen["attention"]), two_layers)
    np.testing.assert_array_equal(same, logits)
    np.testing.assert_array_equal(again["states"], seen["states"])
    uniform = jnp.full(seen["attention"].shape, 1 / L)
    states = np.asarray(seen_with(attention_replaced(uniform), two_layers)[1]["states"])
    W = np.asarray(params["W_O"][0] @ params["W_V"][0])
    mean = np.broadcast_to(states[0].mean(1, keepdims=True), states[0].shape)
    np.testing.assert_allclose(states[1] - states[0], mean @ W.T, rtol=1e-11, atol=1e-13)


def test_a_probe_with_an_intervention(two_layers, monkeypatch):
    """The example of dynamics.probes.interventions; the penalty on the score matrices stays in the loss."""
    monkeypatch.setitem(PROBES, "loss_without_head", None)  # taken out again after the test

    @probe(needs=("edits",))
    def loss_without_head(params, view):
        return edited(view.objective, head_zeroed(0, 0)).loss(params)

    params, objective, _ = two_layers
    view = View(objective, markov().drawn[2], params, V)
    measured = evaluator(("loss", "loss_without_head"), view)(params)
    without = {**params, "W_V": params["W_V"].at[0, : M // 2].set(0)}
    np.testing.assert_allclose(measured["loss_without_head"], objective.loss(without), rtol=1e-12)
    assert measured["loss"] != measured["loss_without_head"]


def test_a_config_with_parts():
    """Texts and groups of keys; options can be overridden by their keys; every law moves what there is."""
    parts = {
        "scores": {"name": "tied", "rank": 2},
        "mask": {"name": "window", "back": 1},
        "normaliser": "softmax",
        "sink": True,
    }
    changes = {"model.mask.back": 2, "model.normaliser": "relu", "times.start": 0.5, "probes": ("loss",)}
    experiment = markov(parts, **changes, laws={"gd": {"name": "gd", "learning_rate": 0.05}})
    assert experiment.model.mask.back == 2 and experiment.model.scores.rank == 2
    assert isinstance(experiment.laws["gd"], GradientDescent)
    probes = dynamics.solve(experiment, "gd").probes
    assert probes["loss"][-1] < probes["loss"][0]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"normaliser": "nosuch"}, "model.normaliser = 'nosuch': must be one of 'softmax', 'relu', 'linear'"),
        ({"scores": {"name": "tied", "rank": 0}}, "model.scores.rank = 0: must be at least 1"),
        ({"inputs": 3}, "model.inputs = 3: must be None, since the inputs are words, of a vocabulary of 5"),
        ({"scores": "additive"}, "regulariser.name = 'qk_spectrum': must be left out: it needs 'score_matrices'"),
    ],
)
def test_bad_configs(parts, message):
    with pytest.raises(dynamics.ConfigError, match=message):
        markov(parts)


def test_bad_input():
    for given, message in (
        ({"inputs": None}, "inputs = None: must be the number of entries of an input"),
        ({"inputs": 4}, "outputs = None: must be the number of entries of the output"),
    ):
        with pytest.raises(dynamics.ConfigError, match=message):
            dynamics.Transformer(vocabulary=None, length=L, width=M, **given)
    model, params = start()
    with pytest.raises(dynamics.ConfigError, match=r"inputs = 'float64\[3, 6, 4\]': must be words \[n, L\], integers"):
        model.apply({"params": params}, VECTORS)
    with pytest.raises(dynamics.ConfigError, match=r"edits.stats = .*: unknown key; did you mean 'states'"):
        model.apply({"params": params}, TOKENS, {"stats": lambda layer, x: x})
    model, params = start({"vocabulary": None, "inputs": 4, "outputs": 1}, VECTORS)
    with pytest.raises(dynamics.ConfigError, match=r"inputs = 'int32\[3, 6\]': must be vectors \[n, L, 4\]"):
        model.apply({"params": params}, TOKENS)


def test_no_gradient_is_transposed_in_memory():
    """Neither that of W x nor anything else of its size, before the gradient of W is taken from it; see `times`."""

    def loss(W, x):
        return jnp.sum(jax.nn.gelu(times(W, x)))

    shapes = jax.ShapeDtypeStruct((48, 8), float), jax.ShapeDtypeStruct((4, 6, 8), float)
    program = jax.jit(jax.grad(loss)).lower(*shapes).compile().as_text()
    assert " dot(" in program or "__ynn" in program
    assert not re.search(r" (copy|transpose)\(", program)
