"""Learning-rate schedules: closed forms, one time axis, exact equalities, checkpoints, records, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ALL, small_config

import dynamics
from dynamics.laws import LAWS, Adam, Descent, GradientDescent, GradientFlow, HeavyBall, Muon, Nesterov
from dynamics.laws.schedules import LAST_STEP, Constant, Cosine, Steps

SCHEDULES = {
    "constant": Constant(),
    "warm-up": Constant(warmup=7),
    "cosine": Cosine(steps=30),
    "warm cosine": Cosine(steps=30, warmup=10, end=0.1),
    "steps": Steps(at=(5, 20), factor=0.5, warmup=3),
}


def distance(a, b):
    return float(jnp.sqrt(sum(jnp.sum((x - y) ** 2) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))))


def closed_scale(schedule, k):
    """s_k, written out."""
    if k < schedule.warmup:
        return (k + 1) / schedule.warmup
    j = k - schedule.warmup
    if isinstance(schedule, Cosine):
        return schedule.end + (1 - schedule.end) * (1 + np.cos(np.pi * min(j, schedule.steps) / schedule.steps)) / 2
    return schedule.factor ** sum(j >= at for at in schedule.at) if isinstance(schedule, Steps) else 1.0


def closed_total(schedule, k):
    """Σ_{i<k} s_i: a triangle, and after it Dirichlet's kernel, a line, or pieces of lines."""
    W = schedule.warmup
    if k <= W:
        return k * (k + 1) / (2 * W) if W else 0.0
    j, total = k - W, (W + 1) / 2 if W else 0.0
    if isinstance(schedule, Cosine):
        K, end = schedule.steps, schedule.end
        i = min(j, K)
        cosines = 0.5 + np.sin((i - 0.5) * np.pi / K) / (2 * np.sin(np.pi / (2 * K)))
        return total + end * j + (1 - end) * (i + cosines) / 2
    if isinstance(schedule, Steps):
        lost = sum((1 - schedule.factor) * schedule.factor**i * max(j - at, 0) for i, at in enumerate(schedule.at))
        return total + j - lost
    return total + j


