"""Gram variables where samples hold few of the words: integrating only the blocks that move changes no result."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.laws import GramFlow, GramGradientDescent
from dynamics.models.moving_gram import MovingGramModel, few_move
from dynamics.objectives.parameters import Trained
from dynamics.objectives.regularisers import REGULARISERS


def of_many_words(**changes):
    """12 samples of 4 words out of 70, so that 48 words may move."""
    return dynamics.Experiment.from_config(small_config(**{"task.vocabulary": 70, **changes}))


@pytest.fixture(scope="module", params=[1, 2])
def variables(request):
    """(all entries, the objective of these), (those that move, the objective of these), at a start."""
    params, objective = of_many_words(**{"model.heads": request.param}).start
    trained = Trained(rates={"W_K": 0.5, "W_V": 3.0})
    objective = dataclasses.replace(objective, trained=trained)
    return GramGradientDescent(0.1).variables(params, objective), GramFlow().variables(params, objective)


def test_all_entries_have_the_same_values_and_velocities(variables):
    """By the derivative of the whole matrices along the velocity of the entries that move."""
    (gram, objective), (moving, objective_of_moving) = variables
    assert isinstance(objective_of_moving.model, MovingGramModel) and objective_of_moving.model.moving == 48
    seen, velocity = jax.jvp(
        lambda entries: objective_of_moving.apply(entries, method="gram"),
        (moving,),
        (objective_of_moving.velocity(moving),),
    )
    expected = objective.velocity(gram)
    for name, values in gram.items():
        np.testing.assert_allclose(getattr(seen, name), values, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(getattr(velocity, name), expected[name], rtol=1e-12, atol=1e-16)
        assert float(jnp.abs(expected[name]).max()) > 1e-3
    one, other = (of.apply(entries, method="conserved") for entries, of in variables)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13), one, other)


def test_any_sample_has_the_same_output(variables):
    """Also one with words that are in no sample of the training set."""
    (gram, objective), (moving, objective_of_moving) = variables
    tokens = jax.random.randint(jax.random.key(1), (200, 4), 0, 70)
    expected, of_layers = objective.apply(gram, tokens)
    output, seen = objective_of_moving.apply(moving, tokens)
    np.testing.assert_allclose(output, expected, rtol=1e-13)
    np.testing.assert_allclose(seen["scores"], of_layers["scores"], rtol=1e-13)
    batch = objective.batch._replace(inputs=tokens, targets=jnp.ones(200, jnp.int32), type=None)
    along = jax.jvp(lambda p: jnp.sum(objective.losses(p, batch)), (gram,), (objective.velocity(gram),))[1]
    also = jax.jvp(
        lambda p: jnp.sum(objective_of_moving.losses(p, batch)), (moving,), (objective_of_moving.velocity(moving),)
    )[1]
    np.testing.assert_allclose(also, along, rtol=1e-12)


def test_the_flow_is_that_of_the_weights():
    tight = {"solver": "dopri8", "rtol": 1e-12, "atol": 1e-14}
    experiment = of_many_words(
        **{
            "times.stop": 30.0,
            "words": 70,
            "probes": ("loss", "scores", "mlp", "value_gram", "scores_velocity", "drift"),
            "laws": {"weights": {"name": "flow", **tight}, "gram": {"name": "gram_flow", **tight}},
        }
    )
    weights, gram = (dynamics.solve(experiment, law) for law in ("weights", "gram"))
    assert set(gram.params) == {"A", "A_T", "G", "S", "C_V", "C_K", "C_Q"}
    for name in ("loss", "scores", "mlp", "value_gram", "scores_velocity"):
        scale = np.max(np.abs(weights.probes[name]))
        assert np.max(np.abs(gram.probes[name] - weights.probes[name])) < 1e-9 * scale
    assert weights.probes["loss"][-1] < 0.5 * weights.probes["loss"][0]
    assert 0 < np.max(gram.probes["drift"]) < 1e-9


def test_all_entries_move_where_words_are_few_or_the_loss_sees_all_of_them():
    assert few_move((12, 4), 61) and not few_move((12, 4), 60)
    params, objective = of_many_words().start
    shrinks = dataclasses.replace(objective, regulariser=REGULARISERS["l2"](weights={"*": 0.1}))
    for start in ((params, shrinks), of_many_words(**{"task.vocabulary": 60}).start):
        assert not isinstance(GramFlow().variables(*start)[1].model, MovingGramModel)
    moving, of_moving = GramFlow().variables(params, objective)
    again = GramFlow().variables(moving, of_moving)
    assert again[0] is moving and again[1] is of_moving
