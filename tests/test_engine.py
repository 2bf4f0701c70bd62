"""The integrator: a path alone, among others and resumed gives the same numbers; which paths share programs."""

import dataclasses

import jax
import ml_collections
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.runs.programs import STRATEGIES
from dynamics.trajectory import COMPLETED, NON_FINITE, joined
from experiments.cooccurrence import controls  # noqa: F401  (the task shuffled_labels)

LAWS = {
    "flow": {"name": "flow", "rtol": 1e-9, "atol": 1e-11},
    "adam": {"name": "adam", "learning_rate": 0.05},
    "sgd": {"name": "sgd", "learning_rate": 0.05, "batch_size": 4},
    "nesterov": {"name": "nesterov", "learning_rate": 0.005, "schedule": {"name": "cosine", "steps": 800}},
}


def experiment(**changes):
    laws = {name: dict(law) for name, law in LAWS.items()}
    config = ml_collections.ConfigDict(small_config(**{"laws": laws, "probes": ("loss", "scores", "parameters")}))
    config.update_from_flattened_dict(changes)
    return dynamics.Experiment.from_config(config.to_dict())


def trajectories(program, paths, state=None):
    """The trajectory of every path, from a state on."""
    segments = list(dynamics.integrate(program, paths, state))
    return [joined([segment.of_path(i, path.experiment) for segment in segments]) for i, path in enumerate(paths)]


@pytest.mark.parametrize("law", LAWS)
def test_a_path_alone_and_among_many(law):
    """Different seeds, scales, learning rates and draws in one program; fewer paths than it has places."""
    changes = ({}, {"seed": 3, "init.std": 0.2}, {"draw": 1}, {"laws.adam.learning_rate": 0.025, "seed": 7, "draw": 0})
    paths = [dynamics.Path(experiment(**one), law) for one in changes]
    alone = [dynamics.solve(path.experiment, law) for path in paths]
    ends = {float(one.probes["loss"][-1]) for one in alone}
    assert len(ends) == (4 if law == "sgd" else 3)  # a law that is not random does not depend on the draw
    for strategy in STRATEGIES:
        program = dynamics.Program(paths[0], 5, strategy)
        for one, other in zip(trajectories(program, paths), alone, strict=True):
            np.testing.assert_array_equal(one.t, other.t)
            assert one.probes["loss"].shape == (13,) and one.outcome == COMPLETED
            for name, values in other.probes.items():
                np.testing.assert_allclose(one.probes[name], values, rtol=1e-12, atol=1e-14)
            jax.tree.map(
                lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14), one.params, other.params
            )


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("size", [1, 2])
def test_resuming_from_a_state_gives_the_same_bits(law, size):
    paths = [dynamics.Path(experiment(seed=seed), law) for seed in range(size)]
    program = dynamics.Program(paths[0], size)
    first, *rest = dynamics.integrate(program, paths)
    assert len(rest) == 2
    state = first.state
    params, memory = jax.tree.map(np.array, (state.params, state.memory))  # copies, as after a restart
    state = state._replace(params=params, memory=memory, outcome=state.outcome.copy())
    resumed = list(dynamics.integrate(dynamics.Program(paths[0], size), paths, state))
    assert [segment.number for segment in resumed] == [1, 2]
    for one, other in zip(resumed, rest, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one.trajectory, other.trajectory)
    assert not np.array_equal(first.trajectory.probes["loss"], rest[0].trajectory.probes["loss"])


def test_a_path_that_fails_stops_no_other():
    whole = dynamics.Experiment.from_config(small_config())
    huge = {"laws.gd.learning_rate": 1e200, "times.spacing": "linear", "times.stop": 1.2e202}
    wild = dynamics.Experiment.from_config(small_config(**huge))
    paths = [dynamics.Path(one, "gd") for one in (wild, whole)]
    program = dynamics.Program(paths[0], 2)
    segments = list(dynamics.integrate(program, paths))
    assert len(segments) == 3 and segments[-1].trajectory.outcome.tolist() == [NON_FINITE, COMPLETED]
    failed, completed = trajectories(program, paths)
    assert 1 <= len(failed.t) < len(completed.t) == 13 and np.isfinite(failed.probes["loss"]).all()
    assert len(failed.probes["loss"]) == len(failed.t)
    np.testing.assert_allclose(completed.probes["loss"], dynamics.solve(whole, "gd").probes["loss"], rtol=1e-12)


def noise(**changes):
    return jax.random.key_data(experiment(**changes).noise_key).tolist()


def test_draws_of_the_noise():
    """Draws differ from one another; without a draw it is the noise key of the seed itself."""
    own = dynamics.runs.starts.named_keys(0)["noise"]
    assert noise() == jax.random.key_data(own).tolist()
    assert noise(draw=2) == jax.random.key_data(jax.random.fold_in(own, 2)).tolist()
    keys = [noise(), *(noise(draw=draw) for draw in range(3)), noise(seed=1)]
    assert len({tuple(key) for key in keys}) == 5
    ends = [float(dynamics.solve(experiment(draw=draw), "sgd").probes["loss"][-1]) for draw in (None, 0, 1, 1)]
    assert len(set(ends)) == 3 and ends[2] == ends[3]
    start, other = experiment(draw=0).start[0], experiment(draw=1).start[0]
    jax.tree.map(np.testing.assert_array_equal, start, other)


def gram_path(**changes):
    laws = {"flow": {"name": "gram_flow", "rtol": 1e-7, "atol": 1e-9}}
    config = small_config(**{"init.draw": "gram", "laws": laws, "probes": ("loss", "population_loss"), **changes})
    return dynamics.Path(dynamics.Experiment.from_config(config), "flow")


def test_what_shares_a_program():
    """Values do, shapes do not; another task of the same shapes draws its starts with another program."""
    one = gram_path()
    for same in ({"model.width": 10**6}, {"seed": 5}, {"init.std": 0.1}, {"times.stop": 5.0}):
        assert gram_path(**same).form == one.form, same
    integrates, starts = one.form
    for other in ({"task.samples": 6}, {"task.length": 5}, {"words": 5}, {"probes": ("loss",)}):
        assert gram_path(**other).form[0] != integrates, other
    shuffled = gram_path(**{"task.name": "shuffled_labels"}).form
    assert shuffled[0] == integrates and shuffled[1] != starts


def test_a_law_is_integrated_at_its_step():
    path = dynamics.Path(experiment(step=0.025), "adam")
    slower = experiment(**{"laws.adam.learning_rate": 0.025})
    slower = dataclasses.replace(slower, times=path.experiment.times)
    np.testing.assert_array_equal(
        dynamics.solve(path.experiment, "adam").probes["loss"], dynamics.solve(slower, "adam").probes["loss"]
    )
