"""Gram variables are exact: their trajectories equal those of the weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config
from scipy import stats

import dynamics
from dynamics.laws import LAWS, GramFlow
from dynamics.models import GramModel, HeavyBallStep, Transformer, at_rest


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


PROBES = ("loss", "scores", "mlp", "value_gram", "key_gram", "query_gram", "attention", "invariants")


def in_gram_variables(experiment):
    """The Gram matrices of the start, and the objective in Gram variables."""
    return GramFlow().variables(*experiment.start)


def both(heads, law, gram_law, stop, probes=PROBES):
    """(weights, Gram variables): trajectories of two sibling laws from one start."""
    config = small_config(**{"model.heads": heads, "times.spacing": "linear", "times.stop": stop, "times.count": 10})
    config["probes"], config["laws"] = probes, {"weights": law, "gram": gram_law}
    experiment = dynamics.Experiment.from_config(config)
    return [dynamics.solve(experiment, name) for name in ("weights", "gram")]


def difference(one, two):
    """The largest difference of every probe, relative to its largest value, over all times."""
    return {
        name: np.max(np.abs(one.probes[name] - two.probes[name])) / np.max(np.abs(one.probes[name]))
        for name in one.probes
    }


@pytest.mark.parametrize("heads", [slow(1), 2])
def test_flow(heads):
    tight = {"solver": "dopri8", "rtol": 1e-11, "atol": 1e-13}
    differences = difference(
        *both(heads, {"name": "flow", **tight}, {"name": "gram_flow", **tight}, 30.0, ("loss", "scores", "mlp"))
    )
    assert max(differences.values()) < 1e-9, differences


@pytest.mark.parametrize("heads", [slow(1), 2])
def test_descent_after_3000_steps(heads):
    eta = {"learning_rate": 0.05}
    differences = difference(*both(heads, {"name": "gd", **eta}, {"name": "gram_gd", **eta}, 150.0))
    assert max(differences.values()) < 1e-11, differences


@pytest.mark.parametrize("heads", [1, 2])
def test_heavy_ball_after_3000_steps(heads):
    settings = {"learning_rate": 0.005, "momentum": 0.9}
    weights, gram = both(
        heads, {"name": "heavy_ball", **settings}, {"name": "gram_heavy_ball", **settings}, 150.0, PROBES
    )
    assert int(weights.steps) == int(gram.steps) == 3000
    differences = difference(weights, gram)
    differences["loss at every time"] = np.max(np.abs(gram.probes["loss"] / weights.probes["loss"] - 1))
    assert max(differences.values()) < 1e-12, differences
    assert weights.probes["loss"][-1] < 0.1 * weights.probes["loss"][0]


def test_heavy_ball_without_momentum_is_descent(small):
    """At β = 0 a step has the equations of GramModel.step, from any momenta."""
    gram, objective = in_gram_variables(small)
    slope = jax.tree.map(jnp.negative, jax.grad(objective.loss)(gram))
    rates = objective.rates(gram)
    expected = objective.model.step(gram, slope, 0.3, rates, None)
    once, momenta = objective.model.heavy_ball_step(gram, at_rest(gram), slope, HeavyBallStep(0.3, 0.9), rates, None)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-14), once, expected)
    moving, _ = objective.model.heavy_ball_step(gram, momenta, slope, HeavyBallStep(0.3, 0.0), rates, None)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-14), moving, expected)
    assert max(float(jnp.abs(expected[name] - gram[name]).max()) for name in gram) > 1e-2


def test_sgd_on_the_same_minibatches():
    settings = {"learning_rate": 0.05, "batch_size": 5, "replacement": True}
    differences = difference(*both(1, {"name": "sgd", **settings}, {"name": "gram_sgd", **settings}, 150.0))
    assert max(differences.values()) < 1e-11, differences


def test_velocity_is_the_derivative_of_the_gram_matrices(small):
    """d/dt gram(θ(t)) = velocity(gram(θ)), by the chain rule along the velocity of the weights; no solver."""
    params, objective = small.start
    flow = jax.tree.map(jnp.negative, jax.grad(objective.loss)(params))
    _, expected = jax.jvp(lambda p: objective.apply(p, method="gram"), (params,), (flow,))
    gram, objective_of_gram = in_gram_variables(small)
    velocity = GramFlow().velocity(objective_of_gram, gram)
    for name, value in expected._asdict().items():
        np.testing.assert_allclose(velocity[name], value, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("heads", [slow(1), 2])
def test_spectra_are_those_of_the_weights(heads):
    """The non-zero eigenvalues of u uᵀ/m1 − Σ W_V W_Vᵀ and W_Q W_Qᵀ − W_K W_Kᵀ, at m = 8 rows; the others are zero."""
    experiment = dynamics.Experiment.from_config(small_config(**{"model.heads": heads}))
    params, objective = experiment.start
    gram = objective.apply(params, method="gram")
    value, score = dynamics.analysis.invariants.spectra(gram, experiment.model.neurons)
    split = {name: np.asarray(params[name]).reshape(heads, 8, -1) for name in ("W_Q", "W_K", "W_V")}
    u = objective.constants["a"] @ params["W"]
    matrices = [np.outer(u, u) / 6 - sum(V @ V.T for V in split["W_V"])]
    matrices += [Q @ Q.T - K @ K.T for Q, K in zip(split["W_Q"], split["W_K"], strict=True)]
    for seen, matrix in zip([value, *score], matrices, strict=True):
        exact = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(np.sort(seen), np.sort(np.append(exact, np.zeros(len(seen) - 8))), atol=1e-7)
        assert np.abs(exact).max() > 0.1


def test_spectra_are_constant():
    """The flow in Gram variables is isospectral; GD is not."""
    config = small_config(**{"times.stop": 20.0})
    config["probes"] = ("scores", "value_spectrum", "score_spectrum")
    config["laws"] = {
        "flow": {"name": "gram_flow", "rtol": 1e-11, "atol": 1e-13},
        "gd": {"name": "gram_gd", "learning_rate": 0.05},
    }
    experiment = dynamics.Experiment.from_config(config)
    flow, gd = (dynamics.solve(experiment, law).probes for law in ("flow", "gd"))
    for name in ("value_spectrum", "score_spectrum"):
        moved = [np.abs(probes[name] - probes[name][0]).max() / np.abs(probes[name][0]).max() for probes in (flow, gd)]
        assert moved[0] < 1e-7 and moved[1] > 1e-5, (name, moved)
    assert np.abs(flow["scores"][-1] - flow["scores"][0]).max() > 1e-2


def test_width_does_not_change_the_shape(small):
    """4 d² + d + 1 variables at any m."""
    gram, _ = in_gram_variables(small)
    d = small.task.vocabulary
    assert sum(x.size for x in gram.values()) == 4 * d**2 + d + 1


def test_recorded_like_the_others(tmp_path):
    config = small_config()
    config["laws"]["reduced"] = {"name": "gram_flow", "rtol": 1e-9, "atol": 1e-11}
    record = dynamics.execute(config, tmp_path, "run")
    assert record.status["state"] == "done"
    flow, reduced = record["flow"].load(), record["reduced"].load()
    np.testing.assert_allclose(reduced.loss, flow.loss, rtol=1e-6)
    assert list(reduced.conserved.values) == ["value_square", "score_square"] and float(reduced.drift.max()) < 1e-7
    assert set(record.params("reduced", 10.0)) == {"A", "G", "S", "C_V", "C_K", "C_Q"}


def test_a_probe_that_no_law_can_have_is_refused():
    """If one law of the config can have it, it is left out for the others."""
    config = small_config()
    config["probes"], config["laws"] = ("weight_norm", "loss"), {"gram": {"name": "gram_flow"}}
    message = (
        "probes = 'weight_norm': needs 'weights', which this task, this model and the variables of its laws do not"
    )
    with pytest.raises(dynamics.ConfigError, match=message):
        dynamics.Experiment.from_config(config)
    config["laws"]["flow"] = {"name": "flow"}
    experiment = dynamics.Experiment.from_config(config)
    assert experiment.probes_of("gram") == ("loss",) and experiment.probes_of("flow") == ("weight_norm", "loss")


GRAM_LAWS = {
    "gram_flow": {},
    "gram_gd": {"learning_rate": 0.1},
    "gram_sgd": {"learning_rate": 0.1, "batch_size": 2},
    "gram_heavy_ball": {"learning_rate": 0.1},
}


@pytest.mark.parametrize("name", GRAM_LAWS)
def test_variables(small, name):
    """Laws in Gram variables accept weights and Gram matrices; all other laws move the parameters themselves."""
    params, objective = small.start
    law = LAWS[name](**GRAM_LAWS[name])
    assert law.needs == ("gram",) and dynamics.GradientFlow.needs == ("weights",)
    gram, objective_of_gram = law.variables(params, objective)
    assert isinstance(objective_of_gram.model, GramModel) and float(objective_of_gram.constants["width"]) == 8
    np.testing.assert_allclose(gram["A"][0], params["W_K"].T @ params["W_Q"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(objective_of_gram.output(gram), objective.output(params), rtol=1e-12, atol=1e-15)
    again = law.variables(gram, objective_of_gram)
    assert again[0] is gram and again[1] is objective_of_gram
    same = dynamics.GradientFlow().variables(params, objective)
    assert same[0] is params and same[1] is objective


def test_another_model_is_refused(small):
    params, objective = small.start
    other = dataclasses.replace(objective, model=Transformer(vocabulary=9, length=4, width=8))
    with pytest.raises(dynamics.ConfigError, match="model = 'Transformer': must be one_layer"):
        GramFlow().variables(params, other)


def test_the_weights_of_another_model_are_refused(small):
    """A checkpoint of a wider model."""
    _, objective = small.start
    wider = dynamics.Experiment.from_config(small_config(**{"model.width": 16})).start[0]
    with pytest.raises(dynamics.ConfigError, match=r"params = \{'W': \(6, 16\), .*must have the shapes of the model, "):
        GramFlow().variables(wider, objective)
    with pytest.raises(dynamics.ConfigError, match="params = "):
        GramFlow().variables(in_gram_variables(small)[0], objective)


def test_narrow_starts_have_the_rank_of_their_width():
    """At m = 3 the 8 x 8 Gram matrix of [W_K, W_Q] has rank 3."""
    init = dynamics.Initialisation("normal", 0.3, {"W": 0.2}, "gram")
    gram = init.gram(dynamics.OneLayerTransformer(vocabulary=4, width=3, neurons=5), 3, jax.random.key(0))[0]
    A, C_K, C_Q = (np.asarray(gram[name][0]) for name in ("A", "C_K", "C_Q"))
    assert np.linalg.matrix_rank(np.block([[C_K, A], [A.T, C_Q]]), tol=1e-10) == 3


@pytest.mark.slow
@pytest.mark.parametrize("width", [12, 3])
def test_wishart_starts_have_the_law_of_the_weights(width):
    """2000 starts of either kind: every statistic passes a two-sample Kolmogorov-Smirnov test, p > 1e-3.

    At m = 3 the Wishart matrices of 5 and 8 columns are singular.
    """
    init, drawn = (dynamics.Initialisation("normal", 0.3, {"W": 0.2}, draw) for draw in ("weights", "gram"))
    model = dynamics.OneLayerTransformer(vocabulary=4, width=width, neurons=5)
    keys = jax.random.split(jax.random.key(7), 4000)

    def by_weights(key):
        params, constants = init(model, key, jnp.zeros((1, 1), jnp.int32))
        return model.apply({"params": params, "constants": constants}, method="gram")._asdict()

    def statistics(draw, keys):
        gram = jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(keys))
        A, G, C_V, C_K, C_Q = (gram[name][:, 0] for name in ("A", "G", "C_V", "C_K", "C_Q"))
        S, C_V, column = gram["S"], C_V[:, :, 0], G[..., None]
        pair = np.block([[C_K, A], [np.swapaxes(A, 1, 2), C_Q]])
        value = np.block([[C_V, column], [np.swapaxes(column, 1, 2), S[:, None, None]]])
        entries = [S, G[:, 0], G[:, 3], A[:, 0, 1], A[:, 3, 3], C_V[:, 0, 0], C_V[:, 3, 3], C_V[:, 0, 2]]
        entries += [C_K[:, 1, 1], C_Q[:, 0, 0], C_Q[:, 2, 3]]
        shapes = [np.linalg.slogdet(matrix[:, :width, :width])[1] for matrix in (pair, value)]
        shapes += [np.linalg.eigvalsh(pair)[:, -3], (A**2).sum((1, 2)), (C_K * C_Q).sum((1, 2)), (G**2).sum(1) / S]
        return np.stack([*entries, *shapes], axis=1)

    one = statistics(by_weights, keys[:2000])
    two = statistics(lambda key: drawn.gram(model, width, key)[0], keys[2000:])
    for column in range(one.shape[1]):
        assert stats.ks_2samp(one[:, column], two[:, column]).pvalue > 1e-3, column


@pytest.mark.parametrize("width", [slow(2**12), slow(2**20), 10**9])
def test_any_width(width):
    """A solve at m = 10^9 costs no more than at other m; the classification time is of order 1/m."""
    config = small_config(**{"model.width": width, "init.draw": "gram", "init.std": 0.3 / (4 * width) ** 0.5})
    config["probes"], config["laws"] = ("loss", "margin"), {"gram": {"name": "gram_flow"}}
    config["times"].update(start=1e-2 / width, stop=1e4 / width, count=60)
    experiment = dynamics.Experiment.from_config(config)
    assert sum(x.size for x in experiment.start_of("gram")[0].values()) == 4 * 81 + 9 + 1
    trajectory = dynamics.solve(experiment, "gram")
    t1 = dynamics.analysis.events.classification_time(trajectory.t, trajectory.probes["margin"])
    assert 1 < t1 * width < 1e4
    assert np.isfinite(trajectory.probes["loss"]).all()


REFUSED = {
    "weights move": ({"init.draw": "gram"}, "init.draw = 'gram': must be 'weights': laws.flow moves weights"),
    "negative": ({"model.width": -1}, "model.width = -1: must be at least 1"),
    "overflow": ({"model.width": 2**53}, "model.width = 9007199254740992: must be below 2**53"),
    "too wide": ({"model.width": 10**7}, "model.width = 10000000: must be at most 1000000 with init.draw='weights'"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_starts(changes, message):
    with pytest.raises(dynamics.ConfigError) as refused:
        dynamics.Experiment.from_config(small_config(**changes))
    assert str(refused.value).startswith(message)