@pytest.mark.parametrize("name", SCHEDULES)
def test_closed_forms(name):
    """Scales, their sums, and the step whose time is nearest."""
    schedule, k = SCHEDULES[name], np.arange(60)
    scales, totals = (np.array([closed(schedule, i) for i in k]) for closed in (closed_scale, closed_total))
    np.testing.assert_allclose(np.cumsum(scales)[:-1], totals[1:], rtol=1e-13)
    seen = jnp.stack([schedule.scale(jnp.asarray(i), jnp.dtype("float64")) for i in k])
    np.testing.assert_allclose(seen, scales, rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(schedule.total(jnp.asarray(k), jnp.dtype("float64")), totals, rtol=1e-13)
    asked = np.concatenate([totals[:50], np.random.default_rng(0).uniform(0, totals[50], 200)])
    nearest = np.asarray(schedule.nearest(jnp.asarray(asked)))
    gaps = np.abs(totals[None, :] - asked[:, None])
    np.testing.assert_allclose(np.abs(totals[nearest] - asked), gaps.min(axis=1), atol=1e-12)
    assert (np.abs(totals[nearest] - asked) <= 0.5 + 1e-12).all() and nearest[0] == 0
    expected = totals[1:] * 0.05
    np.testing.assert_allclose(
        GradientDescent(0.05, schedule=schedule).time(jnp.asarray(k[1:]), jnp.dtype("float64")), expected
    )
    np.testing.assert_allclose(
        HeavyBall(0.05, schedule=schedule).time(jnp.asarray(k[1:]), jnp.dtype("float64")), 10 * expected
    )


def test_a_schedule_that_stands_still_is_not_passed():
    """After the last step of a cosine to zero no step is nearer, whatever the time; the factor is exactly zero."""
    schedule = Cosine(steps=10)
    assert schedule.nearest(jnp.array([5.5, 6.0, 1e9])).tolist() == [10, 10, 10]
    assert float(schedule.scale(jnp.asarray(10), jnp.dtype("float64"))) == 0


def test_the_constant_schedule_is_none(small, follow):
    times = [0.0, 0.5, 2.0]
    one, other = (follow(Adam(0.05, schedule=schedule), small, times) for schedule in (None, Constant()))
    assert distance(one.params, other.params) < 1e-12 and int(one.steps) == int(other.steps) == 40
    assert not one.notes
    np.testing.assert_allclose(other.notes["reached"], times, rtol=1e-15)


def orders(small, follow, law_at, coordinate):
    """The fitted order in η of the distance from gradient flow, seen at t = coordinate(trajectory, η)."""
    etas, gaps = (0.02, 0.01, 0.005), []
    for eta in etas:
        descent = follow(law_at(eta), small, [0.0, 1.0])
        flow = follow(GradientFlow("dopri8", 1e-11, 1e-13), small, [0.0, coordinate(descent, eta)])
        gaps.append(distance(descent.params, flow.params))
    return dynamics.analysis.fits.exponent(etas, gaps).slope


@pytest.mark.parametrize("law", [GradientDescent(1.0), Nesterov(1.0, momentum=0.5)], ids=["gd", "nesterov"])
def test_cosine_descent_follows_the_flow_in_the_time_of_its_rates(small, follow, law):
    """At t = Σ η_k the order is 1; at t = η·k the descent does not converge to the flow."""

    def law_at(eta):
        schedule = Cosine(steps=round(1.6 / eta), warmup=round(0.2 / eta), end=0.1)
        return dataclasses.replace(law.at_step(eta), schedule=schedule)

    def reached(descent, _):
        assert abs(float(descent.notes["reached"][-1]) - 1.0) < 0.01
        assert float(descent.end) == float(descent.notes["reached"][-1])
        return float(descent.end)

    assert abs(orders(small, follow, law_at, reached) - 1) < 0.15
    assert abs(orders(small, follow, law_at, lambda descent, eta: eta * int(descent.steps))) < 0.3


@pytest.mark.parametrize("name", ["gd", "heavy_ball"])
def test_gram_laws_have_the_same_schedule(name):
    settings = {"learning_rate": 0.05 if name == "gd" else 0.005}
    settings["schedule"] = {"name": "cosine", "steps": 500, "warmup": 20, "end": 0.01}
    config = {**small_config(probes=("loss", "scores", "mlp")), "laws": {}}
    config["laws"] = {law: {"name": law, **settings} for law in (name, f"gram_{name}")}
    experiment = dynamics.Experiment.from_config(config)
    weights, gram = (dynamics.solve(experiment, law) for law in config["laws"])
    assert int(weights.steps) == int(gram.steps) > 205
    np.testing.assert_array_equal(weights.notes["reached"], gram.notes["reached"])
    for probe, values in weights.probes.items():
        np.testing.assert_allclose(gram.probes[probe], values, rtol=1e-10, atol=1e-11, err_msg=probe)


@pytest.mark.parametrize("kind", ["sgd", "heavy_ball", "nesterov", "adam", "muon"])
def test_the_schedule_of_optax(kind):
    """Steps of a law with a schedule are those of the optimizer of optax with that schedule as its learning rate."""
    schedule, eta = SCHEDULES["warm cosine"], 0.1
    law, optimizer = {
        "sgd": (GradientDescent, optax.sgd),
        "heavy_ball": (HeavyBall, lambda rate: optax.sgd(rate, 0.9)),
        "nesterov": (Nesterov, lambda rate: optax.sgd(rate, 0.9, nesterov=True)),
        "adam": (Adam, optax.adam),
        "muon": (Muon, optax.contrib.muon),
    }[kind]
    law, optimizer = law(eta, schedule=schedule), optimizer(lambda k: eta * schedule.scale(k, jnp.dtype("float64")))
    params = {"W": jax.random.normal(jax.random.key(0), (3, 3)), "b": jnp.arange(3.0)}
    ours, theirs, memory, state = params, params, law.memory(params), optimizer.init(params)
    for k in range(4):
        slope = jax.tree.map(lambda leaf, k=k: jnp.sin(leaf + k), params)
        ours, memory = law.update(ALL, slope, ours, memory, schedule.scale(jnp.asarray(k), jnp.dtype("float64")))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(slope, state, theirs)
        theirs = jax.tree.map(jnp.add, theirs, updates)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), ours, theirs)
    assert distance(ours, params) > 0.01


@pytest.mark.parametrize("name", ["adam", "heavy_ball"])
def test_checkpoints_do_not_change_a_bit(name):
    """Three segments are one, with minibatches, memory, weight decay and a warm-up into a cosine."""
    law = {"name": name, "learning_rate": 0.004, "batch_size": 4, "weight_decay": 0.01}
    law["schedule"] = {"name": "cosine", "steps": 6000, "warmup": 30, "end": 0.01}
    ends = []
    for checkpoints in (1, 3):
        config = {**small_config(checkpoints=checkpoints, probes=("loss",)), "laws": {"law": law}}
        ends.append(dynamics.solve(dynamics.Experiment.from_config(config), "law"))
    one, other = ends
    jax.tree.map(np.testing.assert_array_equal, one._replace(steps=0), other._replace(steps=0))
    assert int(one.steps) == int(other.steps)


