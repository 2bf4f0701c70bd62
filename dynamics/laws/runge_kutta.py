"""dy/dt = f(y) by a Runge-Kutta method with adaptive steps, observed at given times.

    Y_i = y + h Σ_{j<i} a_ij f(Y_j),   y' = Y_s,   error = h Σ_j b_j f(Y_j)

is an explicit method; dynamics.laws.stabilised has one for stiff f. Two methods may take turns: each goes on while it
is the better one, and hands over to the other (see Turn). Each is a program of its own, so that a path that is not
stiff never compiles the other.

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
loop has none of them.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from dynamics.laws.law import Stretch
from dynamics.laws.methods import Method, with_row
from dynamics.trajectory import SOLVER_NOTES, Values

# The next step: SAFETY times what the error allows, SHRINK to GROW times this one.
SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
SETTLED = 2.0  # a step that may grow by more than this factor has not found its length
LOOK_EVERY, PATIENCE, MOST_PATIENCE, SHORT, ENOUGH = 4, 5, 10_000, 30, 15  # see Turn


class Solver(NamedTuple):
    """A method, when its steps are accepted, and how many may be tried.

    Attributes:
        method: takes the steps.
        rtol, atol: see integrate.
        max_steps: accepted and rejected ones.
        alternates: whether it hands over to the other method; if not, it goes on whatever it meets.
    """

    method: Method
    rtol: float | Float[Array, ""]
    atol: float | Float[Array, ""]
    max_steps: int
    alternates: bool = False

    def relative(self, error: PyTree, *states: PyTree) -> PyTree:
        """Error / (atol + rtol |y|), entry by entry, with the largest |y| of the states."""

        def of_leaf(error, *states):
            return error / (self.atol + self.rtol * reduce(jnp.maximum, map(jnp.abs, states)))

        return jax.tree.map(of_leaf, error, *states)


class Turn(NamedTuple):
    """Whose turn it is, where two methods take turns, and what had been done before.

    Every look at a method is a vote for handing over or one against it, and votes for are counted less those against.
    An explicit method is looked at after every LOOK_EVERY-th accepted step: is stability what limits its length? A
    rejected step is a vote for handing over, too. It hands over at `patience` votes. A stabilised method is looked at
    after every step, once its steps have found their length: would an explicit method get further per evaluation? It
    hands over at ENOUGH votes; if that is within SHORT accepted steps, the patience doubles, up to MOST_PATIENCE.

    Attributes:
        stabilised: whether it is the turn of the stabilised method.
        patience: the votes at which an explicit method hands over.
        evaluations: of f, since the start.
    """

    stabilised: Bool[Array, ""]
    patience: Int[Array, ""]
    evaluations: Int[Array, ""]

    @classmethod
    def first(cls, method: Method) -> "Turn":
        """The turn of this method, at a start."""
        return cls(jnp.asarray(method.stabilised), jnp.asarray(PATIENCE), jnp.asarray(0))


class Controller(NamedTuple):
    """The step controller: what the next step depends on, besides y and whose turn it is.

    Attributes:
        t: the time of y.
        h: the length of the next step.
        slope: f(y).
        known: by the method.
        tried: the number of steps of this turn, rejected ones and the first, of length zero, included.
        accepted: the number of accepted ones.
        votes: for handing over; see Turn.
    """

    t: Float[Array, ""]
    h: Float[Array, ""]
    slope: PyTree
    known: PyTree
    tried: Int[Array, ""]
    accepted: Int[Array, ""]
    votes: Int[Array, ""]

    @classmethod
    def first(cls, method: Method, y0: PyTree, t: Any) -> "Controller":
        """That of the first step, from y0 at time t."""
        none, t = jnp.asarray(0), jnp.asarray(t, jax.tree.leaves(y0)[0].dtype)
        slope = jax.tree.map(jnp.zeros_like, y0)
        return cls(t, jnp.zeros_like(t), slope, method.start(y0), none, none, none)


class _Held(NamedTuple):
    """The slopes that the last step held; every step of a loop writes its own over them.

    Attributes:
        slopes: [held, ...].
        accepted: whether the step was accepted, so that the next one begins with the last slope, not with the first.
    """

    slopes: PyTree
    accepted: Bool[Array, ""]

    @classmethod
    def first(cls, slope: PyTree, held: int) -> "_Held":
        """Those before the first step."""
        slopes = jax.tree.map(lambda leaf: jnp.zeros((held, *leaf.shape), leaf.dtype).at[0].set(leaf), slope)
        return cls(slopes, jnp.asarray(False))

    @property
    def slope(self) -> PyTree:
        """With which the next step begins."""
        return jax.tree.map(lambda leaf: jnp.where(self.accepted, leaf[-1], leaf[0]), self.slopes)

    def begun(self) -> PyTree:
        """What the next step is given."""
        return with_row(self.slopes, 0, self.slope)


class Path(NamedTuple):
    """What an integration observed, and where it ended.

    Attributes:
        observed: the observations at the times, [time, ...].
        notes: what was done up to the times, {name in SOLVER_NOTES: [time]}.
        reached: the number of times reached; later rows of `observed` and `notes`, and those before the first one, mean
            nothing.
        y: the last state.
        steps: the number of accepted steps of this call.
        turn: whose turn is next.
        controller: all else that the next step depends on.
        paused: whether it ended only because of the limit of the stretch.
    """

    observed: PyTree
    notes: dict[str, Values]
    reached: Int[Array, ""]
    y: PyTree
    steps: Int[Array, ""]
    turn: Turn
    controller: Controller
    paused: Bool[Array, ""]

    @property
    def t(self) -> Float[Array, ""]:
        """The time of y."""
        return self.controller.t


def integrate(
    f: Callable[[PyTree], PyTree],
    y0: PyTree,
    times: Float[Array, " T"],
    observe: Callable[[PyTree], PyTree],
    solver: Solver,
    stretch: Stretch,
) -> Path:
    """Integrate to times[-1], until the method hands over, or until it has taken as many steps as it may.

    A step is accepted when the root mean square of error / (atol + rtol |y|) is below 1, with the larger |y| of its two
    ends. The integration ends before the last time after max_steps steps, or when a step is too short to change t.

    Args:
        f: the velocity.
        y0: the state at the beginning.
        times: increasing; the first and the last one may be repeated.
        observe: a function of the state, evaluated at each of the times that has not been observed.
        solver: method and tolerances.
        stretch: see dynamics.laws.law; its memory is a Turn and its state a Controller.
    """
    method = solver.method

    def first_length(y, slope):
        """A step that moves y by about a hundredth of its size (Hairer, Nørsett, Wanner, II.4)."""
        norm_y, norm_slope = _norm(solver.relative(y, y)), _norm(solver.relative(slope, y))
        return jnp.where(jnp.minimum(norm_y, norm_slope) < 1e-5, 1e-6, 0.01 * norm_y / norm_slope)

    def could_go_on(path):
        t, h, tried = path.controller.t, path.controller.h, path.controller.tried
        # The first step has length zero: it computes f(y0) and observes y0 with the code of all other steps.
        more = (tried == 0) | ((t < times[-1]) & (t + h > t) & (tried <= solver.max_steps))
        return more & (path.turn.stabilised == method.stabilised) if solver.alternates else more

    def goes_on(path):
        return could_go_on(path) & (path.controller.tried - begin.tried < stretch.limit)

    def advance(path):
        observed, notes, reached, y, steps, turn, (t, h, held, known, tried, accepted, votes), _ = path
        first = tried == 0
        t_end = jnp.where(first, t, jnp.minimum(t + h, times[-1]))
        step = method.step(f, y, held.begun(), (t, t_end), known)
        # Behind a condition that always holds: on a CPU, XLA copies all slopes and more for a sum that they stand in.
        error = _norm(lax.cond(t <= t_end, lambda: solver.relative(step.error(), y, step.y), lambda: y))
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        keep = error < 1
        turn = turn._replace(evaluations=turn.evaluations + step.evaluations)
        note = dict(zip(SOLVER_NOTES, (turn.evaluations, turn.stabilised, step.radius), strict=True))

        def observe_one(carry):
            observed, notes, reached = carry
            seen = observe(step.at(times[reached]))
            return with_row(observed, reached, seen), with_row(notes, reached, note), reached + 1

        def is_reached(carry):
            *_, reached = carry
            return keep & (reached < len(times)) & (times[reached] <= t_end)

        seen = lax.while_loop(is_reached, observe_one, (observed, notes, reached))
        factor = jnp.clip(SAFETY * error ** (-1 / method.order), jnp.where(keep, 1, SHRINK), GROW)
        h = t_end - t
        y = jax.tree.map(partial(jnp.where, keep), step.y, y)
        held = _Held(step.slopes, keep)
        if solver.alternates:
            looks = ~first & jnp.where(method.stabilised, factor < SETTLED, keep & (accepted % LOOK_EVERY == 0))
            found = lax.cond(looks, lambda: jnp.where(step.hands_over(factor * h), 1, -1), lambda: 0)
            # Steps at the limit of stability are often too long, and rejected.
            found = jnp.where(keep | method.stabilised, found, 1)
            votes = jnp.maximum(votes + found, 0)
            turn = _next_turn(turn, method, votes, accepted)
        h = lax.cond(first, lambda: first_length(y, held.slope), lambda: factor * h)
        taken = jnp.where(keep & ~first, 1, 0)
        t = jnp.where(keep, t_end, t)
        controller = Controller(t, h, held, step.known, tried + 1, accepted + taken, votes)
        return Path(*seen, y, steps + taken, turn, controller, path.paused)

    fresh = Controller.first(method, y0, stretch.t)
    begin = jax.tree.map(partial(jnp.where, stretch.paused), stretch.state, fresh)
    held = _Held.first(begin.slope, method.held)
    note = dict(zip(SOLVER_NOTES, (stretch.memory.evaluations, stretch.memory.stabilised, times[0]), strict=True))
    observed, notes = jax.tree.map(
        lambda leaf: jnp.zeros((len(times), *leaf.shape), leaf.dtype), (jax.eval_shape(observe, y0), note)
    )
    never, none = jnp.asarray(False), jnp.asarray(0)
    start = Path(observed, notes, jnp.asarray(stretch.row), y0, none, stretch.memory, begin._replace(slope=held), never)
    path = lax.while_loop(goes_on, advance, start)
    controller = path.controller._replace(slope=path.controller.slope.slope)
    paused = could_go_on(path) & (controller.tried - begin.tried >= stretch.limit)
    return path._replace(controller=controller, paused=paused)


def _norm(tree: PyTree) -> Float[Array, ""]:
    """The root mean square of all entries."""
    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves))


def _next_turn(turn: Turn, method: Method, votes: Int[Array, ""], accepted: Int[Array, ""]) -> Turn:
    """The turn after a step of the method, the accepted-th one of this turn."""
    if not method.stabilised:
        return turn._replace(stabilised=votes >= turn.patience)
    ends = votes >= ENOUGH
    longer = jnp.where(accepted < SHORT, jnp.minimum(2 * turn.patience, MOST_PATIENCE), PATIENCE)
    return turn._replace(stabilised=~ends, patience=jnp.where(ends, longer, turn.patience))
