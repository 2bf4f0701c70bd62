"""The adaptive integrator: closed forms, orders, comparison with diffrax's own loop, and outcomes."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import whole

from dynamics.laws.methods import DOPRI8, TSIT5
from dynamics.laws.runge_kutta import Solver, integrate
from dynamics.laws.stabilised import RKC2

METHODS = {"tsit5": TSIT5, "dopri8": DOPRI8, "rkc2": RKC2}

TIMES = np.linspace(0.0, 20.0, 41)
START = {"turning": jnp.array([1.0, 0.0]), "decaying": jnp.array(2.0)}


def velocity(y):
    """A rotation and a decay."""
    return {"turning": y["turning"][::-1] * jnp.array([-1.0, 1.0]), "decaying": -0.3 * y["decaying"]}


def exact(t):
    return {"turning": np.stack([np.cos(t), np.sin(t)], axis=-1), "decaying": 2 * np.exp(-0.3 * t)}


def run(f=velocity, y0=START, times=TIMES, method="tsit5", rtol=1e-6, max_steps=100_000):
    @jax.jit
    def integrated(rtol):
        solver = Solver(METHODS[method], rtol, 1e-3 * rtol, max_steps)
        return integrate(f, y0, jnp.asarray(times), lambda y: y, solver, whole(solver.method, y0, times[0]))

    return integrated(jnp.asarray(rtol))


@functools.partial(jax.jit, static_argnums=(1, 2))
def diffrax_run(times, solver, rtol):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: velocity(y)),
        solver,
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=START,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=1e-3 * rtol),
        max_steps=100_000,
    )


@pytest.mark.parametrize(("method", "order"), [("tsit5", 5), ("dopri8", 8)])
def test_error_and_order(method, order):
    """Errors of about rtol per step add up, also between steps; the number of steps grows as rtol^(-1/order)."""
    tolerances = np.geomspace(1e-7, 1e-12, 6)
    times = np.linspace(0.0, 100.0, 201)  # long enough that the shorter first steps do not matter
    steps = []
    for rtol in tolerances:
        path = run(times=times, method=method, rtol=rtol)
        assert int(path.reached) == len(times) and float(path.t) == times[-1]
        error = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), path.observed, exact(times))
        assert max(jax.tree.leaves(error)) < 4 * int(path.steps) * rtol
        np.testing.assert_allclose(path.observed["turning"][-1], path.y["turning"], rtol=1e-13)
        steps.append(int(path.steps))
    fitted = np.polyfit(np.log(tolerances), np.log(steps), 1)[0]
    assert fitted == pytest.approx(-1 / order, abs=0.1 / order)


@pytest.mark.parametrize(("method", "solver"), [("tsit5", diffrax.Tsit5()), ("dopri8", diffrax.Dopri8())])
def test_as_many_steps_as_diffrax(method, solver):
    """The method and the rule for the next step are diffrax's; only the length of the first step differs."""
    times, rtol = np.array([0.0, 0.3, 1.0, 7.0, 50.0]), 1e-8
    path, expected = run(times=times, method=method, rtol=rtol), diffrax_run(times, solver, rtol)
    assert abs(int(path.steps) - int(expected.stats["num_accepted_steps"])) <= 4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=100 * rtol), path.observed, expected.ys)


def test_start_is_observed_as_it_is():
    path = run()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), path.observed, START)


def test_where_nothing_moves():
    path = run(lambda y: jax.tree.map(jnp.zeros_like, y))
    assert float(path.t) == TIMES[-1] and int(path.reached) == len(TIMES)
    jax.tree.map(np.testing.assert_array_equal, path.y, START)


def test_repeated_last_times():
    """The times of a segment may repeat the last one, or be all equal."""
    padded = run(times=np.array([0.0, 1.0, 1.0, 1.0]))
    assert int(padded.reached) == 4
    np.testing.assert_array_equal(padded.observed["turning"][1], padded.observed["turning"][3])
    alone = run(times=np.array([2.0, 2.0]))
    assert (int(alone.reached), int(alone.steps), float(alone.t)) == (2, 0, 2.0)


def test_blow_up_ends():
    """y' = y² with y(0) = 1 is infinite at t = 1: the observations before are kept."""
    path = run(lambda y: y**2, jnp.array(1.0), np.array([0.0, 0.5, 0.9, 1.1]))
    assert int(path.reached) == 3 and abs(float(path.t) - 1) < 1e-4
    np.testing.assert_allclose(path.observed[:3], [1.0, 2.0, 10.0], rtol=1e-4)


def test_velocity_that_stops_being_finite():
    """Steps become shorter until they no longer change t, and the integration ends."""
    path = run(lambda y: jnp.where(y < 0.4, 1.0, jnp.nan), jnp.array(0.0))
    assert int(path.reached) == 1 and int(path.steps) < 1000
    assert abs(float(path.t) - 0.4) < 1e-12 and float(path.y) == pytest.approx(0.4)


def test_velocity_that_is_never_finite():
    path = run(lambda y: y * jnp.nan, jnp.array(1.0))
    assert (int(path.reached), int(path.steps), float(path.y)) == (0, 0, 1.0)


def test_steps_are_counted():
    """Rejected steps count; the kink causes some."""
    path = run(lambda y: jnp.where(y < 0.5, 1.0, -1e3 * (y - 0.5)) + 0 * y, jnp.array(0.0), max_steps=30)
    assert int(path.steps) < 30 and int(path.reached) < len(TIMES) and 0 < float(path.t) < TIMES[-1]
    assert int(run(max_steps=5).steps) <= 5
