"""What is descended: losses and regularisers in closed form and by finite differences, which parameters train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config
from ml_collections import ConfigDict

import dynamics
from dynamics.laws import (
    Adam,
    Descent,
    Flow,
    GradientFlow,
    GramLaw,
    NormalisedFlow,
    PreconditionedFlow,
    RMSProp,
    StochasticModifiedEquation,
)
from dynamics.laws.flow import modified_velocity
from dynamics.laws.optimizers import AdamMoments, MeanSquare
from dynamics.objectives.losses import LOSSES
from dynamics.objectives.objective import MOST_BYTES
from dynamics.objectives.regularisers import L2, NuclearNorm
from dynamics.runs.engine import Program
from dynamics.runs.path import Path
from dynamics.sweeps.paths import integrated, plan
from dynamics.sweeps.sweep import Sweep
from experiments.cooccurrence import controls

WEIGHTS = ("W", "W_K", "W_Q", "W_V")
SHORT = {"times.stop": 2.0, "times.count": 4, "times.start": 0.1, "checkpoints": 2, "words": 9}
FLOW = {"rtol": 1e-10, "atol": 1e-13}


def solved(law, name="law", probes=("loss",), **changes):
    """The trajectory of a law of the small task."""
    config = small_config(**{**SHORT, **changes})
    config = {**config, "laws": {name: law}, "probes": probes}
    return dynamics.solve(dynamics.Experiment.from_config(config), name)


def slopes(function, x, h=1e-6):
    """Central finite differences."""
    x = np.asarray(x, float)
    slope = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        slope[i] = (float(function(jnp.asarray(x + step))) - float(function(jnp.asarray(x - step)))) / (2 * h)
    return slope


SIGNS, F = np.array([1, -1, 1, -1]), np.array([0.3, -2.0, -0.4, 1.7])
BY_HAND = {
    "logistic": np.log1p(np.exp(-SIGNS * F)),
    "exponential": np.exp(-SIGNS * F),
    "hinge": np.maximum(0, 1 - SIGNS * F),
    "squared": (F - SIGNS) ** 2 / 2,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_of_one_number(name):
    def of_samples(output):
        return LOSSES[name].of_samples(output, jnp.asarray(SIGNS))

    np.testing.assert_allclose(of_samples(jnp.asarray(F)), BY_HAND[name], rtol=1e-14)
    slope = jax.grad(lambda output: of_samples(output).sum())(jnp.asarray(F))
    np.testing.assert_allclose(slope, slopes(lambda output: of_samples(output).sum(), F), rtol=1e-7, atol=1e-9)


def test_losses_of_several_numbers():
    rng = np.random.default_rng(0)
    output, target = rng.normal(size=(3, 2, 4)), rng.normal(size=(3, 2, 4))
    squared = LOSSES["squared"].of_samples(jnp.asarray(output), jnp.asarray(target))
    np.testing.assert_allclose(squared, ((output - target) ** 2).sum(axis=(1, 2)) / 2, rtol=1e-14)
    classes = rng.integers(0, 4, 3)
    p = np.exp(output[:, 0]) / np.exp(output[:, 0]).sum(axis=1, keepdims=True)
    one = LOSSES["cross_entropy"].of_samples(jnp.asarray(output[:, 0]), jnp.asarray(classes))
    np.testing.assert_allclose(one, -np.log(p[np.arange(3), classes]), rtol=1e-13)


def test_a_loss_far_from_zero_does_not_underflow():
    margin = jnp.array([800.0])
    assert float(LOSSES["logistic"].of_samples(margin, jnp.array([-1]))[0]) == 800
    assert float(jax.grad(lambda F: LOSSES["logistic"].of_samples(F, jnp.array([1])).sum())(margin)[0]) == 0


def test_a_loss_chosen_in_the_config():
    """The loss of the same start, by hand from its outputs."""
    for name in ("hinge", "squared"):
        params, objective = dynamics.Experiment.from_config(small_config(loss=name)).start
        output = objective.output(params)
        expected = LOSSES[name].of_samples(output, objective.batch.targets).mean()
        assert float(objective.loss(params)) == pytest.approx(float(expected), rel=1e-14)
    with pytest.raises(dynamics.ConfigError, match="loss = 'cross_entropy': needs 'classes', which this task does not"):
        dynamics.Experiment.from_config(small_config(loss="cross_entropy"))
    with pytest.raises(dynamics.ConfigError, match="loss = 'nosuch': must be among logistic"):
        dynamics.Experiment.from_config(small_config(loss="nosuch"))


def test_a_loss_of_ones_own():
    @dynamics.loss("signed_targets")
    def cubic(output, target):
        return (output - target.astype(output.dtype)) ** 3

    try:
        params, objective = dynamics.Experiment.from_config(small_config(loss="cubic")).start
        by_hand = np.mean((np.asarray(objective.output(params)) - np.asarray(objective.batch.targets)) ** 3)
        assert float(objective.loss(params)) == pytest.approx(by_hand, rel=1e-13)
    finally:
        del LOSSES["cubic"]


PARAMS = {name: jnp.asarray(np.random.default_rng(i).normal(size=(3, 4))) for i, name in enumerate(WEIGHTS)}


def no_model(*_, **__):
    raise AssertionError("a penalty on parameters needs no model")


def test_l2():
    """Its value and gradient; a parameter has the weight of the first pattern that matches."""
    penalty = L2({"W_K": 0.5, "W_*": 2.0})
    value, slope = jax.value_and_grad(lambda params: penalty(params, no_model))(PARAMS)
    of = {"W": 0.0, "W_K": 0.5, "W_Q": 2.0, "W_V": 2.0}
    expected = sum(weight * float((PARAMS[name] ** 2).sum()) / 2 for name, weight in of.items())
    assert float(value) == pytest.approx(expected, rel=1e-14)
    for name, weight in of.items():
        np.testing.assert_allclose(slope[name], weight * PARAMS[name], rtol=1e-14)


def test_nuclear_norm():
    """The sum of singular values, over the matrices of a stack; its gradient is U Vᵀ."""
    penalty = NuclearNorm({"W": 0.7, "stack": 1.0})
    params = {**PARAMS, "stack": jnp.asarray(np.random.default_rng(5).normal(size=(2, 3, 3)))}
    value, slope = jax.value_and_grad(lambda params: penalty(params, no_model))(params)
    expected = 0.7 * np.linalg.norm(PARAMS["W"], "nuc") + sum(np.linalg.norm(one, "nuc") for one in params["stack"])
    assert float(value) == pytest.approx(expected, rel=1e-13)
    U, _, V_T = np.linalg.svd(PARAMS["W"], full_matrices=False)
    np.testing.assert_allclose(slope["W"], 0.7 * U @ V_T, rtol=1e-10, atol=1e-12)
    by_differences = slopes(lambda stack: penalty({**params, "stack": stack}, no_model), params["stack"])
    np.testing.assert_allclose(slope["stack"], by_differences, rtol=1e-6, atol=1e-8)


def test_ridge_in_a_flow():
    """Weights that the loss does not depend on decay as exp(−λt): W_K where W_Q is 0."""
    config = small_config(
        **{
            **SHORT,
            "init.std_of": {"W_Q": 1e-12},
            "train.only": ("W_K",),
            "regulariser": {"name": "l2", "weights": {"W_K": 0.3}},
        }
    )
    config = {**config, "laws": {"flow": {"name": "flow", **FLOW}}, "probes": ("weight_norm",)}
    norm = np.asarray(dynamics.solve(dynamics.Experiment.from_config(config), "flow").probes["weight_norm"])[:, 1]
    assert norm[-1] / norm[0] == pytest.approx(np.exp(-0.3 * 2.0), rel=1e-8)


class FrozenAttention(GramLaw, Flow):
    """Gradient flow of W_V and W with fixed W_K and W_Q, as a law written for it."""

    def velocity(self, objective, params):
        velocity = objective.velocity(params)
        return {**velocity, **{name: jnp.zeros_like(params[name]) for name in ("A", "C_K", "C_Q")}}


class WithFixedAttention(Descent):
    """A descent of the loss as a function of W_V and W alone."""

    def loss(self, objective, params, k, key):
        fixed = {name: jax.lax.stop_gradient(params[name]) for name in ("W_K", "W_Q")}
        return super().loss(objective, {**params, **fixed}, k, key)


class FrozenAdam(WithFixedAttention, AdamMoments):
    optimizer = Adam.optimizer


class FrozenRMSProp(WithFixedAttention, MeanSquare):
    optimizer = RMSProp.optimizer


@pytest.fixture
def frozen_attention(monkeypatch):
    written = {"frozen_attention": FrozenAttention, "frozen_adam": FrozenAdam, "frozen_rmsprop": FrozenRMSProp}
    for name, law in written.items():
        monkeypatch.setitem(dynamics.LAWS, name, law)


ATTENTION_FROZEN = {"train.only": controls.ALL_BUT_ATTENTION}


@pytest.mark.parametrize(
    ("special", "plain", "tolerance"),
    [
        ({"name": "frozen_attention", **FLOW}, {"name": "gram_flow", **FLOW}, 0),
        ({"name": "frozen_rmsprop", "learning_rate": 0.01}, {"name": "rmsprop", "learning_rate": 0.01}, 0),
        # The compiler orders Adam's products differently where the frozen ones are left out.
        ({"name": "frozen_adam", "learning_rate": 0.01}, {"name": "adam", "learning_rate": 0.01}, 1e-14),
    ],
    ids=lambda law: law["name"] if isinstance(law, dict) else None,
)
def test_frozen_attention_is_the_law_written_for_it(frozen_attention, special, plain, tolerance):
    one, other = solved(special), solved(plain, **ATTENTION_FROZEN)
    np.testing.assert_allclose(one.probes["loss"], other.probes["loss"], rtol=tolerance, atol=0)
    assert one.steps == other.steps
    for name, value in one.params.items():
        np.testing.assert_allclose(value, other.params[name], rtol=tolerance, atol=0)


def ids_of(config):
    """The ids of the paths of a config, by their laws."""
    (ids,) = plan({"": Sweep.of("one", ConfigDict(config), [{}])}).members.values()
    return ids


def test_a_law_says_itself_what_trains():
    adam, own = {"name": "adam", "learning_rate": 0.01}, {"train": {"only": controls.ALL_BUT_ATTENTION}}
    config = {**small_config(**SHORT), "laws": {"all": adam, "frozen": {**adam, **own}}, "probes": ("loss",)}
    experiment = dynamics.Experiment.from_config(config)
    paths = {law: Path(experiment, law) for law in experiment.laws}
    together = {law: dynamics.solve(experiment, law) for law in paths}
    for law, changes in (("all", {}), ("frozen", ATTENTION_FROZEN)):
        alone = solved(adam, **changes)
        np.testing.assert_array_equal(together[law].probes["loss"], alone.probes["loss"])
        changed = small_config(**{**SHORT, **changes}, laws={"law": adam}, probes=("loss",))
        assert ids_of(config)[law] == ids_of(changed)["law"]
        (batched,) = integrated(Program(paths[law], size=2), [paths[law]])
        np.testing.assert_allclose(batched.probes["loss"], alone.probes["loss"], rtol=1e-12)
    assert not np.array_equal(together["all"].probes["loss"], together["frozen"].probes["loss"])
    config["laws"]["frozen"]["train"] = {"only": ("W_X",)}
    with pytest.raises(dynamics.ConfigError, match=r"laws.frozen.train.only = 'W_X': must match one of the parameters"):
        dynamics.Experiment.from_config(config)


def start_and_end(law, **changes):
    config = {**small_config(**{**SHORT, **changes}), "laws": {"law": law}}
    experiment = dynamics.Experiment.from_config(config)
    return experiment.start[0], dynamics.solve(experiment, "law").params


MUON = {"name": "adam", "learning_rate": 0.01}


@pytest.mark.parametrize("law", [{"name": "flow", **FLOW}, {"name": "gd", "learning_rate": 0.05}, MUON])
def test_frozen_parameters_stay_and_others_move(law):
    start, end = start_and_end(law, **{"train.only": ("W_[KQ]",)})
    for name in ("W", "W_V"):
        np.testing.assert_array_equal(start[name], end[name])
    for name in ("W_K", "W_Q"):
        assert np.abs(start[name] - end[name]).max() > 1e-3


RATES = {"train.rates": {"W_[KQ]": 0.5, "W_V": 3.0}, "train.only": ("W_*",), "model.heads": 2}


@pytest.mark.parametrize(
    ("weights", "gram", "tolerance"),
    [
        ({"name": "flow", **FLOW}, {"name": "gram_flow", **FLOW}, 1e-8),
        ({"name": "gd", "learning_rate": 0.05}, {"name": "gram_gd", "learning_rate": 0.05}, 1e-12),
        ({"name": "heavy_ball", "learning_rate": 0.01}, {"name": "gram_heavy_ball", "learning_rate": 0.01}, 1e-12),
    ],
    ids=lambda law: law["name"] if isinstance(law, dict) else None,
)
def test_rates_in_gram_variables_are_those_of_the_weights(weights, gram, tolerance):
    """With a rate for every weight, and with a frozen one; without rates the end is another one."""
    probes = ("loss", "scores", "mlp", "value_gram", "key_gram", "query_gram")
    every = {"train.rates": {"W": 0.7, "W_K": 0.5, "W_Q": 0.25, "W_V": 3.0}, "model.heads": 2}
    for rates in (RATES,) if weights["name"] == "flow" else (RATES, every):  # a flow takes long to compile
        one = solved(weights, probes=probes, **rates)
        other = solved(gram, probes=probes, **rates)
        for name in probes:
            size = np.abs(one.probes[name]).max()
            np.testing.assert_allclose(one.probes[name] / size, other.probes[name] / size, atol=tolerance, err_msg=name)
    plain = solved(weights, **{"model.heads": 2})
    assert abs(plain.probes["loss"][-1] / one.probes["loss"][-1] - 1) > 0.01


RATED = {"W": 0.7, "W_K": 0.5, "W_V": 3.0}


@pytest.mark.parametrize(
    "law",
    [GradientFlow(), NormalisedFlow(epsilon=1e-3), PreconditionedFlow(epsilon=1e-3)],
    ids=lambda law: type(law).__name__,
)
def test_rates_multiply_the_velocity_of_every_flow(law):
    params, plain = dynamics.Experiment.from_config(small_config()).start
    _, rated = dynamics.Experiment.from_config(small_config(**{"train.rates": RATED})).start
    velocity, faster = jax.jit(lambda p: (law.velocity(plain, p), law.velocity(rated, p)))(params)
    for name in WEIGHTS:
        np.testing.assert_allclose(faster[name], RATED.get(name, 1.0) * velocity[name], rtol=1e-12)


def test_the_modified_flow_weighs_the_gradient_by_rates():
    """−r ∇(L + (η/4) Σ r g²), the derivative by hand of L and of Σ r g²; and the noise of SGD is multiplied by r."""
    _, rated = dynamics.Experiment.from_config(small_config(**{"train.rates": RATED})).start
    params, plain = dynamics.Experiment.from_config(small_config()).start

    def squares(params):
        gradient = jax.grad(plain.loss)(params)
        return sum(RATED.get(name, 1.0) * jnp.sum(gradient[name] ** 2) for name in WEIGHTS)

    velocity = jax.jit(lambda p: modified_velocity(rated, p, 0.3))(params)
    of_loss, of_squares = jax.jit(lambda p: (jax.grad(plain.loss)(p), jax.grad(squares)(p)))(params)
    law = StochasticModifiedEquation(0.1, batch_size=3)
    noise = jnp.asarray(np.random.default_rng(0).normal(size=12))
    kick, faster = jax.jit(lambda p: (law.kick(plain, p, noise), law.kick(rated, p, noise)))(params)
    for name in WEIGHTS:
        rate = RATED.get(name, 1.0)
        np.testing.assert_allclose(
            velocity[name], -rate * (of_loss[name] + 0.3 / 4 * of_squares[name]), rtol=1e-9, atol=1e-13
        )
        np.testing.assert_allclose(faster[name], rate * kick[name], rtol=1e-12, atol=1e-15)


def test_every_step_of_a_descent_has_its_own_noise():
    """A model with noise gets it from the key of the step, and none where it is only looked at."""
    config = small_config(probes=("loss",), **{"init.std_of": {}, "loss": None})
    config["task"] = {"name": "bag", "samples": 6, "length": 4, "vocabulary": 5}
    config["model"] = {"name": "transformer", "width": 4, "normaliser": "hard"}
    config["laws"] = {"gd": {"name": "gd", "learning_rate": 0.1}}
    of = dynamics.Experiment.from_config(config)
    (params, objective), law, key = of.start, of.laws["gd"], jax.random.key(3)
    noisy = jax.jit(lambda k: law.loss(objective, params, k, key))
    loss = jax.jit(lambda objective: objective.loss(params))
    by_hand = objective.with_noise(jax.random.fold_in(jax.random.fold_in(key, 2), 1))
    assert float(noisy(2)) == pytest.approx(float(loss(by_hand)), rel=1e-13)
    assert len({float(noisy(k)) for k in range(4)} | {float(loss(objective))}) == 5
    assert of.is_random("gd")


def test_rates_multiply_steps():
    """One step of descent: r_p times the plain step of each parameter, 0 for a frozen one."""
    law = {"name": "gd", "learning_rate": 0.05}
    once = {"times.spacing": "given", "times.given": (0.05,), "checkpoints": 1}
    start, plain = start_and_end(law, **once)
    _, end = start_and_end(law, **{**RATES, "model.heads": 1, **once})
    for name, rate in {"W": 0.0, "W_K": 0.5, "W_Q": 0.5, "W_V": 3.0}.items():
        np.testing.assert_allclose(end[name] - start[name], rate * (plain[name] - start[name]), rtol=1e-9, atol=1e-14)


def test_frozen_parameters_have_no_part_in_the_norm_of_the_gradient():
    """A step of normalised descent has the length η, all of it in the parameters that train."""
    law = {"name": "normalised_gd", "learning_rate": 0.05, "epsilon": 1e-12}
    once = {"times.spacing": "given", "times.given": (0.05,), "checkpoints": 1}
    start, end = start_and_end(law, **{"train.only": ("W_[KQ]",), **once})
    length = sum(float(jnp.sum((end[name] - start[name]) ** 2)) for name in WEIGHTS) ** 0.5
    assert length == pytest.approx(0.05, rel=1e-9)


def test_tied_parameters():
    """W_Q is W_K at all times; they move as one, by the sum of the gradients by both."""
    changes = {"train.tied": (("W_K", "W_Q"),), "times.spacing": "given", "times.given": (0.05,), "checkpoints": 1}
    law = {"name": "gd", "learning_rate": 0.05}
    start, end = start_and_end(law, **changes)
    for params in (start, end):
        np.testing.assert_array_equal(params["W_K"], params["W_Q"])
    _, objective = dynamics.Experiment.from_config(small_config()).start
    gradient = jax.grad(objective.loss)(start)
    moved = -0.05 * (gradient["W_K"] + gradient["W_Q"])
    np.testing.assert_allclose(end["W_K"] - start["W_K"], moved, rtol=1e-10, atol=1e-14)
    for name in ("W", "W_V"):
        np.testing.assert_allclose(end[name] - start[name], -0.05 * gradient[name], rtol=1e-9, atol=1e-14)


def test_tied_parameters_along_a_flow():
    """Small steps of tied descent come to the tied flow; that of untied parameters ends elsewhere."""
    tied = {"train.tied": (("W_K", "W_Q"),)}
    flow = solved({"name": "flow", **FLOW}, **tied).probes["loss"][-1]
    steps = [solved({"name": "gd", "learning_rate": eta}, **tied).probes["loss"][-1] for eta in (0.02, 0.01)]
    assert (steps[0] - flow) / (steps[1] - flow) == pytest.approx(2, abs=0.1)
    assert abs(solved({"name": "flow", **FLOW}).probes["loss"][-1] / flow - 1) > 1e-3


def drift(law, **changes):
    return solved(law, probes=("drift",), **changes).probes["drift"][-1]


@pytest.mark.parametrize(("law", "balances"), [("flow", 3), ("gram_flow", 2)])
def test_certificates_know_what_trains(law, balances):
    """Rates keep the weighed balances; one with a frozen weight certifies nothing, and is nan."""
    law = {"name": law, **FLOW}
    plain, frozen = drift(law), drift(law, **ATTENTION_FROZEN)
    assert (plain < 1e-8).all() and len(plain) == balances
    assert (drift(law, **{"train.rates": {"W_V": 3.0, "W_K": 0.2}}) < 1e-8).all()
    np.testing.assert_array_equal(np.isnan(frozen), [False, True, False][:balances])
    np.testing.assert_array_equal(np.isnan(drift(law, **{"train.only": ("W_*",)})), [True, False, True][:balances])
    assert (frozen[0] < 1e-8).all()


def test_certificates_know_penalties_and_ties():
    law = {"name": "flow", **FLOW}
    ridge = {"regulariser": {"name": "l2", "weights": {"W_K": 0.3}}}
    np.testing.assert_array_equal(np.isnan(drift(law, **ridge)), [False, True, False])
    np.testing.assert_array_equal(np.isnan(drift(law, **{"train.tied": (("W_K", "W_Q"),)})), [False, True, False])
    spectrum = {"regulariser": {"name": "qk_spectrum", "kappa": 0.1, "tau": 1.0}}
    assert (drift(law, **spectrum) < 1e-7).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.only": ("W_X",)}, "train.only = 'W_X': must match one of the parameters, W, W_K, W_Q, W_V"),
        ({"train.rates": {"X*": 1.0}}, r"train.rates.X\* = 'X\*': must match one of the parameters"),
        ({"train.rates": {"W": 0.0}}, "train.rates.W = 0.0: must be positive; `only` says what trains at all"),
        ({"train.tied": (("W_K", "W_X"),)}, "train.tied = 'W_X': must be among the parameters, W, W_K, W_Q, W_V"),
        ({"train.tied": (("W_K",),)}, "train.tied = .*: must be a list of groups of at least two parameters"),
        (
            {"train.tied": (("W", "W_K"),)},
            r"train.tied = 'W_K': must have the shape \(6, 8\) of W, to which it is tied",
        ),
        ({"train.tied": (("W_K", "W_Q"),), "train.only": ("W_K",)}, "train.tied = 'W_Q': must train as W_K does"),
        ({"train.tied": (("W_K", "W_Q"), ("W_Q", "W_V"))}, "train.tied = 'W_Q': must be in one group only"),
        (
            {"train.tied": (("W_K", "W_Q"),), "laws": {"law": {"name": "gram_flow"}}},
            "train.tied = .*: must be empty for laws.law",
        ),
        ({"regulariser": {"name": "l2", "weights": {"X": 1.0}}}, "regulariser.weights.X = 'X': must match one of"),
        ({"regulariser": {"name": "l2", "weights": {}}}, "regulariser.weights = {}: must be {pattern"),
        ({"regulariser": {"name": "nuclear", "weights": {"W": -1.0}}}, "regulariser.weights.W = -1.0: must not be"),
    ],
)
def test_bad_input(changes, message):
    laws = changes.pop("laws", None)
    config = small_config(**changes)
    with pytest.raises(dynamics.ConfigError, match=message):
        dynamics.Experiment.from_config({**config, "laws": laws} if laws else config)


def many_samples():
    """Losses of one-layer and of deeper models on 13 samples, a number that has no divisors."""
    words = jax.random.randint(jax.random.key(0), (13, 6), 0, 50)
    one = dynamics.OneLayerTransformer(vocabulary=50, width=8, neurons=4, heads=2)
    deep = dynamics.Transformer(vocabulary=50, length=6, width=8, layers=2, heads=2, neurons=4, norm="layer")
    sign = jnp.where(words[:, 0] < 25, 1, -1)
    for model, targets, loss in ((one, sign, "logistic"), (deep, words, "cross_entropy")):
        drawn = model.init(jax.random.key(1), words)
        constants = drawn.get("constants", {})
        yield drawn["params"], dynamics.Objective(model, constants, dynamics.Batch(words, targets), loss)


@pytest.mark.parametrize("parts", [4, 13])
def test_samples_in_parts_have_the_loss_of_all_at_once(parts, monkeypatch):
    """The loss, its gradient and a Hessian-vector product, up to rounding."""
    for params, objective in many_samples():

        def derived(params, objective=objective):
            hessian = jax.jvp(jax.grad(objective.loss), (params,), (params,))[1]
            return objective.loss(params), jax.grad(objective.loss)(params), hessian

        whole = jax.jit(derived)(params)
        held = objective.model.bytes_held((-(-13 // parts), 6))
        with monkeypatch.context() as patch:
            patch.setattr("dynamics.objectives.objective.MOST_BYTES", held)
            assert objective._parts(objective.batch) == parts
            of_parts = jax.jit(lambda params, derived=derived: derived(params))(params)  # traced again
            for found, expected in zip(jax.tree.leaves(of_parts), jax.tree.leaves(whole), strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


def test_the_memory_of_many_samples_is_bounded():
    """Samples that take 9 GB all at once, and 5 GB where parts forget nothing; the program is compiled, not run."""
    model = dynamics.OneLayerTransformer(vocabulary=4000, width=64, neurons=8)
    words, signs = jax.ShapeDtypeStruct((40_000, 64), jnp.int32), jax.ShapeDtypeStruct((40_000,), jnp.int32)
    params = {name: jax.ShapeDtypeStruct((64, 4000), jnp.float64) for name in ("W_Q", "W_K", "W_V")}
    params["W"] = jax.ShapeDtypeStruct((8, 64), jnp.float64)

    def gradient(params, words, signs):
        objective = dynamics.Objective(model, {"a": jnp.ones(8)}, dynamics.Batch(words, signs), "logistic")
        return jax.grad(objective.loss)(params)

    temporary = jax.jit(gradient).lower(params, words, signs).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 2 * MOST_BYTES  # which is for numbers that are counted roughly
