"""dy/dt = f(y) by an explicit Runge-Kutta method with adaptive steps, observed on the way.

    Y_i = y + h Σ_{j<i} a_ij f(Y_j),   y' = Y_s,   error = h Σ_j b_j f(Y_j)

Tableaus and interpolations are diffrax's, and the rule for the next step is the default of its PIDController. The loop
is our own, for two reasons: a stage reads no more slopes than it needs, where a product with the whole tableau reads
all of them; and f stands once in the program, which is most of what there is to compile.
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

__all__ = ["METHODS", "Method", "Path", "integrate"]

SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0  # the next step: below what the error allows, within these factors of this one


class Method(NamedTuple):
    """A tableau whose last stage is the end of the step, its slope the first one of the next.

    Attributes:
        weights: a_ij of every stage but the first.
        error: b_j.
        order: of the end of the step.
        interpolation: between its ends.
    """

    weights: Sequence[np.ndarray]
    error: np.ndarray
    order: int
    interpolation: Callable[..., Any]


def _of(solver: type[Any], order: int) -> Method:
    return Method(solver.tableau.a_lower, solver.tableau.b_error, order, solver.interpolation_cls)


METHODS = {"tsit5": _of(diffrax.Tsit5, 5), "dopri8": _of(diffrax.Dopri8, 8)}


class Path(NamedTuple):
    """What an integration saw, and how far it came.

    Attributes:
        observed: what was observed at the times, [time, ...].
        reached: how many of the times; rows from there on mean nothing.
        y: the last state.
        t: its time.
        steps: accepted.
    """

    observed: PyTree
    reached: Int[Array, ""]
    y: PyTree
    t: Float[Array, ""]
    steps: Int[Array, ""]


class _State(NamedTuple):
    path: Path
    h: Float[Array, ""]  # of the next step
    slope: PyTree  # f(y)
    tried: Int[Array, ""]  # steps, the first one, of length zero, included


def integrate(
    f: Callable[[PyTree], PyTree],
    y0: PyTree,
    times: Float[Array, " T"],
    observe: Callable[[PyTree], PyTree],
    method: Method,
    rtol: float | Float[Array, ""],
    atol: float | Float[Array, ""],
    max_steps: int,
) -> Path:
    """Integrate from times[0] to times[-1].

    A step is accepted when the root mean square of error / (atol + rtol |y|) is below 1. It ends before the last time
    after max_steps steps, rejected ones included, and where a step no longer changes t.

    Args:
        f: the velocity.
        y0: the state at times[0].
        times: increasing; the last one may come several times.
        observe: of a state, what is kept at each of the times; between steps of the interpolation.
        method: one of METHODS.
        rtol: relative tolerance.
        atol: absolute tolerance.
        max_steps: see above.
    """
    stages = len(method.error)
    size = sum(leaf.size for leaf in jax.tree.leaves(y0))

    def norm(error, *of):
        """Root mean square of error / (atol + rtol |y|), for the largest |y| of those given."""
        return jnp.sqrt(sum(jax.tree.leaves(jax.tree.map(squares, error, *of))) / size)

    def squares(error, *of):
        largest = reduce(jnp.maximum, map(jnp.abs, of))
        return jnp.sum((error / (atol + rtol * largest)) ** 2)

    def stage(i, so_far, y, h):
        slopes, _ = so_far
        point = lax.switch(i, [partial(_moved, weights) for weights in method.weights], y, slopes, h)
        return _with_row(slopes, i + 1, f(point)), point

    def first_length(y, slope):
        """A step that moves y by about a hundredth (Hairer, Nørsett, Wanner, II.4)."""
        of_y, of_slope = norm(y, y), norm(slope, y)
        return jnp.where(jnp.minimum(of_y, of_slope) < 1e-5, 1e-6, 0.01 * of_y / of_slope)

    def goes_on(state):
        t = state.path.t
        # The first step, of length zero, evaluates f(y0) where f stands for all steps, and observes the start.
        return (state.tried == 0) | ((t < times[-1]) & (t + state.h > t) & (state.tried <= max_steps))

    def step(state):
        (observed, reached, y, t, accepted), first = state.path, state.tried == 0
        t_end = jnp.where(first, t, jnp.minimum(t + state.h, times[-1]))
        h = t_end - t
        slopes = jax.tree.map(lambda leaf: jnp.zeros((stages, *leaf.shape), leaf.dtype).at[0].set(leaf), state.slope)
        slopes, y_end = lax.fori_loop(0, stages - 1, partial(stage, y=y, h=h), (slopes, y))
        error = norm(_sum(method.error, slopes, h), y, y_end)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        keep = error < 1

        def observe_one(so_far):
            observed, reached = so_far
            scaled = jax.tree.map(lambda leaf: h * leaf, slopes)
            between = method.interpolation(t0=t, t1=t_end, y0=y, y1=y_end, k=scaled)
            return _with_row(observed, reached, observe(between.evaluate(times[reached]))), reached + 1

        def is_reached(so_far):
            _, reached = so_far
            return keep & (reached < len(times)) & (times[reached] <= t_end)

        observed, reached = lax.while_loop(is_reached, observe_one, (observed, reached))
        factor = jnp.clip(SAFETY * error ** (-1 / method.order), jnp.where(keep, 1, SHRINK), GROW)
        last_slope = jax.tree.map(lambda leaf: leaf[-1], slopes)
        y, slope = jax.tree.map(partial(jnp.where, keep), (y_end, last_slope), (y, state.slope))
        h = lax.cond(first, lambda: first_length(y, slope), lambda: factor * h)
        accepted += jnp.where(keep & ~first, 1, 0)
        path = Path(observed, reached, y, jnp.where(keep, t_end, t), accepted)
        return _State(path, h, slope, state.tried + 1)

    rows = jax.tree.map(lambda leaf: jnp.zeros((len(times), *leaf.shape), leaf.dtype), jax.eval_shape(observe, y0))
    start = Path(rows, jnp.asarray(0), y0, times[0], jnp.asarray(0))
    slope = jax.tree.map(jnp.zeros_like, y0)
    return lax.while_loop(goes_on, step, _State(start, jnp.zeros_like(times[0]), slope, jnp.asarray(0))).path


def _sum(weights: np.ndarray, slopes: PyTree, h: Float[Array, ""]) -> PyTree:
    """The increment h Σ_j w_j f(Y_j)."""
    terms = [(j, float(weight)) for j, weight in enumerate(weights) if weight]
    return jax.tree.map(lambda leaf: h * sum(weight * leaf[j] for j, weight in terms), slopes)


def _moved(weights: np.ndarray, y: PyTree, slopes: PyTree, h: Float[Array, ""]) -> PyTree:
    """The state y + h Σ_j w_j f(Y_j)."""
    return jax.tree.map(jnp.add, y, _sum(weights, slopes, h))


def _with_row(rows: PyTree, i: Int[Array, ""], row: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, one: leaf.at[i].set(one), rows, row)
