"""Flows: gradient flow, and flows that discrete descents follow to higher order in the step or in their limit."""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.laws.law import Law, Stretch, observer
from dynamics.laws.methods import DOPRI8, TSIT5, Method
from dynamics.laws.runge_kutta import Controller, Solver, Turn, integrate
from dynamics.laws.stabilised import RKC2
from dynamics.objectives.objective import Objective
from dynamics.trajectory import COMPLETED, HANDED_OVER, NON_FINITE, OUT_OF_STEPS, PAUSED, Trajectory

METHODS: dict[str, Method] = {"auto": TSIT5, "tsit5": TSIT5, "dopri8": DOPRI8, "rkc2": RKC2}


class Flow(Law):
    """dθ/dt = velocity(θ), by an explicit Runge-Kutta method with adaptive steps; abstract.

    A step is accepted when the root mean square over the parameters of error / (atol + rtol |θ|) is below 1.

    Attributes:
        solver: "tsit5" (order 5), "dopri8" (order 8), "rkc2" (order 2, for stiff flows), or "auto": tsit5, then
            whichever of tsit5 and rkc2 gets further for its work.
        rtol: relative tolerance; traced.
        atol: absolute tolerance; traced.
        max_steps: accepted and rejected steps, of one method between two checkpoints, after which the flow fails, with
            its t recorded.
    """

    solver: Literal["auto", "tsit5", "dopri8", "rkc2"] = eqx.field(static=True, default="auto")
    rtol: float = 1e-7
    atol: float = 1e-9
    max_steps: int = eqx.field(static=True, default=100_000)

    step: ClassVar[None] = None

    def __check_init__(self):
        require(self.rtol > 0, "rtol", self.rtol, "must be positive")
        require(self.atol > 0, "atol", self.atol, "must be positive")
        require(self.max_steps >= 1, "max_steps", self.max_steps, "must be at least 1")

    @property
    def method(self) -> Method:
        """What takes the first steps."""
        return METHODS[self.solver]

    @property
    def turns(self) -> tuple[Law, ...]:
        """With "auto", the explicit method and the stabilised one."""
        return (self, _Stabilised(self)) if self.solver == "auto" else (self,)

    def memory(self, params0: PyTree) -> Turn:
        """Whose turn it is."""
        del params0
        return Turn.first(self.method)

    def state(self, params0: PyTree) -> Controller:
        """The step controller."""
        return Controller.first(self.method, params0, 0.0)

    @abc.abstractmethod
    def velocity(self, objective: Objective, params: PyTree) -> PyTree:
        """dθ/dt at θ = params."""

    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
        stretch: Stretch | None = None,
    ) -> Trajectory:
        """The trajectory at `times`; between steps the solver's method interpolates."""
        del key
        stretch = Stretch.whole(self, params0, times[0]) if stretch is None else stretch
        return self.integrated(self.method, objective, params0, times, probes, stretch)

    def integrated(
        self, method: Method, objective: Objective, params0: PyTree, times: Any, probes: Any, stretch: Stretch
    ) -> Trajectory:
        """The trajectory by a method, up to the time when it hands over; the other arguments are those of a call."""
        velocity = functools.partial(self.velocity, objective)
        solver = Solver(method, self.rtol, self.atol, self.max_steps, len(self.turns) > 1)
        path = integrate(velocity, params0, times, observer(objective, probes), solver, stretch)
        values, finite = path.observed
        row = jnp.arange(len(times))
        reached = (row >= stretch.row) & (row < path.reached)
        handed_over = path.turn.stabilised != method.stabilised
        # Without a time reached, the loss is not finite at the start; but a turn may end as soon as it begins.
        all_finite = (finite | ~reached).all() & ((path.reached > 0) | handed_over)
        failure = jnp.where(path.paused, PAUSED, jnp.where(handed_over, HANDED_OVER, OUT_OF_STEPS))
        failure = jnp.where(all_finite, failure, NON_FINITE)
        return Trajectory(
            t=times,
            probes=values,
            valid=reached & finite,
            params=path.y,
            steps=path.steps,
            outcome=jnp.where((path.reached == len(times)) & all_finite, COMPLETED, failure),
            end=path.t,
            memory=path.turn,
            state=path.controller,
            notes=path.notes,
        )


class _Stabilised(Law):
    """The same flow by the stabilised method.

    Attributes:
        flow: it goes on from this one, and hands over to it.
    """

    flow: Flow
    step: ClassVar[None] = None

    def memory(self, params0):
        """See Flow."""
        return self.flow.memory(params0)

    def state(self, params0):
        """The step controller."""
        return Controller.first(RKC2, params0, 0.0)

    def __call__(self, objective, params0, times, probes, key, stretch=None):
        """The trajectory at `times`, up to the time when the explicit method would be faster."""
        del key
        stretch = Stretch.whole(self, params0, times[0]) if stretch is None else stretch
        return self.flow.integrated(RKC2, objective, params0, times, probes, stretch)


class GradientFlow(Flow):
    """dθ/dt = -∇L(θ); see Flow for the solver's fields."""

    def velocity(self, objective: Objective, params: PyTree) -> PyTree:
        """-∇L(θ), for the loss of the whole training set."""
        return objective.velocity(params)


