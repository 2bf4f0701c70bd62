"""dy/dt = f(y) with adaptive steps, observed at given times; explicit, stabilised, or by turns.

A solver that has methods of both kinds starts with the explicit one, and changes

    to the stabilised one    after PATIENCE accepted steps in a row whose length stability limits, h ρ > STIFF
    back                     when steps of the explicit one at the limit of its stability would advance further per
                             evaluation of f; if that is soon, the patience doubles

The rule for the next step is the default of diffrax's PIDController. The loop is our own because it compiles faster
than `diffrax.diffeqsolve`, and solves faster in Gram variables. Measured on the flow of a one-layer model (n = 60,
d = 64, m = 128; t to 300, rtol 1e-7, 201 times; 2 cores; medians of three series, the last two beside other work; in
all 14 compilations without a cache and 175 or more solves of each):

    diffeqsolve / this loop         weights, 74 steps                 Gram variables, 89 steps
    trace, lower and compile, s     2.4, 2.0, 2.9 / 1.6, 1.3, 2.0     3.3, 2.5, 13.4 / 2.0, 1.4, 8.2
    solve, ms                       164, 180, 177 / 155, 171, 184     94, 177, 188 / 64, 120, 138
    matrix products in the program  30 / 15                           30 / 12

f stands once in the program, with two methods as well; diffrax's has the observed function twice and more products of
the slopes, and takes three times as long to trace. A stage here reads the slopes of non-zero weight only. If it
multiplies the whole row of the tableau by all slopes, as diffrax does, a solve in Gram variables takes 1.5 times as
long: the whole difference. `diffeqsolve` also has events, implicit solvers, gradients of the solution (with
checkpoints) and dense output; this loop has none of them.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from dynamics.laws.runge_kutta import DOPRI8, TSIT5, Method, Plan, Work, row, with_row
from dynamics.laws.stabilised import FIRST_SEARCHES, LATER_SEARCHES, RKC2
from dynamics.trajectory import NOTES

# The next step: SAFETY times what the error allows, SHRINK to GROW times this one.
SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
STIFF = 2.5  # h ρ of explicit steps near the limit of their stability; Tsit5 is stable up to 3.5
LIMIT = 3.3  # h ρ of an explicit solution whose steps stability limits, on average
LOOK_EVERY, PATIENCE, MOST_PATIENCE = 4, 3, 1000  # accepted steps; looks
SHORT_VISIT = 20  # accepted steps


class Solver(NamedTuple):
    """An explicit method, a stabilised one, or both."""

    explicit: Method | None
    stabilised: Method | None


SOLVERS = {
    "auto": Solver(TSIT5, RKC2),
    "tsit5": Solver(TSIT5, None),
    "dopri8": Solver(DOPRI8, None),
    "rkc2": Solver(None, RKC2),
}


class Tolerance(NamedTuple):
    """When a step is accepted, and how many may be tried."""

    rtol: float | Float[Array, ""]
    atol: float | Float[Array, ""]
    max_steps: int  # accepted and rejected


class Path(NamedTuple):
    """What an integration observed, and where it ended.

    Attributes:
        observed: the observations at the times, [time, ...].
        notes: {name in NOTES: its values at the times}.
        reached: the number of times reached; later rows of `observed` and `notes` mean nothing.
        y: the last state.
        t: the time of the last state.
        steps: the number of accepted steps.
        control: how the solver would go on.
    """

    observed: PyTree
    notes: dict[str, Array]
    reached: Int[Array, ""]
    y: PyTree
    t: Float[Array, ""]
    steps: Int[Array, ""]
    control: "Control"


class Control(NamedTuple):
    """What the solver goes on with, in the next step and after a checkpoint.

    Attributes:
        h: the length of the next step; 0 for a start, where it is not known.
        stabilised: whether it is one of the stabilised method.
        steps: of the stabilised method in a row, or looks at explicit ones that found them limited by stability.
        patience: how many such looks it takes.
        radius: the last estimate of ρ.
        evaluations: of f, since the start.
    """

    h: Float[Array, ""]
    stabilised: Bool[Array, ""]
    steps: Int[Array, ""]
    patience: Int[Array, ""]
    radius: Float[Array, ""]
    evaluations: Int[Array, ""]

    @classmethod
    def start(cls, solver: Solver, dtype: Any) -> "Control":
        """Of a trajectory that begins."""
        none = jnp.zeros((), dtype)
        count = jnp.asarray(0)
        return cls(none, jnp.asarray(solver.explicit is None), count, jnp.asarray(PATIENCE), none, count)


class _State(NamedTuple):
    path: Path
    slope: PyTree  # f(y)
    kept: PyTree  # see Work
    rejected: Bool[Array, ""]  # the last step
    begins: Bool[Array, ""]  # whether the method of the next step is not that of the last one
    tried: Int[Array, ""]  # steps, rejected ones and the first, of length zero, included


def integrate(
    f: Callable[[PyTree], PyTree],
    y0: PyTree,
    times: Float[Array, " T"],
    observe: Callable[[PyTree], PyTree],
    solver: Solver,
    tolerance: Tolerance,
    control: Control | None = None,
) -> Path:
    """Integrate from times[0] to times[-1].

    A step is accepted when the root mean square of error / (atol + rtol |y|) is below 1, with the larger |y| of its two
    ends. The integration ends before the last time after max_steps steps, or when a step is too short to change t.

    Args:
        f: the velocity.
        y0: the state at times[0].
        times: increasing; the last one may be repeated.
        observe: a function of the state, evaluated at each of the times.
        solver: one of SOLVERS.
        tolerance: tolerances and the number of steps.
        control: that of the path which this one continues.
    """
    rows = max(method.rows for method in solver if method is not None)
    size = sum(leaf.size for leaf in jax.tree.leaves(y0))

    def scaled(error, *states):
        """Root mean square of error / (atol + rtol |y|), with the largest |y| of the states."""
        return jnp.sqrt(sum(jax.tree.leaves(jax.tree.map(squares, error, *states))) / size)

    def squares(error, *states):
        largest = reduce(jnp.maximum, map(jnp.abs, states))
        return jnp.sum((error / (tolerance.atol + tolerance.rtol * largest)) ** 2)

    def first_length(y, slope):
        """A step that moves y by about a hundredth of its size (Hairer, Nørsett, Wanner, II.4)."""
        norm_y, norm_slope = scaled(y, y), scaled(slope, y)
        return jnp.where(jnp.minimum(norm_y, norm_slope) < 1e-5, 1e-6, 0.01 * norm_y / norm_slope)

    def goes_on(state):
        t, h = state.path.t, state.path.control.h
        # The first step has length zero: it computes f(y0) and observes y0 with the code of all other steps.
        return (state.tried == 0) | ((t < times[-1]) & (t + h > t) & (state.tried <= tolerance.max_steps))

    def advance(state):
        path, first = state.path, state.tried == 0
        y, t, control = path.y, path.t, path.control
        method, number = (partial(of, solver, control.stabilised) for of in (_method, _number))
        t_end = jnp.where(first, t, jnp.minimum(t + control.h, times[-1]))
        h = t_end - t

        def evaluate(work):
            point, kept, plan = method("point", y, work, h)
            last = jnp.where(first, rows - 1, number("row", work))
            return Work(with_row(work.slopes, last, f(point)), kept, work.done + 1, plan)

        searches = jnp.where(state.begins, FIRST_SEARCHES, jnp.where(state.rejected, LATER_SEARCHES, 1))
        plan = Plan(jnp.asarray(1), control.radius, jnp.where(first, 0, searches), state.rejected)
        plan = plan._replace(evaluations=jnp.where(first, 1, number("least", plan)))
        work = Work(with_row(_zeros(rows, y), 0, state.slope), state.kept, jnp.asarray(0), plan)
        work = lax.while_loop(lambda work: work.done < work.plan.evaluations, evaluate, work)
        end, error = method("end", y, work, h)
        error = scaled(error, y, end)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        keep = error < 1
        radius = jnp.where(control.stabilised, work.plan.radius, jnp.nan)
        control = control._replace(radius=work.plan.radius, evaluations=control.evaluations + work.done)
        notes = dict(zip(NOTES, (control.evaluations, control.stabilised, radius), strict=True))

        def observe_one(carry):
            observed, noted, reached = carry
            seen = observe(method("at", times[reached], (y, end), work.slopes, t, t_end))
            return with_row(observed, reached, seen), with_row(noted, reached, notes), reached + 1

        def is_reached(carry):
            return keep & (carry[2] < len(times)) & (times[carry[2]] <= t_end)

        seen = lax.while_loop(is_reached, observe_one, (path.observed, path.notes, path.reached))
        factor = jnp.clip(SAFETY * error ** (-1 / number("order")), jnp.where(keep, 1, SHRINK), GROW)
        y, slope = jax.tree.map(partial(jnp.where, keep), (end, row(work.slopes, -1)), (y, state.slope))
        # A start has no length yet, and what shortened the last step is not the error.
        h_next = lax.cond(first & (control.h == 0), lambda: first_length(y, slope), lambda: factor * h)
        h_next = jnp.where(keep & (h < control.h), jnp.maximum(h_next, control.h), h_next)
        accepted = keep & ~first
        chosen = _chosen(solver, control._replace(h=h_next), work.slopes, h, accepted, path.steps % LOOK_EVERY == 0)
        path = Path(*seen, y, jnp.where(keep, t_end, t), path.steps + jnp.where(accepted, 1, 0), chosen)
        begins = first | (chosen.stabilised & ~control.stabilised)
        return _State(path, slope, work.kept, ~keep, begins, state.tried + 1)

    none = jnp.asarray(0)
    control = Control.start(solver, times.dtype) if control is None else control
    notes = dict(zip(NOTES, (control.evaluations, control.stabilised, control.radius), strict=True))
    start = Path(*_zeros(len(times), (jax.eval_shape(observe, y0), notes)), none, y0, times[0], none, control)
    slope = jax.tree.map(jnp.zeros_like, y0)
    kept = None if solver.stabilised is None else _zeros(3, y0)
    no = jnp.asarray(False)
    return lax.while_loop(goes_on, advance, _State(start, slope, kept, no, no, none)).path


def _method(solver: Solver, stabilised: Bool[Array, ""], name: str, *args: Any) -> Any:
    """The result of a function of the method whose turn it is."""
    of = [getattr(method, name) for method in solver if method is not None]
    return lax.cond(stabilised, of[1], of[0], *args) if len(of) == 2 else of[0](*args)


def _number(solver: Solver, stabilised: Bool[Array, ""], name: str, *args: Any) -> Any:
    """The same for numbers, which are computed for both methods."""
    of = [getattr(method, name) for method in solver if method is not None]
    values = [value(*args) if callable(value) else value for value in of]
    return jax.tree.map(partial(jnp.where, stabilised), values[1], values[0]) if len(of) == 2 else values[0]


def _zeros(rows: int, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape), leaf.dtype), tree)


def _chosen(
    solver: Solver,
    control: Control,
    slopes: PyTree,
    h: Float[Array, ""],
    accepted: Bool[Array, ""],
    look: Bool[Array, ""],
) -> Control:
    """The control with the method that takes the next step, after one of length h with these slopes.

    `look` says whether it is the turn to see if stability limits explicit steps, which costs as much as some stages.
    """
    explicit, stabilised = solver
    if explicit is None or stabilised is None:
        return control
    look = look & accepted & ~control.stabilised
    limited = lax.cond(look, lambda: h * explicit.sharpness(slopes, h) > STIFF, lambda: jnp.asarray(False))
    counts = limited | (control.stabilised & accepted)
    steps = control.steps + jnp.where(counts, 1, 0)
    steps = jnp.where(look & ~limited, jnp.maximum(steps - 1, 0), steps)
    begins = ~control.stabilised & (steps >= control.patience)
    pace = control.h / stabilised.cost(control.h, control.radius)
    ends = control.stabilised & (pace * control.radius < LIMIT / explicit.cost(h, control.radius))
    longer = jnp.where(steps < SHORT_VISIT, jnp.minimum(2 * control.patience, MOST_PATIENCE), PATIENCE)
    return control._replace(
        stabilised=(control.stabilised | begins) & ~ends,
        steps=jnp.where(begins | ends, 0, steps),
        patience=jnp.where(ends, longer, control.patience),
    )


def _method(solver: Solver, stabilised: Bool[Array, ""], name: str, *args: Any) -> Any:
    """The result of a function of the method whose turn it is."""
    of = [getattr(method, name) for method in solver if method is not None]
    return lax.cond(stabilised, of[1], of[0], *args) if len(of) == 2 else of[0](*args)


def _number(solver: Solver, stabilised: Bool[Array, ""], name: str, *args: Any) -> Any:
    """The same for numbers, which are computed for both methods."""
    of = [getattr(method, name) for method in solver if method is not None]
    values = [value(*args) if callable(value) else value for value in of]
    return jnp.where(stabilised, values[1], values[0]) if len(values) == 2 else values[0]
