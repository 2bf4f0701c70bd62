"""The Gram variables are exact: the same trajectories as the weights, by another route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.laws import in_gram_variables

PROBES = ("loss", "scores", "mlp", "value_gram", "key_gram", "query_gram", "attention", "invariants")


def both(heads, law, gram_law, stop, count=10):
    """(weights, Gram variables): joined trajectories of two sibling laws from one start."""
    config = small_config(**{"model.heads": heads, "times.spacing": "linear", "times.stop": stop, "times.count": count})
    config["probes"], config["laws"] = PROBES, {"weights": law, "gram": gram_law}
    found = dynamics.Experiment.from_config(config)
    return [dynamics.joined([part for part, _ in dynamics.solve(found, name)]) for name in ("weights", "gram")]


def difference(one, two):
    """The largest difference of every probe, relative to its largest value, over all times."""
    return {
        name: np.max(np.abs(one.probes[name] - two.probes[name])) / np.max(np.abs(one.probes[name])) for name in PROBES
    }


@pytest.mark.parametrize("heads", [1, 2])
def test_flow(heads):
    tight = {"solver": "dopri8", "rtol": 1e-11, "atol": 1e-13}
    found = difference(*both(heads, {"name": "flow", **tight}, {"name": "gram_flow", **tight}, 30.0))
    assert max(found.values()) < 1e-9, found


@pytest.mark.parametrize("heads", [1, 2])
def test_descent_after_3000_steps(heads):
    eta = {"learning_rate": 0.05}
    found = difference(*both(heads, {"name": "gd", **eta}, {"name": "gram_gd", **eta}, 150.0))
    assert max(found.values()) < 1e-11, found


def test_sgd_on_the_same_minibatches():
    settings = {"learning_rate": 0.05, "batch_size": 5, "replacement": True}
    found = difference(*both(1, {"name": "sgd", **settings}, {"name": "gram_sgd", **settings}, 150.0))
    assert max(found.values()) < 1e-11, found


def test_velocity_is_the_derivative_of_the_reduction(small):
    """d/dt reduce(θ(t)) = velocity(reduce(θ)), by the chain rule along the weights' own velocity; no solver."""
    params, objective = small.start
    flow = jax.tree.map(jnp.negative, jax.grad(objective.loss)(params))
    _, expected = jax.jvp(lambda p: objective.apply(p, method="gram"), (params,), (flow,))
    state, reduced = in_gram_variables(params, objective)
    velocity = dynamics.laws.GramFlow().velocity(reduced, state)
    for name, value in expected._asdict().items():
        np.testing.assert_allclose(velocity[name], value, rtol=1e-11, atol=1e-14)


def test_spectra_are_constant(small):
    """The flow is isospectral: J·Gram([W_V, u]), J = diag(−I, 1/m1), and diag(I, −I)·Gram([W_Q, W_K])."""
    config = small_config(**{"times.stop": 20.0})
    config["probes"], config["laws"] = ("loss",), {"gram": {"name": "gram_flow", "rtol": 1e-11, "atol": 1e-13}}
    found = dynamics.Experiment.from_config(config)
    start, _ = found.start_of("gram")
    end = dynamics.joined([part for part, _ in dynamics.solve(found, "gram")]).params

    def spectra(state):
        A, G, S, C_V, C_K, C_Q = (np.asarray(state[name]) for name in ("A", "G", "S", "C_V", "C_K", "C_Q"))
        d, m1 = G.shape[1], found.model.neurons
        value = np.block([[C_V[0, :, 0], G[0][:, None]], [G[0][None], S]])
        attention = np.block([[C_Q[0], A[0].T], [A[0], C_K[0]]])
        J = np.diag([-1.0] * d + [1 / m1])
        return [np.sort(np.linalg.eigvals(m).real) for m in (J @ value, np.diag([1.0] * d + [-1.0] * d) @ attention)]

    for before, after in zip(spectra(start), spectra(end), strict=True):
        assert np.abs(before - after).max() < 1e-7 * np.abs(before).max()
    assert np.abs(np.asarray(start["A"]) - np.asarray(end["A"])).max() > 1e-2


def test_width_and_start_do_not_change_the_shape(small):
    """4 d² + d + 1 variables at any m."""
    state, _ = in_gram_variables(*small.start)
    d = small.task.vocabulary
    assert sum(x.size for x in state.values()) == 4 * d**2 + d + 1


def test_recorded_like_the_others(tmp_path):
    config = small_config()
    config["laws"]["reduced"] = {"name": "gram_flow", "rtol": 1e-9, "atol": 1e-11}
    record = dynamics.execute(config, tmp_path, "run")
    assert record.status["state"] == "done"
    flow, reduced = record["flow"].load(), record["reduced"].load()
    np.testing.assert_allclose(reduced.loss, flow.loss, rtol=1e-6)
    assert list(reduced.conserved.values) == ["I2", "I4"] and float(reduced.drift.max()) < 1e-7
    assert set(record.params("reduced", 10.0)) == {"A", "G", "S", "C_V", "C_K", "C_Q"}


def test_probes_of_weights_are_refused():
    config = small_config()
    config["probes"], config["laws"] = ("weight_norm",), {"gram": {"name": "gram_flow"}}
    with pytest.raises(dynamics.ConfigError, match=r"probes = 'weight_norm': needs weights, which laws\.gram does not"):
        dynamics.Experiment.from_config(config)


def test_another_model_is_refused(small):
    params, objective = small.start
    state, reduced = in_gram_variables(params, objective)
    with pytest.raises(dynamics.ConfigError, match="model = 'GramModel': must be one_layer"):
        in_gram_variables(state, reduced)
