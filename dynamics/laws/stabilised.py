"""The Runge-Kutta-Chebyshev method of order 2, whose stability reaches far along the negative real axis.

    Y_0 = y,  Y_1 = y + b_1 w1 h f(y),  y' = Y_s,
    Y_j = (1 − μ_j − ν_j) y + μ_j Y_{j−1} + ν_j Y_{j−2} + μ̃_j h (f(Y_{j−1}) − a_{j−1} f(y)),
    error = 0.8 (y − y') + 0.4 h (f(y) + f(y'))

With s stages it is stable up to h ρ = 0.65 (s² − 1), where an explicit method of s stages reaches about s: a step grows
with the square of the work, until accuracy limits it. The numbers come from Chebyshev polynomials T_j at w0 = 1 + ε/s²
(Sommeijer, Shampine, Verwer 1997), with w1 = T_s'/T_s'' and b_j = T_j''/T_j'^2, b_0 = b_1 = b_2:

    a_j = 1 − b_j T_j,  μ_j = 2 b_j w0/b_{j−1},  ν_j = −b_j/b_{j−2},  μ̃_j = 2 b_j w1/b_{j−1}

s is a traced number, so that no step, tolerance or time compiles again. The spectral radius ρ of ∂f/∂y comes from power
iteration with differences of f, one evaluation a step: each step goes on with the direction of the step before. For a
gradient flow it is the sharpness along the flow.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from dynamics.laws.runge_kutta import Work, largest, row, with_row

DAMPING = 2 / 13  # ε
SAFE = 1.1  # times the estimate of ρ is taken for a bound
FIRST_SEARCHES, LATER_SEARCHES = 20, 6  # evaluations for ρ when a stretch of steps begins, and after a rejected step
MOST_STAGES = {8: 2000, 4: 100}  # by the bytes of a number, since rounding errors grow with s²


def stages(h: Float[Array, ""], radius: Float[Array, ""]) -> Float[Array, ""]:
    """The fewest stages s with which a step h is stable, h ρ <= 0.65 (s² − 1)."""
    return jnp.maximum(2, 1 + jnp.floor(jnp.sqrt(1 + 1.54 * SAFE * radius * h)))


@dataclass(frozen=True)
class RungeKuttaChebyshev:
    """RKC2. The rows of its slopes: f(y), f along the direction of the power iteration, and f of the last point."""

    order: int = 3
    rows: int = 3

    def least(self, plan):
        """Those for ρ; how many stages follow is known after them."""
        return plan.searches + 2

    def point(self, y, work, h):
        """A point along the direction of the power iteration, and after the searches Y_j."""
        plan, i = work.plan, work.done
        # The direction is kept for the next step, too.
        kept, length, short = lax.cond(
            i <= plan.searches, _direction, lambda y, work: (work.kept, jnp.zeros_like(h), jnp.ones_like(h)), y, work
        )
        found = jnp.where((i > 0) & (i <= plan.searches) & jnp.isfinite(length), length / short, plan.radius)
        # After a rejected step the direction is a new one, and ρ may not have been reached.
        radius = jnp.where(plan.rejected, jnp.maximum(found, plan.radius), found)
        needed = plan.searches + jnp.minimum(stages(h, radius), MOST_STAGES[h.dtype.itemsize]).astype(i.dtype)
        plan = plan._replace(radius=radius, evaluations=jnp.where(i == plan.searches, needed, plan.evaluations))
        scale = jnp.where(jnp.isfinite(length) & (length > 0), short / length, 0)
        point = lax.cond(i < plan.searches, _searched, _stage, y, Work(work.slopes, kept, i, plan), h, scale)
        return point, with_row(kept, i % 2, point), plan

    def row(self, work):
        """The one before the last for searches, and the last for stages."""
        rows = jax.tree.leaves(work.slopes)[0].shape[0]
        return jnp.where(work.done < work.plan.searches, rows - 2, rows - 1)

    def end(self, y, work, h):
        """The last point, and 0.8 (y − y') + 0.4 h (f(y) + f(y')), the leading term of the error where f is linear."""
        end = row(work.kept, (work.done - 1) % 2)

        def error(y, end, slopes):
            return 0.8 * (y - end) + 0.4 * h * (slopes[0] + slopes[-1])

        return end, jax.tree.map(error, y, end, work.slopes)

    def at(self, t, ends, slopes, t0, t1):
        """The cubic polynomial with the values and slopes of both ends."""
        h = t1 - t0
        x = jnp.where(h > 0, (t - t0) / jnp.where(h > 0, h, 1), 0)

        def cubic(y, end, slopes):
            values = (1 + 2 * x) * (1 - x) ** 2 * y + x**2 * (3 - 2 * x) * end
            return values + h * x * (1 - x) * ((1 - x) * slopes[0] - x * slopes[-1])

        return jax.tree.map(cubic, *ends, slopes)

    def cost(self, h, radius):
        """The stages, and one for ρ."""
        return stages(h, radius) + 1


def _direction(y, work):
    """The direction of the power iteration, its length, and how far along it f is evaluated.

    It is the last change of f along the direction before; at first that of the step before, or f(y) where there is
    none. After a rejected step it is the difference of that step's last two points: if the step was unstable, what grew
    prevails there. The distance is so short that f is linear, and so long that its change is not lost in rounding.
    """

    def direction(kept, slopes):
        known = jnp.where(work.plan.rejected, kept[0] - kept[1], kept[2])
        known = jnp.where(work.plan.searches == FIRST_SEARCHES, slopes[0], known)
        return jnp.where(work.done == 0, known, slopes[-2] - slopes[0])

    change = jax.tree.map(direction, work.kept, work.slopes)
    length = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(change)))
    root = jnp.sqrt(jnp.finfo(largest(y).dtype).eps)
    return with_row(work.kept, 2, change), length, root * jnp.maximum(jnp.linalg.norm(largest(y)), root)


def _searched(y, work, h, scale):
    """A short way from y along the direction of the power iteration."""
    del h
    return jax.tree.map(lambda y, kept: y + jnp.where(scale > 0, scale * kept[2], 0), y, work.kept)


def _weights(j, s):
    """Of Y_{j−1} − y, Y_{j−2} − y, h f(Y_{j−1}) and h f(y) in Y_j − y, by T_j(w0) = cosh(j · angle)."""
    w0, root = 1 + DAMPING / s**2, jnp.sqrt(DAMPING / s**2 * (2 + DAMPING / s**2))
    angle = jnp.log1p(DAMPING / s**2 + root)
    # At s, at j, j − 1 and j − 2 for b, where b_0 = b_1 = b_2, and at j − 1 for a.
    k = jnp.stack([s, *(jnp.maximum(j - i, 2) for i in range(3)), j - 1])
    k, cosh, sinh, root, w0 = lax.optimization_barrier((k, jnp.cosh(k * angle), jnp.sinh(k * angle), root, w0))
    w1 = root / (s * cosh[0] / sinh[0] - w0 / root)
    b = ((cosh - w0 / root * sinh / k) / sinh**2)[1:4]
    mu, mu_slope = 2 * b[0] * w0 / b[1], 2 * b[0] * w1 / b[1]
    recurrence = jnp.stack([mu, -b[0] / b[2], mu_slope, -(1 - b[1] * cosh[4]) * mu_slope])
    return jnp.where(j == 1, jnp.array([0.0, 0.0, 0.0, 1.0]) * b[0] * w1, recurrence)


def _stage(y, work, h, scale):
    """Y_j."""
    del scale
    first = work.plan.searches
    j, s = (work.done - first + 1).astype(float), (work.plan.evaluations - first).astype(float)
    weights = _weights(j, s).astype(h.dtype) * jnp.stack([jnp.ones_like(h), jnp.ones_like(h), h, h])
    last, before, slope, start = lax.optimization_barrier(weights)

    def combined(y, point, earlier, slopes):
        # Nothing of the step before is read, where it might not be finite.
        rest = last * (point - y) + before * (jnp.where(j == 2, y, earlier) - y) + slope * slopes[-1]
        return y + start * slopes[0] + jnp.where(j == 1, 0, rest)

    points = row(work.kept, (work.done - 1) % 2), row(work.kept, work.done % 2)
    return jax.tree.map(combined, y, *points, work.slopes)


RKC2 = RungeKuttaChebyshev()
