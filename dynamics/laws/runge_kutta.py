"""dy/dt = f(y) by an explicit Runge-Kutta method with adaptive steps, observed at given times.

    Y_i = y + h Σ_{j<i} a_ij f(Y_j),   y' = Y_s,   error = h Σ_j b_j f(Y_j)

Tableaus and interpolations are diffrax's, and the rule for the next step is the default of its PIDController. The loop
is our own because it compiles faster than `diffrax.diffeqsolve`, and solves faster in Gram variables. Measured on the
flow of a one-layer model (n = 60, d = 64, m = 128; t to 300, rtol 1e-7, 201 times; 2 cores; medians of three series,
the last two beside other work; in all 14 compilations without a cache and 175 or more solves of each):

    diffeqsolve / this loop         weights, 74 steps                 Gram variables, 89 steps
    trace, lower and compile, s     2.4, 2.0, 2.9 / 1.6, 1.3, 2.0     3.3, 2.5, 13.4 / 2.0, 1.4, 8.2
    solve, ms                       164, 180, 177 / 155, 171, 184     94, 177, 188 / 64, 120, 138
    matrix products in the program  30 / 15                           30 / 12

f stands once in both programs; diffrax's has the observed function twice and more products of the slopes, and takes
three times as long to trace. A stage here reads the slopes of non-zero weight only. If it multiplies the whole row of
the tableau by all slopes, as diffrax does, a solve in Gram variables takes 1.5 times as long: the whole difference.

`diffeqsolve` also has events, implicit solvers, gradients of the solution (with checkpoints) and dense output; this
loop has none of them. Stabilised methods (RKC2, ROCK4) and a switch between methods belong in
dynamics/laws/stabilised.py: classes with `order` and `step`, as Method has them, for the same `integrate`.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

SAFETY, SHRINK, GROW = (
    0.9,
    0.2,
    10.0,
)  # the next step: SAFETY times what the error allows, SHRINK to GROW times this one


class Step(NamedTuple):
    """One step of a method, from t0 to t1."""

    y: PyTree  # y(t1)
    slope: PyTree  # f(y(t1))
    error: PyTree  # the estimated error of y(t1), entry by entry
    at: Callable[[Float[Array, ""]], PyTree]  # t -> y(t), the interpolation


class Method(NamedTuple):
    """An explicit Runge-Kutta tableau whose last stage is the end of the step.

    Attributes:
        weights: a_ij, a row for every stage but the first.
        error: b_j.
        order: the order of y1.
        interpolation: a class of diffrax.
    """

    weights: Sequence[np.ndarray]
    error: np.ndarray
    order: int
    interpolation: Callable[..., Any]

    def step(self, f: Callable, y0: PyTree, slope: PyTree, t0: Float[Array, ""], t1: Float[Array, ""]) -> Step:
        """One step from y0 with slope = f(y0)."""
        stages, h = len(self.error), t1 - t0

        def stage(i, carry):
            slopes, _ = carry
            y = lax.switch(i, [partial(_moved, weights) for weights in self.weights], y0, slopes, h)
            return _with_row(slopes, i + 1, f(y)), y

        slopes = jax.tree.map(lambda leaf: jnp.zeros((stages, *leaf.shape), leaf.dtype).at[0].set(leaf), slope)
        slopes, y1 = lax.fori_loop(0, stages - 1, stage, (slopes, y0))

        def at(t):
            increments = jax.tree.map(lambda leaf: h * leaf, slopes)
            return self.interpolation(t0=t0, t1=t1, y0=y0, y1=y1, k=increments).evaluate(t)

        return Step(y1, jax.tree.map(lambda leaf: leaf[-1], slopes), _increment(self.error, slopes, h), at)


def _of_diffrax(solver: type[Any], order: int) -> Method:
    return Method(solver.tableau.a_lower, solver.tableau.b_error, order, solver.interpolation_cls)


METHODS = {"tsit5": _of_diffrax(diffrax.Tsit5, 5), "dopri8": _of_diffrax(diffrax.Dopri8, 8)}


class Control(NamedTuple):
    """When a step is accepted, and how many may be tried."""

    rtol: float | Float[Array, ""]
    atol: float | Float[Array, ""]
    max_steps: int  # accepted and rejected


class Path(NamedTuple):
    """What an integration observed, and where it ended.

    Attributes:
        observed: the observations at the times, [time, ...].
        reached: the number of times reached; later rows of `observed` mean nothing.
        y: the last state.
        t: the time of the last state.
        steps: the number of accepted steps.
    """

    observed: PyTree
    reached: Int[Array, ""]
    y: PyTree
    t: Float[Array, ""]
    steps: Int[Array, ""]


class _State(NamedTuple):
    path: Path
    h: Float[Array, ""]  # length of the next step
    slope: PyTree  # f(y)
    tried: Int[Array, ""]  # steps, rejected ones and the first, of length zero, included


def integrate(
    f: Callable[[PyTree], PyTree],
    y0: PyTree,
    times: Float[Array, " T"],
    observe: Callable[[PyTree], PyTree],
    method: Method,
    control: Control,
) -> Path:
    """Integrate from times[0] to times[-1].

    A step is accepted when the root mean square of error / (atol + rtol |y|) is below 1, with the larger |y| of its two
    ends. The integration ends before the last time after max_steps steps, or when a step is too short to change t.

    Args:
        f: the velocity.
        y0: the state at times[0].
        times: increasing; the last one may be repeated.
        observe: a function of the state, evaluated at each of the times.
        method: one of METHODS.
        control: tolerances and the number of steps.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(y0))

    def norm(error, *states):
        """Root mean square of error / (atol + rtol |y|), with the largest |y| of the states."""
        return jnp.sqrt(sum(jax.tree.leaves(jax.tree.map(squares, error, *states))) / size)

    def squares(error, *states):
        largest = reduce(jnp.maximum, map(jnp.abs, states))
        return jnp.sum((error / (control.atol + control.rtol * largest)) ** 2)

    def first_length(y, slope):
        """A step that moves y by about a hundredth of its size (Hairer, Nørsett, Wanner, II.4)."""
        norm_y, norm_slope = norm(y, y), norm(slope, y)
        return jnp.where(jnp.minimum(norm_y, norm_slope) < 1e-5, 1e-6, 0.01 * norm_y / norm_slope)

    def goes_on(state):
        t = state.path.t
        # The first step has length zero: it computes f(y0) and observes y0 with the code of all other steps.
        return (state.tried == 0) | ((t < times[-1]) & (t + state.h > t) & (state.tried <= control.max_steps))

    def advance(state):
        (observed, reached, y, t, accepted), first = state.path, state.tried == 0
        t_end = jnp.where(first, t, jnp.minimum(t + state.h, times[-1]))
        step = method.step(f, y, state.slope, t, t_end)
        error = norm(step.error, y, step.y)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        keep = error < 1

        def observe_one(carry):
            observed, reached = carry
            return _with_row(observed, reached, observe(step.at(times[reached]))), reached + 1

        def is_reached(carry):
            _, reached = carry
            return keep & (reached < len(times)) & (times[reached] <= t_end)

        observed, reached = lax.while_loop(is_reached, observe_one, (observed, reached))
        factor = jnp.clip(SAFETY * error ** (-1 / method.order), jnp.where(keep, 1, SHRINK), GROW)
        h = t_end - t
        y, slope = jax.tree.map(partial(jnp.where, keep), (step.y, step.slope), (y, state.slope))
        h = lax.cond(first, lambda: first_length(y, slope), lambda: factor * h)
        accepted += jnp.where(keep & ~first, 1, 0)
        path = Path(observed, reached, y, jnp.where(keep, t_end, t), accepted)
        return _State(path, h, slope, state.tried + 1)

    rows = jax.tree.map(lambda leaf: jnp.zeros((len(times), *leaf.shape), leaf.dtype), jax.eval_shape(observe, y0))
    start = Path(rows, jnp.asarray(0), y0, times[0], jnp.asarray(0))
    slope = jax.tree.map(jnp.zeros_like, y0)
    return lax.while_loop(goes_on, advance, _State(start, jnp.zeros_like(times[0]), slope, jnp.asarray(0))).path


def _increment(weights: np.ndarray, slopes: PyTree, h: Float[Array, ""]) -> PyTree:
    """The increment h Σ_j w_j f(Y_j), over the non-zero weights only."""
    terms = [(j, float(weight)) for j, weight in enumerate(weights) if weight]
    return jax.tree.map(lambda leaf: h * sum(weight * leaf[j] for j, weight in terms), slopes)


def _moved(weights: np.ndarray, y: PyTree, slopes: PyTree, h: Float[Array, ""]) -> PyTree:
    """The state y + h Σ_j w_j f(Y_j)."""
    return jax.tree.map(jnp.add, y, _increment(weights, slopes, h))


def _with_row(rows: PyTree, i: Int[Array, ""], row: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, one: leaf.at[i].set(one), rows, row)
