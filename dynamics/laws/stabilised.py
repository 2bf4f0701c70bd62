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

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from dynamics.laws.methods import Step, largest_leaf, row, with_row

DAMPING = 2 / 13  # ε
SAFE = 1.1  # times the estimate of ρ is taken for a bound
SEARCHES = 6  # evaluations for ρ when a stretch of steps begins, and after a rejected step; else one
MOST_STAGES = {8: 2000, 4: 100}  # by the bytes of a number, since rounding errors grow with s²
# Tsit5 where stability limits its steps: h ρ of these steps on average, and the evaluations that one takes.
EXPLICIT_LENGTH, EXPLICIT_COST = 3.3, 6


def stages(h: Float[Array, ""], radius: Float[Array, ""]) -> Float[Array, ""]:
    """The fewest stages s with which a step h is stable, h ρ <= 0.65 (s² − 1)."""
    return jnp.maximum(2, 1 + jnp.floor(jnp.sqrt(1 + 1.54 * SAFE * radius * h)))


class Known(NamedTuple):
    """What the method knows from the steps before.

    Attributes:
        kept: the last two points, in turn, and the direction of the power iteration, [row, ...].
        radius: the last estimate of ρ; 0 at first.
        tried: the number of steps, rejected ones and the first, of length zero, included.
        t: where the last of them began.
    """

    kept: PyTree
    radius: Float[Array, ""]
    tried: Int[Array, ""]
    t: Float[Array, ""]


class _Work(NamedTuple):
    """A step that is being taken.

    Attributes:
        done: evaluations of f: first the searches for ρ, then the stages.
        stages: how many there will be.
        radius: the estimate of ρ.
        kept: see Known.
        slopes: f at the last search, and f at the last stage, [2, ...].
    """

    done: Int[Array, ""]
    stages: Int[Array, ""]
    radius: Float[Array, ""]
    kept: PyTree
    slopes: PyTree


class RungeKuttaChebyshev:
    """One step of the method at the top of this file, with the evaluations that it takes to estimate ρ."""

    order: ClassVar[int] = 3  # of the error of one step
    held: ClassVar[int] = 2
    stabilised: ClassVar[bool] = True

    def start(self, y0):
        """Nothing is known."""
        kept = jax.tree.map(lambda leaf: jnp.zeros((3, *leaf.shape), leaf.dtype), y0)
        real = jnp.zeros((), jax.tree.leaves(y0)[0].dtype)
        return Known(kept, real, jnp.asarray(0), real)

    def step(self, f, y0, slopes, span, known):
        """One step from y0."""
        (t0, t1), slope = span, row(slopes, 0)
        h, rejected = t1 - t0, (known.tried > 1) & (known.t == t0)
        searches = jnp.where((known.tried == 1) | rejected, SEARCHES, jnp.where(known.tried > 1, 1, 0))

        def direction(work):
            """The direction of the power iteration, its length, and how far along it f is evaluated.

            It is the last change of f along the direction before; at first that of the step before, or f(y) where there
            is none. After a rejected step it is the difference of that step's last two points: if the step was
            unstable, what grew prevails there. The distance is so short that f is linear, and so long that its change
            is not lost in rounding.
            """

            def of_leaf(kept, slope, slopes):
                before = jnp.where(rejected, kept[0] - kept[1], jnp.where(known.tried > 1, kept[2], slope))
                return jnp.where(work.done == 0, before, slopes[0] - slope)

            change = jax.tree.map(of_leaf, work.kept, slope, work.slopes)
            length = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(change)))
            some = largest_leaf(y0)
            root = jnp.sqrt(jnp.finfo(some.dtype).eps)
            return with_row(work.kept, 2, change), length, root * jnp.maximum(jnp.linalg.norm(some), root)

        def search(work, scale):
            """A short way from y along the direction."""
            return jax.tree.map(lambda y, kept: y + jnp.where(scale > 0, scale * kept[2], 0), y0, work.kept)

        def stage(work, scale):
            """Y_j."""
            del scale
            j, s = (work.done - searches + 1).astype(float), work.stages.astype(float)
            weights = _weights(j, s).astype(h.dtype) * jnp.stack([jnp.ones_like(h), jnp.ones_like(h), h, h])
            last, before, moved, start = lax.optimization_barrier(weights)

            def combined(y, slope, point, earlier, slopes):
                # Nothing of the step before is read, where it might not be finite.
                rest = last * (point - y) + before * (jnp.where(j == 2, y, earlier) - y) + moved * slopes[1]
                return y + start * slope + jnp.where(j == 1, 0, rest)

            points = row(work.kept, (work.done - 1) % 2), row(work.kept, work.done % 2)
            return jax.tree.map(combined, y0, slope, *points, work.slopes)

        def evaluate(work):
            done, last_search = work.done, work.done == searches
            none = work.kept, jnp.zeros_like(h), jnp.ones_like(h)
            kept, length, short = lax.cond(done <= searches, direction, lambda work: none, work)
            found = (done > 0) & (done <= searches) & jnp.isfinite(length)
            radius = jnp.where(found, length / short, work.radius)
            # After a rejected step the direction is a new one, and may not have come to ρ yet.
            radius = jnp.where(rejected, jnp.maximum(radius, work.radius), radius)
            needed = jnp.minimum(stages(h, radius), MOST_STAGES[h.dtype.itemsize]).astype(done.dtype)
            work = work._replace(kept=kept, radius=radius, stages=jnp.where(last_search, needed, work.stages))
            scale = jnp.where(jnp.isfinite(length) & (length > 0), short / length, 0)
            point = lax.cond(done < searches, search, stage, work, scale)
            slopes = with_row(work.slopes, jnp.where(done < searches, 0, 1), f(point))
            return work._replace(done=done + 1, kept=with_row(kept, done % 2, point), slopes=slopes)

        both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), slope)
        work = _Work(jnp.asarray(0), jnp.asarray(2), known.radius, known.kept, both)
        work = lax.while_loop(lambda work: work.done < searches + work.stages, evaluate, work)
        y1, slope1 = row(work.kept, (work.done - 1) % 2), row(work.slopes, 1)

        def error(y, end, slope, slope_end):
            return 0.8 * (y - end) + 0.4 * h * (slope + slope_end)

        def at(t):
            """The cubic polynomial with the values and slopes of both ends."""
            x = jnp.where(h > 0, (t - t0) / jnp.where(h > 0, h, 1), 0)

            def cubic(y, end, slope, slope_end):
                values = (1 + 2 * x) * (1 - x) ** 2 * y + x**2 * (3 - 2 * x) * end
                return values + h * x * (1 - x) * ((1 - x) * slope - x * slope_end)

            return jax.tree.map(cubic, y0, y1, slope, slope1)

        def hands_over(h_next):
            return h_next / (stages(h_next, work.radius) + 1) * work.radius < EXPLICIT_LENGTH / EXPLICIT_COST

        return Step(
            y=y1,
            slopes=with_row(slopes, 1, slope1),
            error=lambda: jax.tree.map(error, y0, y1, slope, slope1),
            at=at,
            evaluations=work.done,
            radius=work.radius,
            known=Known(work.kept, work.radius, known.tried + 1, t0),
            hands_over=hands_over,
        )


RKC2 = RungeKuttaChebyshev()


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