def modified_velocity(objective: Objective, params: PyTree, eta: Any) -> PyTree:
    """-∇(L + (η/4) |∇L|²) = -∇L - (η/2) ∇²L ∇L, at the cost of one Hessian-vector product; η may be negative.

    With rates r of the parameters it is -r ∇(L + (η/4) Σ r (∂L/∂θ)²).
    """

    def modified_loss(params: PyTree) -> Float[Array, ""]:
        loss, gradient = jax.value_and_grad(objective.loss)(params)
        squares = jax.tree.map(lambda g, scaled: jnp.sum(g * scaled), gradient, objective.trained.scaled(gradient))
        return loss + eta / 4 * sum(jax.tree.leaves(squares))

    return objective.trained.scaled(jax.tree.map(jnp.negative, jax.grad(modified_loss)(params)))


class ModifiedFlow(Flow):
    """dθ/dt = -∇(L + (η/4) |∇L|²)(θ): what gradient descent with step η follows up to O(η²) (arXiv:2009.11162).

    With momentum β it is what heavy ball from rest follows up to O(η²) at t = η·k / (1 − β). With h = η / (1 − β),

        dθ/dt = -∇(L + (h/4) (1 + β)/(1 − β) |∇L|²)(θ) for t > τ, and θ(t) = θ(0) up to the delay τ = h β/(1 − β).

    Smooth solutions X(h k) of X(t+h) - X(t) - β (X(t) - X(t-h)) = -(1 - β) h ∇L(X(t)) have, by Taylor's formula,
    Ẋ + (h/2) (1 + β)/(1 − β) Ẍ = -∇L + O(h²) and Ẍ = ∇²L ∇L + O(h) (the coefficient is that of arXiv:2302.00849).
    At rest v differs from X(t) - X(t-h) by h ∇L. This part decays as β^k and displaces θ by h ∇L β/(1 − β) in total,
    which is the delay: a change of O(η), without which the order is 1. While momentum builds up, for t of the order
    of τ, the error is O(η).

    Attributes:
        learning_rate: η of that descent; traced.
        momentum: β of that descent; traced.
    """

    learning_rate: float = eqx.field(kw_only=True)
    momentum: float = eqx.field(kw_only=True, default=0.0)

    def __check_init__(self):
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be positive")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "must be at least 0 and below 1")

    def at_step(self, step: float) -> "Law":
        """The flow that descent with this step, h = η / (1 − β), follows."""
        return dataclasses.replace(self, learning_rate=step * (1 - self.momentum))

    @property
    def delay(self) -> Any:
        """τ = η β / (1 − β)²: momentum needs β / (1 − β) steps to build up."""
        return self.learning_rate * self.momentum / (1 - self.momentum) ** 2

    def velocity(self, objective: Objective, params: PyTree) -> PyTree:
        """-∇(L + (h/4) (1 + β)/(1 − β) |∇L|²)."""
        return modified_velocity(objective, params, self.learning_rate * (1 + self.momentum) / (1 - self.momentum) ** 2)

    def integrated(self, method, objective, params0, times, probes, stretch):
        """The trajectory at `times`, which is at times - τ of the flow from the same start."""
        earlier, t = (jnp.maximum(of - self.delay, 0) for of in (times, stretch.t))
        path = super().integrated(method, objective, params0, earlier, probes, stretch._replace(t=t))
        return path._replace(t=times, end=jnp.minimum(path.end + self.delay, times[-1]))


class PreconditionedFlow(Flow):
    """dθ/dt = -∇L / (|∇L| + ε), entry by entry: the limit η → 0 of Adam and of RMSProp at t = η·k.

    Adam and RMSProp average over a fixed number of steps, a time that vanishes with η: m̂ → ∇L and √v̂ → |∇L|.

    Attributes:
        epsilon: ε; the smaller it is, the stiffer the flow where an entry of ∇L changes sign.
    """

    epsilon: float = eqx.field(kw_only=True)

    def __check_init__(self):
        require(self.epsilon > 0, "epsilon", self.epsilon, "must be positive")

    def velocity(self, objective: Objective, params: PyTree) -> PyTree:
        """The velocity of gradient flow, divided entry by entry by its magnitude plus ε."""
        slope = objective.slope(params)
        return objective.trained.scaled(jax.tree.map(lambda v: v / (jnp.abs(v) + self.epsilon), slope))


class NormalisedFlow(Flow):
    """dθ/dt = -∇L / (‖∇L‖ + ε), ‖·‖ over all parameters: the path of gradient flow, with its length for the time.

    With s the time of gradient flow and ℓ the length of its path, dℓ = ‖∇L‖ ds and dt = (1 + ε/‖∇L‖) dℓ: the point of
    gradient flow at s is reached at t = ℓ + ε s. For ε → 0 the speed is 1, t is the length, and a minimum at a finite
    distance is reached in a finite time. Near it the flow is stiff, with rates of up to the sharpness divided by ε.

    Attributes:
        epsilon: ε.
    """

    epsilon: float = eqx.field(kw_only=True, default=1e-6)

    def __check_init__(self):
        require(self.epsilon > 0, "epsilon", self.epsilon, "must be positive")

    def velocity(self, objective: Objective, params: PyTree) -> PyTree:
        """The velocity of gradient flow, divided by the norm of the gradient plus ε."""
        slope = objective.slope(params)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(slope)))
        return objective.trained.scaled(jax.tree.map(lambda leaf: leaf / (norm + self.epsilon), slope))
