"""Long times, extreme scales, stiff starts, wild steps: the numbers are right, or the record says what is wrong."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

import dynamics
import dynamics.cli
from dynamics.analysis.invariants import allowed_drift
from dynamics.cli.console import certificate
from dynamics.models.model import Model
from dynamics.runs.content import summary_of
from dynamics.runs.engine import Path, Program, integrate
from dynamics.trajectory import joined

FEW_STEPS = {"laws.flow.max_steps": 2000}
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 1e6, 60)])


class Linear(Model):
    """F(x) = w · x."""

    capabilities = frozenset({"weights"})

    def __call__(self, inputs):
        return inputs @ self.variables["params"]["w"], {}


def separable_loss(u0, q, t):
    """The logistic loss on samples whose signed inputs are all z, with q = |z|² and the margin u = z · w, u(0) = u0.

    Gradient flow has u' = z · w' = q / (1 + e^u), so (1 + e^u) u' = q, and u + e^u = s with s = u0 + e^u0 + q t.
    In log space u = log(s − u) = log s − (log s)/s + O((log s)²/s²): the margin grows like log t, and the loss,
    log(1 + e^−u), decays like 1/(q t). The equation is solved here by Newton's method, in extended precision.
    """
    s = u0 + np.exp(np.longdouble(u0)) + q * np.asarray(t, np.longdouble)
    u = np.where(s > 1, np.log(np.maximum(s, 1)), np.minimum(s, 0))
    for _ in range(60):
        u = u - (u + np.exp(u) - s) / (1 + np.exp(u))
    return np.log1p(np.exp(-u))


@pytest.fixture(scope="module")
def long_flow():
    """long_flow(rtol, scale): the logistic losses of a flow to t = 1e6 on four samples with two labels."""
    z = jnp.array([1.0, -0.5, 0.25])
    targets = jnp.array([1, -1, 1, -1], jnp.int32)
    batch = dynamics.Batch(targets[:, None].astype(z.dtype) * z[None, :], targets)
    objective = dynamics.Objective(Linear(), {}, batch, "logistic", None, dynamics.Trained())

    @jax.jit
    def followed(law, start):
        return law(objective, start, jnp.asarray(TIMES), lambda p: {"loss": objective.loss(p)}, jax.random.key(0))

    def run(rtol, scale):
        q = float(z @ z)
        law = dynamics.GradientFlow(solver="tsit5", rtol=rtol, atol=rtol / 100)
        return np.asarray(followed(law, {"w": scale * z}).probes["loss"]), separable_loss(scale * q, q, TIMES)

    return run


@pytest.mark.parametrize("scale", [0.0, -3.0, 8.0])
def test_losses_to_a_million(long_flow, scale):
    losses, exact = long_flow(1e-14, scale)
    assert np.max(np.abs(losses / exact - 1)) < 1e-12
    q = 1.3125  # to leading order the loss is 1/s
    assert float(exact[-1] * (scale * q + np.exp(scale * q) + q * 1e6)) == pytest.approx(1, rel=1e-4)


def test_the_asymptote_can_fail(long_flow):
    losses, exact = long_flow(1e-6, 0.0)
    assert np.max(np.abs(losses / exact - 1)) > 1e-12


@functools.cache
def program(law, **changes):
    config = small_config(probes=("loss", "drift"), **FEW_STEPS, **changes)
    return Program(Path(dynamics.Experiment.from_config(config), law), size=1)


def solved(law, **changes):
    """The trajectory of a law and its summary; the program does not depend on scales and rates."""
    experiment = dynamics.Experiment.from_config(small_config(probes=("loss", "drift"), **FEW_STEPS, **changes))
    path = Path(experiment, law)
    dtype = {"dtype": changes["dtype"]} if "dtype" in changes else {}
    parts = [segment.of_path(0, experiment) for segment in integrate(program(law, **dtype), [path])]
    trajectory = joined(parts)
    return trajectory, summary_of(experiment.laws[law], trajectory)


@pytest.mark.parametrize("std", [1e-300, 1e-150, 1e-8, 1e-3, 3.0, 1e3, 1e10, 1e150])
def test_scales_of_the_start(std):
    """Every flow keeps its invariants, or is said to be distrusted, or has failed with a reason."""
    trajectory, summary = solved("flow", **{"init.std": std, "init.std_of": {}})
    assert np.isfinite(trajectory.probes["loss"]).all()
    if summary["state"] == "done":
        # The invariants of a tiny start are smaller than the absolute tolerance: nothing keeps them.
        kept = summary["drift"] <= allowed_drift(summary["rtol"], summary["stabilised"])[0]
        assert kept or (std <= 1e-8 and "BROKEN, distrust it" in certificate("flow", summary))
        assert np.all(np.diff(trajectory.probes["loss"]) <= 1e-12)
    else:
        assert summary["state"] == "failed" and " at t = " in summary["reason"]


def test_a_start_whose_loss_is_not_finite():
    trajectory, summary = solved("gd", **{"init.std": 1e200, "init.std_of": {}})
    assert summary["state"] == "failed" and summary["reason"] == "the loss stopped being finite at t = 0"
    assert len(trajectory.t) == 0


@pytest.mark.parametrize("rate", [0.05, 5.0, 500.0])
def test_learning_rates_beyond_stability(rate):
    """The steps are those of descent, however wild, or the record says where the loss stopped being finite."""
    changes = {"laws.gd.learning_rate": rate, "times.start": rate, "times.stop": 40 * rate}
    trajectory, summary = solved("gd", **changes)
    params, objective = dynamics.Experiment.from_config(small_config(probes=("loss",), **changes)).start
    step = jax.jit(lambda p: jax.tree.map(lambda w, slope: w + rate * slope, p, objective.slope(p)))
    losses = {}
    for k in range(41):
        losses[round(k * rate, 6)] = float(objective.loss(params))
        params = step(params)
    expected = np.array([losses[round(float(t), 6)] for t in trajectory.t])
    early = trajectory.t <= 5 * rate  # later, rounding grows exponentially
    np.testing.assert_allclose(trajectory.probes["loss"][early], expected[early], rtol=1e-9)
    if summary["state"] != "done":
        assert summary["reason"].startswith("the loss stopped being finite at t = ")


@pytest.mark.slow
def test_tolerances_below_the_precision():
    """A tolerance that float32 cannot meet is a warning, which is recorded; one that it can meet is none."""
    _, summary = solved("flow", dtype="float32", **{"laws.flow.rtol": 1e-9, "laws.flow.atol": 1e-11})
    assert summary["warning"] == "rtol = 1e-09 is less than float32 can resolve (1.2e-07): the error is not controlled"
    _, summary = solved("flow", dtype="float32", **{"laws.flow.rtol": 1e-4, "laws.flow.atol": 1e-6})
    assert "warning" not in summary
    _, summary = solved("flow")
    assert "warning" not in summary


def test_the_warning_is_printed(tmp_path, capsys):
    changes = {"laws.flow.rtol": 1e-9, "dtype": "float32", "laws": {"flow": {"name": "flow", "rtol": 1e-9}}}
    config = {**small_config(probes=("loss", "drift")), "dtype": "float32", "laws": changes["laws"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record = dynamics.execute(config, tmp_path, "run")
    assert "float32" in record.status["laws"]["flow"]["warning"]
    assert dynamics.cli.main(["dynamics", "show", str(record.path)]) == 0
    assert "warning of flow: rtol = 1e-09 is less than float32 can resolve" in capsys.readouterr().out
