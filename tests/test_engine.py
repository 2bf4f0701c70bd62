"""The integrator: a path alone, among others and resumed gives the same numbers; which paths share programs."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.laws.descent import stepped
from dynamics.laws.law import NO_LIMIT, Stretch
from dynamics.runs import engine
from dynamics.runs.programs import STRATEGIES
from dynamics.trajectory import COMPLETED, NON_FINITE, PAUSED, joined
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
        for one, other in zip(engine.trajectories(program, paths), alone, strict=True):
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
    assert len(rest) >= 2
    state = type(first.state)(
        first.state.segment, *jax.tree.map(np.array, first.state[1:])
    )  # copies, as after a restart
    resumed = list(dynamics.integrate(dynamics.Program(paths[0], size), paths, state))
    assert [stretched.segment for stretched in resumed][-1] == 2
    assert_equal(ends(resumed, paths), ends(rest, paths))
    assert not np.array_equal(first.trajectory.probes["loss"], rest[0].trajectory.probes["loss"])


def ends(parts, paths):
    """What stretches add to all paths."""
    own = ([part.of_path(i, path.experiment) for part in parts if part.took_part[i]] for i, path in enumerate(paths))
    return [joined(of_path) for of_path in own]


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


PAUSING = {
    **LAWS,
    "rkc2": {"name": "flow", "solver": "rkc2", "rtol": 1e-4, "atol": 1e-7},
    "gram_flow": {"name": "gram_flow", "rtol": 1e-6, "atol": 1e-9},
    "modified_flow": {"name": "modified_flow", "learning_rate": 0.05, "momentum": 0.5},
    "sme": {"name": "sme", "learning_rate": 0.05, "batch_size": 4},
}


# Alone, a path has another program, but the same law: a flow, a descent and a random one stand for all.
@pytest.mark.parametrize(("law", "size"), [*((law, 2) for law in PAUSING), ("flow", 1), ("sgd", 1), ("sme", 1)])
def test_where_it_pauses_changes_no_bit(law, size, monkeypatch):
    """Stretches of two steps, of seven and of as many as there are: the same trajectories, notes and ends.

    The clock stands still, so that no stretch is shortened because the machine was slow.
    """
    monkeypatch.setattr(engine, "time", types.SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(engine, "GROWTH", 1)
    changes = {"laws": {law: PAUSING[law]}, "times.stop": 20.0, "probes": ("loss", "parameters"), "checkpoints": 2}
    paths = [dynamics.Path(experiment(seed=seed, **changes), law) for seed in range(size)]
    program = dynamics.Program(paths[0], size)
    found, numbers = [], []
    for limit in (7, 2, NO_LIMIT):
        program._limit = limit
        parts = list(dynamics.integrate(program, paths))
        found.append(ends(parts, paths))
        numbers.append(len(parts))
    assert numbers[1] > numbers[0] > numbers[2]
    for other in found[1:]:
        assert_equal([one._replace(state=None) for one in found[0]], [one._replace(state=None) for one in other])
    assert all(one.outcome == COMPLETED for one in found[0])


@pytest.mark.parametrize("seconds", [0.04, 0.7, 4.0])
def test_stretches_of_large_states_are_short(seconds, monkeypatch):
    """A signal to stop is heard after LONGEST_S, or after one step, by a clock on which each step takes so long."""
    now = [0.0]

    def on_host(trajectory):
        now[0] += seconds * int(trajectory.steps)
        return jax.tree.map(np.asarray, trajectory)

    monkeypatch.setattr(engine, "on_host", on_host)
    monkeypatch.setattr(engine, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(engine, "STRETCH_S_PER_MB", 1e9)
    monkeypatch.setattr(engine, "FIRST_LIMIT", 1)
    path = dynamics.Path(experiment(), "flow")
    parts = list(dynamics.integrate(dynamics.Program(path, 1), [path]))
    longest = max(engine.LONGEST_S, seconds)
    assert longest / 2 < max(part.seconds for part in parts) < longest + 1e-9


def test_the_first_stretch_of_a_large_state_is_short(monkeypatch):
    """Its number of steps falls with the megabytes of the state, to one."""
    path = dynamics.Path(experiment(), "flow")
    megabytes = sum(leaf.nbytes for leaf in jax.tree.leaves(path.experiment.start_of("flow")[0])) / 1e6
    limits = []
    for first in (200.0, 2.0, 0.5):
        monkeypatch.setattr(engine, "FIRST_LIMIT", first)
        limits.append(dynamics.Program(path, 1)._limit)
    assert megabytes < 1 and limits == [200, 2, 1]


def test_a_path_that_fails_stops_no_other():
    whole = dynamics.Experiment.from_config(small_config())
    huge = {"laws.gd.learning_rate": 1e200, "times.spacing": "linear", "times.stop": 1.2e202}
    wild = dynamics.Experiment.from_config(small_config(**huge))
    paths = [dynamics.Path(one, "gd") for one in (wild, whole)]
    program = dynamics.Program(paths[0], 2)
    failed, completed = engine.trajectories(program, paths)
    assert (failed.outcome, completed.outcome) == (NON_FINITE, COMPLETED)
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


def test_a_pause_costs_no_observation():
    """Steps 3 and 10 are saved. The first call pauses at step 2, the second at 4, the last one gets to 10."""
    seen = []

    def observe(k):
        jax.debug.callback(lambda at: seen.append(int(at)), k, ordered=True)
        return {"k": k}, jnp.array(True)

    def step(k, params, memory):
        return jnp.array(True), params + 1, memory

    def going_on(k, row, limit):
        stretch = Stretch(None, None, jnp.array(0.0), row, jnp.array(limit), jnp.array(True))
        path = jax.jit(lambda: stepped(step, k, (jnp.array([3, 10]), k), observe, stretch))()
        return path.params, row + path.valid.sum(), path.outcome

    k, row = jnp.array(0), jnp.array(0)
    for limit, at, outcome in ((2, 2, PAUSED), (2, 4, PAUSED), (100, 10, COMPLETED)):
        k, row, found = going_on(k, row, limit)
        assert (int(k), int(found)) == (at, outcome)
    jax.effects_barrier()
    assert seen == [3, 10]
