"""What gradient flow conserves: balanced and small starts, rates, frozen parameters, and the size of a drift."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.analysis.invariants import ALLOWED, largest_drift, relative_drift
from dynamics.cli.console import certificate
from dynamics.models import Balance, GramModel
from dynamics.models.attention import Constant, Factored, LinearValue, MLPValue, Tied

TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 5, (4, 4)), jnp.int32)
RATES = {"W": 0.3, "W_V": 2.0, "W_K": 0.5, "W_Q": 1.7, "W_O": 0.6, "c": 1.3}


def change(model, loss, params, rates, constants=None, weighed_with=None):
    """|dQ/dt| of every balance along θ̇ = −r ∂L/∂θ, relative to the velocity of its terms."""

    def weighed(params):
        balances = model.apply({"params": params, "constants": constants or {}}, method="conserved")
        assert [balance.name for balance in balances] == model.coordinates["conserved"]
        return [balance.weighed(rates if weighed_with is None else weighed_with) for balance in balances]

    @jax.jit
    def velocities(params):
        velocity = {name: -rates.get(name, 1.0) * slope for name, slope in jax.grad(loss)(params).items()}
        return jax.jvp(weighed, (params,), (velocity,))[1]

    return np.array([np.abs(one - other).max() / np.abs(one).max() for one, other in velocities(params)])


def drift_of(model, start, end, rates, constants=None):
    balances = [model.apply({"params": p, "constants": constants or {}}, method="conserved") for p in (end, start)]
    assert [balance.name for balance in balances[0]] == model.coordinates["conserved"]
    return np.asarray(relative_drift(*balances, rates))


PARTS = [
    ({"scores": Factored(), "values": LinearValue()}, 2),
    ({"scores": Constant(), "values": LinearValue()}, 2),
    ({"scores": Tied(2), "values": MLPValue(5)}, 1),
    ({"scores": Tied(2), "values": LinearValue(output=False)}, 0),
]


@pytest.mark.parametrize(("parts", "count"), PARTS, ids=str)
def test_balances_of_the_parts(parts, count):
    """Of a flow whose parameters have rates of their own; with wrong rates they are not constant."""
    model = dynamics.Transformer(vocabulary=5, length=4, width=4, heads=2, layers=2, sink=True, **parts)
    assert ("conserved" in model.capabilities) == (count > 0) and len(model.coordinates["conserved"]) == count
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]

    def loss(params):
        return jnp.mean((model.apply({"params": params}, TOKENS)[0] - 1.0) ** 2)

    if count == 0:
        assert model.apply({"params": params}, method="conserved") == ()
    else:
        assert (change(model, loss, params, RATES) < 1e-12).all()
        assert (change(model, loss, params, {}) < 1e-12).all()
        assert (change(model, loss, params, RATES, weighed_with={}) > 1e-3).all()


@pytest.fixture(scope="module")
def one_layer():
    params, objective = dynamics.Experiment.from_config(small_config(**{"model.heads": 2})).start
    return SimpleNamespace(params=params, objective=objective, model=objective.model)


def test_rates_of_the_one_layer_model(one_layer):
    """In weights, and in the Gram matrices at the same parameters."""
    params, objective, model = one_layer.params, one_layer.objective, one_layer.model
    square, scores, orthogonal = change(model, objective.loss, params, RATES, objective.constants)
    assert square < 1e-12 and scores < 1e-12
    assert orthogonal < 1e-12  # its terms move along a, both alike
    reduced = GramModel.of(model)

    @jax.jit
    def velocities(params):
        velocity = {name: -RATES[name] * slope for name, slope in jax.grad(objective.loss)(params).items()}

        def weighed(params, rates):
            gram = objective.apply(params, method="gram")._asdict()
            balances = reduced.apply({"params": gram}, method="conserved")
            return [balance.weighed(rates) for balance in balances]

        return [jax.jvp(lambda p, r=rates: weighed(p, r), (params,), (velocity,))[1] for rates in (RATES, {})]

    right, wrong = velocities(params)
    for (one, other), (one_wrong, other_wrong) in zip(right, wrong, strict=True):
        assert abs(one - other) < 1e-12 * abs(one) and abs(one_wrong - other_wrong) > 1e-3 * abs(one_wrong)


def test_a_frozen_parameter_makes_its_balances_trivial(one_layer):
    params, objective, model = one_layer.params, one_layer.objective, one_layer.model
    end = jax.tree.map(lambda x: 0.9 * x, params)
    drift = drift_of(model, params, end, {"W_K": 0.0}, objective.constants)
    assert np.isnan(drift[1]) and (drift[[0, 2]] > 1e-3).all()
    assert largest_drift(drift) == drift[[0, 2]].max()
    everything = drift_of(model, params, end, dict.fromkeys(params, 0.0), objective.constants)
    assert np.isnan(everything).all() and largest_drift(everything) is None
    assert "none, the config has no probe drift, or the law moves nothing" in certificate("flow", {})


@pytest.mark.parametrize("start", ["balanced", "small"])
def test_balanced_and_small_starts_are_not_condemned(start):
    """Q(0) = 0, and Q(0) far below what its terms grow to: drifts relative to Q(0) would be far above ALLOWED rtol."""
    rtol = 1e-8
    laws = {"flow": {"name": "flow", "rtol": rtol, "atol": rtol / 100}}
    experiment = dynamics.Experiment.from_config(small_config(laws=laws, probes=("loss",), checkpoints=1))
    params, objective = experiment.start
    a = objective.constants["a"]
    if start == "balanced":
        u = 0.3 * jnp.ones(8)
        params = {"W_Q": params["W_K"], "W_K": params["W_K"], "W": jnp.outer(a, u), "W_V": jnp.outer(u, jnp.ones(9))}
        params["W_V"] = params["W_V"] * jnp.sqrt(6 / 9)  # WᵀW = 6 u uᵀ = W_V W_Vᵀ
    else:
        params = {name: matrix / (100 if name in ("W", "W_V") else 1) for name, matrix in params.items()}
    law = experiment.laws["flow"]

    @jax.jit
    def follow(params, objective):
        times = jnp.array([0.0, 100.0])
        return law(objective, params, times, lambda p: {"loss": objective.loss(p)}, jax.random.key(0)).params

    end = follow(params, objective)
    before, after = ([np.asarray(b.term - b.other) for b in conserved(objective, p)] for p in (params, end))
    to_start = [np.abs(q - q0).max() / max(np.abs(q0).max(), 1e-300) for q, q0 in zip(after, before, strict=True)]
    assert to_start[0] > 100 * rtol, to_start
    drift = drift_of(objective.model, params, end, {}, objective.constants)
    assert (drift < ALLOWED * rtol).all(), drift
    # An error in the parameters is still seen.
    wrong = {**end, "W_V": 1.001 * end["W_V"], "W_K": 1.001 * end["W_K"], "W": end["W"].at[0].multiply(1.001)}
    assert (drift_of(objective.model, params, wrong, {}, objective.constants) > 1e-4).all()


def conserved(objective, params):
    return objective.apply(params, method="conserved")


def balance(term, other, of=("A", "B")):
    return Balance("A − B", of, jnp.asarray(term), jnp.asarray(other))


def drifts(now, start, rates=None):
    return float(relative_drift((now,), (start,), rates or {})[0])


def test_the_size_of_a_drift():
    """|Q(t) − Q(0)| over the largest entry of both terms, at 0 and at t."""
    start, end = balance([1.0, 2.0], [1.0, 2.0]), balance([1.0, 4.0], [1.0, 3.0])
    assert drifts(end, start) == drifts(start, end) == 1 / 4
    assert drifts(balance([0.0, 4.0], [1.0, 8.0]), balance([0.0, 1.0], [0.0, 1.0])) == 4 / 8
    # Rates 2 of A and 3 of B: 3 A − 2 B is conserved.
    np.testing.assert_allclose(drifts(end, start, {"A": 2.0, "B": 3.0}), (3 * 4 - 2 * 3 - 2) / 12)
    assert drifts(balance([3.0], [1.0], ("A",)), balance([2.0], [1.0], ("A",)), {"A": 5.0}) == 1 / 3
    assert np.isnan(drifts(end, start, {"A": 0.0})) and np.isnan(drifts(end, start, {"B": 0.0}))
    zero = balance([0.0], [0.0])
    assert drifts(zero, zero) == 0
    for bad in (np.nan, np.inf):
        assert drifts(balance([bad], [1.0]), zero) == np.inf


def test_a_squared_norm():
    """‖3 T − 2 O‖² from its three terms."""
    T, other = np.random.default_rng(1).normal(size=(2, 4, 4))
    squares = (jnp.sum(T**2), jnp.sum(other**2), 2 * jnp.sum(T * other))
    plus, minus = dataclasses.replace(balance(*squares[:2]), cross=squares[2]).weighed({"A": 2.0, "B": 3.0})
    np.testing.assert_allclose(plus - minus, np.sum((3 * T - 2 * other) ** 2), rtol=1e-12)