def test_the_record_has_the_times_reached(tmp_path):
    config = small_config(probes=("loss",))
    config["laws"] = {"gd": {"name": "gd", "learning_rate": 0.05, "schedule": {"name": "constant", "warmup": 5}}}
    gd = dynamics.execute(config, tmp_path, "run")["gd"].load()
    assert gd.reached.dims == ("t",) and gd.attrs["schedule"] == {"class": "Constant", "warmup": 5}
    # Times are 0.01, 0.03, 0.06, 0.1 and 0.15 during the warm-up, and then multiples of 0.05.
    np.testing.assert_allclose(gd.reached[:4], [0.0, 0.06, 0.1, 0.15], rtol=1e-13)
    np.testing.assert_allclose(gd.reached[3:], gd.t[3:], rtol=1e-12)
    assert "batch_size" not in gd.attrs


COSINE = {"name": "cosine", "steps": 100}


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            COSINE,
            "laws.law.schedule = Cosine(warmup=0, steps=100, end=0.0): must reach the last saved time, t = 10; its "
            "rates add up to t = 2.525 at most",
        ),
        ({**COSINE, "end": 1e-9}, "laws.law.schedule = Cosine("),
        ({**COSINE, "steps": 0}, "laws.law.schedule.steps = 0: must be 1 to 1000000"),
        ({**COSINE, "end": 1.5}, "laws.law.schedule.end = 1.5: must be 0 to 1"),
        ({**COSINE, "stop": 1.0}, "laws.law.schedule.stop = 1.0: unknown key; did you mean 'steps'?"),
        ({**COSINE, "warmup": -1}, "laws.law.schedule.warmup = -1: must be 0 to 1000000"),
        ({"name": "cosine"}, "laws.law.schedule.steps = None: is missing"),
        ({"name": "step", "at": (5, 5)}, "laws.law.schedule.at = (5, 5): must be positive and increasing"),
        ({"name": "step", "at": ()}, "laws.law.schedule.at = (): must be positive and increasing"),
        ({"name": "step", "at": (5,), "factor": 0.0}, "laws.law.schedule.factor = 0.0: must be above 0 and at most 1"),
        ({"name": "linear"}, "laws.law.schedule.name = 'linear': must be one of 'constant', 'cosine', 'step'"),
        (3, "laws.law.schedule = 3: must be a group of keys"),
    ],
)
def test_refused(schedule, message):
    config = {**small_config(), "laws": {"law": {"name": "gd", "learning_rate": 0.05, "schedule": schedule}}}
    with pytest.raises(dynamics.ConfigError) as refused:
        dynamics.Experiment.from_config(config)
    assert str(refused.value).startswith(message)


def test_what_is_just_reached():
    """Half a step is allowed, as at every saved time; with momentum the same rates reach ten times as far."""
    assert Cosine(steps=399).reach == pytest.approx(200) and Constant().reach == LAST_STEP
    times = np.array([0.0, 10.0])
    for steps in (399, 398):
        GradientDescent(0.05, schedule=Cosine(steps=steps)).check_times(times)
    with pytest.raises(dynamics.ConfigError, match="schedule = Cosine"):
        GradientDescent(0.05, schedule=Cosine(steps=397)).check_times(times)
    HeavyBall(0.005, schedule=Cosine(steps=399)).check_times(times)
    GradientDescent(0.05).check_times(times)


@pytest.mark.parametrize("name", LAWS)
def test_every_descent_has_a_schedule(name):
    """It can be None in a config, as it is by default; no other law has one."""
    needed = {"learning_rate": 0.05, "epsilon": 0.1, "batch_size": 3}
    fields = {field.name: field for field in dataclasses.fields(LAWS[name])}
    law = {key: value for key, value in needed.items() if key in fields and fields[key].default is dataclasses.MISSING}
    config = {**small_config(probes=("loss",)), "laws": {"law": {"name": name, **law, "schedule": None}}}
    if issubclass(LAWS[name], Descent):
        assert dynamics.Experiment.from_config(config).laws["law"].schedule is None
    else:
        with pytest.raises(dynamics.ConfigError, match=r"laws\.law\.schedule = None: unknown key"):
            dynamics.Experiment.from_config(config)
