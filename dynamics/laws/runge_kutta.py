"""Runge-Kutta methods, one evaluation of f at a time: what a method is, and explicit ones from a tableau.

    Y_i = y + h Σ_{j<i} a_ij f(Y_j),   y' = Y_s,   error = h Σ_j b_j f(Y_j)

Tableaus and interpolations are diffrax's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree


class Work(NamedTuple):
    """A step from y that is being taken.

    Attributes:
        slopes: f at points of the step, [row, ...]: f(y) in row 0, f of the last point in the last row.
        kept: what a stabilised method keeps, also from step to step, [row, ...]: its last two points, in turn, and the
            direction of its power iteration.
        done: the number of evaluations of f.
        plan: see Plan.
    """

    slopes: PyTree
    kept: PyTree
    done: Int[Array, ""]
    plan: "Plan"


class Plan(NamedTuple):
    """Numbers of a step.

    Attributes:
        evaluations: how many the step needs.
        radius: an estimate of the spectral radius ρ of ∂f/∂y; 0 while it is not known.
        searches: how many of the evaluations improve that estimate, before the others.
        rejected: whether the step is tried again, with another length.
    """

    evaluations: Int[Array, ""]
    radius: Float[Array, ""]
    searches: Int[Array, ""]
    rejected: Bool[Array, ""]


def largest(tree: PyTree) -> Array:
    """The leaf with the most entries."""
    return max(jax.tree.leaves(tree), key=lambda leaf: leaf.size)


def row(rows: PyTree, i: Any) -> PyTree:
    """That row of every leaf."""
    return jax.tree.map(lambda leaf: leaf[i], rows)


def with_row(rows: PyTree, i: Any, one: PyTree) -> PyTree:
    """The rows with another one at i."""
    return jax.tree.map(lambda leaf, values: leaf.at[i].set(values), rows, one)


class Method(Protocol):
    """A method whose last point is the end of the step.

    Attributes:
        order: errors of a step are proportional to h^order, as they are estimated.
        rows: of slopes that it uses.
    """

    order: int
    rows: int

    def point(self, y: PyTree, work: Work, h: Float[Array, ""]) -> tuple[PyTree, PyTree, Plan]:
        """The next point at which f is evaluated, and `kept` and `plan` with what changes there."""
        ...

    def least(self, plan: Plan) -> Int[Array, ""] | int:
        """How many evaluations the next step needs, or more than are known at its beginning."""
        ...

    def row(self, work: Work) -> Int[Array, ""]:
        """The row of the slopes in which f of that point belongs."""
        ...

    def end(self, y: PyTree, work: Work, h: Float[Array, ""]) -> tuple[PyTree, PyTree]:
        """The last point, and its estimated error, entry by entry."""
        ...

    def at(self, t: Float[Array, ""], ends: tuple[PyTree, PyTree], slopes: PyTree, t0: Any, t1: Any) -> PyTree:
        """The state at t, interpolated between those at t0 and t1."""
        ...

    def cost(self, h: Float[Array, ""], radius: Float[Array, ""]) -> Float[Array, ""] | int:
        """How many evaluations a step h takes."""
        ...


@dataclass(frozen=True)
class Explicit:
    """An explicit Runge-Kutta tableau.

    Attributes:
        weights: a_ij, a row for every stage but the first.
        error_weights: b_j.
        order: see Method.
        interpolation: a class of diffrax.
    """

    weights: Sequence[np.ndarray]
    error_weights: np.ndarray
    order: int
    interpolation: Callable[..., Any]

    @property
    def rows(self) -> int:
        """One for each stage."""
        return len(self.error_weights)

    def least(self, plan):
        """As many as there are stages; f(y) is known."""
        del plan
        return self.rows - 1

    def point(self, y, work, h):
        """Y_i."""
        # A branch serves two stages: half as many to compile, and at most one row of weight zero to read.
        rows = [min(i + 2, self.rows - 1) for i in range(0, self.rows - 1, 2)]
        table = np.zeros((self.rows - 1, self.rows - 1))
        for i, weights in enumerate(self.weights):
            table[i, : len(weights)] = weights

        def moved(count, y, slopes, weights):
            terms = [h * weights[j] for j in range(count)]
            return jax.tree.map(
                lambda y, leaf: y + sum(term * leaf[j] for j, term in enumerate(terms)), y, slopes
            )

        branches = [partial(moved, count) for count in rows]
        point = lax.switch(work.done // 2, branches, y, work.slopes, jnp.asarray(table, h.dtype)[work.done])
        return point, work.kept, work.plan

    def row(self, work):
        """That of the stage."""
        return work.done + 1

    def end(self, y, work, h):
        """The last point again, and the difference to a method of lower order."""
        return _moved(self.weights[-1], y, work.slopes, h), _increment(self.error_weights, work.slopes, h)

    def at(self, t, ends, slopes, t0, t1):
        """The interpolation that belongs to the tableau."""
        increments = jax.tree.map(lambda leaf: (t1 - t0) * leaf, slopes)
        return self.interpolation(t0=t0, t1=t1, y0=ends[0], y1=ends[1], k=increments).evaluate(t)

    def sharpness(self, slopes, h):
        """|f(Y_s) − f(Y_{s−1})| / |Y_s − Y_{s−1}|, at two points at the end of a step: ρ where stability limits h.

        The sharpest direction then prevails in both, so that their largest leaf is enough.
        """
        slopes = largest(slopes)
        between = _increment(self.weights[-1] - np.append(self.weights[-2], 0), slopes, h)
        return jnp.linalg.norm(slopes[-1] - slopes[-2]) / jnp.linalg.norm(between)

    def cost(self, h, radius):
        """One for each stage but the first."""
        del h, radius
        return self.rows - 1


def _of_diffrax(solver: type[Any], order: int) -> Explicit:
    return Explicit(solver.tableau.a_lower, solver.tableau.b_error, order, solver.interpolation_cls)


TSIT5 = _of_diffrax(diffrax.Tsit5, 5)
DOPRI8 = _of_diffrax(diffrax.Dopri8, 8)


def _increment(weights: np.ndarray, slopes: PyTree, h: Float[Array, ""]) -> PyTree:
    """The increment h Σ_j w_j f(Y_j), over the non-zero weights only."""
    terms = [(j, float(weight)) for j, weight in enumerate(weights) if weight]
    return jax.tree.map(lambda leaf: h * sum(weight * leaf[j] for j, weight in terms), slopes)


def _moved(weights: np.ndarray, y: PyTree, slopes: PyTree, h: Float[Array, ""]) -> PyTree:
    """The state y + h Σ_j w_j f(Y_j)."""
    return jax.tree.map(jnp.add, y, _increment(weights, slopes, h))
