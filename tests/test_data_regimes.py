"""Training sets, new samples at every step, and distributions; evaluation sets apart from all of them."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics
from dynamics.models.model import Model
from dynamics.runs.engine import Program, integrate
from dynamics.runs.path import Path
from dynamics.runs.starts import EVALUATION, SAMPLE, named_keys, noise_key


@dataclasses.dataclass(frozen=True)
class Line(dynamics.Task):
    """y = 2 x + noise, x ~ N(0, 1), for F = θ x: E ½ (F − y)² = ½ (θ − 2)² + ½ noise²."""

    noise: float = 0.5
    loss: ClassVar[str] = "squared"
    dims: ClassVar[dict] = {"inputs": ()}
    capabilities: ClassVar[frozenset] = frozenset({"population_loss"})

    def sample(self, key, n, source=None):
        x, noise = jax.random.normal(key, (2, n))
        return dynamics.Batch(x, 2 * x + self.noise * noise)

    def population_loss(self, objective, params):
        return (params["theta"] - 2) ** 2 / 2 + self.noise**2 / 2


class LineBySamples(Line):
    """The same without a closed form."""

    capabilities: ClassVar[frozenset] = frozenset()


class Slope(Model):
    def setup(self):
        self.theta = self.param("theta", lambda key: jnp.array(0.0))

    def __call__(self, inputs):
        return self.theta * inputs, {}


@pytest.fixture
def line():
    dynamics.TASKS.update(line=Line, line_by_samples=LineBySamples)
    dynamics.MODELS["slope"] = Slope
    yield
    for name in ("line", "line_by_samples"):
        del dynamics.TASKS[name]
    del dynamics.MODELS["slope"]


SGD = {"name": "sgd", "learning_rate": 0.1, "batch_size": 5}


def experiment(regime, laws, **changes):
    config = dynamics.base()
    config.task = {"name": "line", "samples": 400}
    config.model = {"name": "slope"}
    config.init.name = "model"
    config.data.regime = regime
    config.laws = laws
    config.times.update(spacing="linear", stop=2.0, count=4)
    config.update(checkpoints=2, probes=("loss", "data_loss", "population_loss"), wandb={"mode": "disabled"})
    config.update_from_flattened_dict(changes)
    return dynamics.Experiment.from_config(config.to_dict())


def test_every_step_draws_new_samples(line):
    """Online SGD, by hand: the samples of step k are those of the key fold_in(noise key, k)."""
    of = experiment("fresh", {"sgd": SGD})
    theta, key = 0.0, noise_key(0, -1)
    for k in range(20):
        x, y, *_ = of.task.sample(jax.random.fold_in(key, k), 5)
        theta -= 0.1 * float(np.mean((theta * x - y) * x))
    assert float(dynamics.solve(of, "sgd").params["theta"]) == pytest.approx(theta, rel=1e-12)
    other = dynamics.solve(experiment("fixed", {"sgd": SGD}), "sgd")
    assert abs(float(other.params["theta"]) / theta - 1) > 1e-3


@pytest.fixture
def looked_at(line):
    """The batches that losses look at, as bytes, for a loss called "spying", since it was last cleared."""
    batches = set()

    @dynamics.loss()
    def spying(output, target):
        jax.debug.callback(lambda values: batches.add(np.asarray(values).tobytes()), target)
        return (output - target) ** 2 / 2

    yield batches
    del dynamics.LOSSES["spying"]


def seen(looked_at, run):
    looked_at.clear()
    run()
    jax.effects_barrier()
    return set(looked_at)


def test_every_descent_sees_the_same_samples(looked_at):
    """Bit for bit, whatever the law does with them; and other ones for another draw of the noise."""
    names = ("sgd", "gd", "adam", "heavy_ball", "muon")
    laws = {name: {"name": name, "learning_rate": 0.1, "batch_size": 5} for name in names}
    laws["heavy_ball"]["learning_rate"] = 0.01
    of = experiment("fresh", laws, loss="spying", probes=())
    minibatches = {law: seen(looked_at, lambda law=law: dynamics.solve(of, law)) for law in names}
    for law in names:
        assert len(minibatches[law]) == 20 + 1 and minibatches[law] == minibatches["sgd"]  # the last is the sample
    other = experiment("fresh", {"sgd": laws["sgd"]}, loss="spying", probes=(), draw=3)
    assert len(seen(looked_at, lambda: dynamics.solve(other, "sgd")) & minibatches["sgd"]) == 1


def test_the_same_samples_after_an_interruption(looked_at):
    """Going on from the first checkpoint gives the same samples, and the same bits as one piece."""
    path = Path(experiment("fresh", {"sgd": SGD}, loss="spying", probes=("loss",)), "sgd")
    program = Program(path, size=1)
    parts = []
    whole = seen(looked_at, lambda: parts.extend(integrate(program, [path])))
    first, second = parts
    rest = seen(looked_at, lambda: parts.extend(integrate(program, [path], first.state)))
    again = parts[-1]
    assert rest < whole and len(whole) == 20 + 1 and len(rest) == 10 + 1
    np.testing.assert_array_equal(again.trajectory.params["theta"], second.trajectory.params["theta"])
    np.testing.assert_array_equal(again.trajectory.probes["loss"], second.trajectory.probes["loss"])


@pytest.mark.parametrize("regime", ["fresh", "population"])
def test_flow_and_full_batches_follow_the_distribution(line, regime):
    """θ(t) = 2 (1 − exp(−t)), and for descent 2 (1 − (1 − η)^k); the loss is the one in closed form."""
    of = experiment(
        regime, {"flow": {"name": "flow", "rtol": 1e-10, "atol": 1e-12}, "gd": {"name": "gd", "learning_rate": 0.1}}
    )
    assert of.probes == ("loss", "data_loss", "population_loss")
    flow, descent = dynamics.solve(of, "flow"), dynamics.solve(of, "gd")
    np.testing.assert_allclose(flow.params["theta"], 2 * (1 - np.exp(-2.0)), rtol=1e-9)
    np.testing.assert_allclose(flow.probes["loss"], 2 * np.exp(-2 * flow.t) + 0.125, rtol=1e-8)
    np.testing.assert_allclose(descent.params["theta"], 2 * (1 - 0.9**20), rtol=1e-12)
    mean, error = flow.probes["population_loss"][-1]
    assert 0 < abs(mean - flow.probes["loss"][-1]) < 5 * error


def test_a_sample_stands_for_a_distribution_without_a_closed_form(line):
    """Its samples are not the training set; flows follow its mean loss, whose standard error is recorded."""
    flow = {"flow": {"name": "flow", "rtol": 1e-10, "atol": 1e-12}}
    changes = {"task.name": "line_by_samples"}
    of, fixed = experiment("population", flow, **changes), experiment("fixed", flow, **changes)
    assert of.probes == ("loss", "data_loss", "population_loss", "loss_error") and "loss_error" not in fixed.probes
    _, objective = of.start
    batch = jax.jit(lambda key: of.task.sample(key, 400))(jax.random.fold_in(named_keys(0)["data"], SAMPLE))
    np.testing.assert_array_equal(objective.batch.inputs, batch.inputs)
    assert (np.asarray(fixed.start[1].batch.inputs) != np.asarray(batch.inputs)).all()
    solved = dynamics.solve(of, "flow")
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    slope, curvature = np.mean(x * y), np.mean(x**2)
    theta = slope / curvature * (1 - np.exp(-curvature * 2.0))
    np.testing.assert_allclose(solved.params["theta"], theta, rtol=1e-9)
    losses = (theta * x - y) ** 2 / 2
    np.testing.assert_allclose(solved.probes["loss"][-1], losses.mean(), rtol=1e-9)
    np.testing.assert_allclose(solved.probes["loss_error"][-1], losses.std(ddof=1) / 20, rtol=1e-8)
    exact = (theta - 2) ** 2 / 2 + 0.125
    assert abs(losses.mean() - exact) < 5 * float(solved.probes["loss_error"][-1])


def test_another_loss_than_the_one_in_closed_form_is_a_mean_over_samples(line):
    @dynamics.loss()
    def quartic(output, target):
        return (output - target) ** 4

    try:
        of = experiment("population", {"gd": {"name": "gd", "learning_rate": 0.01}}, **{"loss": "quartic"})
        params, objective = of.start
        assert "loss_error" in of.probes and not objective.in_closed_form
        assert float(objective.loss(params)) == pytest.approx(float(jnp.mean(objective.batch.targets**4)), rel=1e-12)
    finally:
        del dynamics.LOSSES["quartic"]


@pytest.mark.parametrize("regime", ["fixed", "fresh", "population"])
def test_the_evaluation_set_is_apart_from_what_trains(line, regime):
    laws = {"gd": {"name": "gd", "learning_rate": 0.1}}
    _, objective, survey = experiment(regime, laws, **{"data.evaluation": 30}).drawn
    expected = jax.jit(lambda key: Line(400).sample(key, 30))(jax.random.key(EVALUATION))
    np.testing.assert_array_equal(survey.evaluation.inputs, expected.inputs)
    assert not np.isin(survey.evaluation.inputs, objective.batch.inputs).any()
    assert experiment(regime, laws, **{"probes": ("loss",)}).drawn[2].evaluation is None
    assert experiment(regime, laws).evaluation == 1024


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.regime": "online"}, "data.regime = 'online': must be 'fixed', 'fresh' or 'population'"),
        ({"data.evaluation": 1}, "data.evaluation = 1: must be at least 2"),
        (
            {"data.regime": "population", "laws": {"sgd": SGD}},
            "data.regime = 'population': must be 'fixed' or 'fresh' with the minibatches of laws.sgd",
        ),
    ],
)
def test_bad_input(changes, message):
    laws = changes.pop("laws", None)
    config = small_config(**changes)
    with pytest.raises(dynamics.ConfigError, match=message):
        dynamics.Experiment.from_config({**config, "laws": laws} if laws else config)


def test_words_in_every_regime():
    """The first paper's task under online SGD: its types are counted in the sample, and the loss has its error."""
    config = small_config(**{"data.regime": "fresh", "probes": ("loss", "loss_by_type", "margin", "scores")})
    config["laws"] = {"sgd": {"name": "sgd", "learning_rate": 0.05, "batch_size": 64}}
    of = dynamics.Experiment.from_config(config)
    probes = dynamics.solve(of, "sgd").probes
    counts = np.bincount(of.start[1].batch.type, minlength=4)
    seen = counts > 0
    by_type = np.where(seen, np.nan_to_num(probes["loss_by_type"][-1]), 0)
    np.testing.assert_allclose((counts * by_type).sum() / 12, probes["loss"][-1], rtol=1e-12)
    assert probes["loss"][-1] < probes["loss"][0] and (probes["loss_error"] > 0).all()
