"""Methods that take one step of dy/dt = f(y): what one is, and the explicit Runge-Kutta methods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

STIFF = 2.5  # h ρ of explicit steps that stability limits; Tsit5 is stable up to 3.5


class Step(NamedTuple):
    """One step of a method, from t0 to t1.

    Attributes:
        y: y(t1).
        slopes: f at the points of the step, [held, ...]: first f(y(t0)), as it was given, and last f(y(t1)).
        error: () -> the estimated error of y(t1), entry by entry.
        at: t -> y(t), the interpolation.
        evaluations: of f.
        radius: the spectral radius of ∂f/∂y at t0, nan where the method does not know it.
        known: what the method knows for its next step.
        hands_over: length of the next step -> whether this look is a vote for handing over; see Turn.
    """

    y: PyTree
    slopes: PyTree
    error: Callable[[], PyTree]
    at: Callable[[Float[Array, ""]], PyTree]
    evaluations: Int[Array, ""]
    radius: Float[Array, ""]
    known: PyTree
    hands_over: Callable[[Float[Array, ""]], Bool[Array, ""]]


@runtime_checkable
class Method(Protocol):
    """What takes the steps.

    Attributes:
        order: the estimated error of a step is proportional to h^order.
        held: how many values of f a step holds.
        stabilised: whether it is for stiff f.
    """

    @property
    def order(self) -> int:
        """See above."""
        ...

    @property
    def held(self) -> int:
        """See above."""
        ...

    @property
    def stabilised(self) -> bool:
        """See above."""
        ...

    def start(self, y0: PyTree) -> PyTree:
        """What it knows before its first step."""
        ...

    def step(self, f: Callable, y0: PyTree, slopes: PyTree, span: tuple[Any, Any], known: PyTree) -> Step:
        """One step from y0 over span = (t0, t1); the first of the slopes [held, ...] is f(y0), the others are free."""
        ...


@dataclass(frozen=True)
class Explicit:
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

    stabilised: ClassVar[bool] = False

    @property
    def held(self) -> int:
        """Those of all stages."""
        return len(self.error)

    def start(self, y0):
        """Nothing."""
        del y0

    def step(self, f, y0, slopes, span, known):
        """One step from y0; its slopes are written over those of the step before."""
        t0, t1 = span
        stages, h = self.held, t1 - t0

        def stage(i, carry):
            slopes, _ = carry
            y = lax.switch(i, [partial(_moved, weights) for weights in self.weights], y0, slopes, h)
            return with_row(slopes, i + 1, f(y)), y

        slopes, y1 = lax.fori_loop(0, stages - 1, stage, (slopes, y0))

        def at(t):
            # y + h Σ_j b_j(t) f(Y_j): the b_j are what the interpolation makes of unit vectors in place of the slopes.
            nothing, units = jnp.zeros(stages, h.dtype), jnp.eye(stages, dtype=h.dtype)
            b = self.interpolation(t0=t0, t1=t1, y0=nothing, y1=nothing, k=units).evaluate(t)
            return jax.tree.map(lambda y, leaf: y + jnp.tensordot(h * b, leaf, axes=1), y0, slopes)

        def hands_over(h_next):
            # Two points at the end of the step: the sharpest direction prevails in their difference where stability
            # limits the step, and then in every leaf.
            del h_next
            some = largest_leaf(slopes)
            apart = _increment(self.weights[-1] - np.append(self.weights[-2], 0), some, h)
            return h * jnp.linalg.norm(some[-1] - some[-2]) > STIFF * jnp.linalg.norm(apart)

        return Step(
            y=y1,
            slopes=slopes,
            error=lambda: _increment(self.error, slopes, h),
            at=at,
            evaluations=jnp.asarray(stages - 1),
            radius=jnp.full_like(t0, jnp.nan),
            known=known,
            hands_over=hands_over,
        )


def _of_diffrax(solver: type[Any], order: int) -> Explicit:
    return Explicit(solver.tableau.a_lower, solver.tableau.b_error, order, solver.interpolation_cls)


TSIT5, DOPRI8 = _of_diffrax(diffrax.Tsit5, 5), _of_diffrax(diffrax.Dopri8, 8)


def _increment(weights: np.ndarray, slopes: PyTree, h: Float[Array, ""]) -> PyTree:
    """The increment h Σ_j w_j f(Y_j), over the non-zero weights only."""
    terms = [(j, float(weight)) for j, weight in enumerate(weights) if weight]
    return jax.tree.map(lambda leaf: h * sum(weight * leaf[j] for j, weight in terms), slopes)


def _moved(weights: np.ndarray, y: PyTree, slopes: PyTree, h: Float[Array, ""]) -> PyTree:
    """The state y + h Σ_j w_j f(Y_j)."""
    return jax.tree.map(jnp.add, y, _increment(weights, slopes, h))


def largest_leaf(tree: PyTree) -> Array:
    """The leaf with the most entries."""
    return max(jax.tree.leaves(tree), key=lambda leaf: leaf.size)


def row(rows: PyTree, i: Any) -> PyTree:
    """That row of every leaf."""
    return jax.tree.map(lambda leaf: leaf[i], rows)


def with_row(rows: PyTree, i: Any, one: PyTree) -> PyTree:
    """The rows with another one at i."""
    return jax.tree.map(lambda leaf, values: leaf.at[i].set(values), rows, one)
