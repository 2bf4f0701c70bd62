"""SGD as a diffusion: the stochastic modified equation."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.laws.descent import check_batch, stepped
from dynamics.laws.flow import modified_velocity
from dynamics.laws.law import SteppingLaw, Stretch, observer
from dynamics.objectives.objective import Objective
from dynamics.trajectory import Trajectory


class StochasticModifiedEquation(SteppingLaw):
    """dθ = -∇(L + (η/4) |∇L|²) dt + √η Σ^½ dW, Itô: mean and variance of SGD up to O(η²) (arXiv:1511.06251).

    Σ is the covariance of a minibatch gradient, (c/B) (1/n) Σ_i (∇L_i - ∇L)(∇L_i - ∇L)ᵀ, with c = 1 with replacement
    and c = (n - B)/(n - 1) without. Its rank is at most n: Σ^½ applied to n Brownian motions is one vector-Jacobian
    product. Solved by the Euler-Maruyama method with dt = η/substeps and the drift -∇(L + ((η - dt)/4) |∇L|²): a step
    dt of Euler's method follows its drift with a further correction (dt/4) |∇L|², as descent does, up to O(η dt), and
    the equation holds up to O(η²) itself. With one substep it is SGD with Gaussian noise.

    Attributes:
        learning_rate: η of the SGD; traced.
        batch_size: B.
        replacement: whether the minibatches of the SGD can hold a sample twice.
        substeps: steps of the method in a time η.
    """

    batch_size: int = eqx.field(static=True)
    replacement: bool = eqx.field(static=True, default=False)
    substeps: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be at least 1")
        require(self.substeps >= 1, "substeps", self.substeps, "must be at least 1")

    @property
    def draws_samples(self) -> bool:
        """True."""
        return True

    def state(self, params0: PyTree) -> Int[Array, ""]:
        """The number k of the next step dt."""
        del params0
        return jnp.asarray(0, jnp.int32)

    def kick(self, objective: Objective, params: PyTree, noise: Float[Array, " n"]) -> PyTree:
        """√η Σ^½ ξ, a vector-Jacobian product of the losses of all samples.

        Args:
            objective: the loss.
            params: θ, at which Σ is taken.
            noise: ξ, standard normal, one number for each sample.
        """
        samples = objective.samples
        correction = 1 if self.replacement or objective.fresh else (samples - self.batch_size) / max(samples - 1, 1)
        losses, pull_back = jax.vjp(objective.losses, params)
        scale = jnp.sqrt(self.learning_rate * correction / (samples * self.batch_size)).astype(losses.dtype)
        return objective.trained.scaled(pull_back(scale * (noise - jnp.mean(noise)))[0])

    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
        stretch: Stretch | None = None,
    ) -> Trajectory:
        """One path at `times`, multiples of η; the noise of the k-th step dt is drawn by fold_in(key, k).

        Raises:
            ConfigError: for a minibatch without replacement that is larger than the training set.
        """
        check_batch(self.batch_size, self.replacement, objective)
        stretch = Stretch.whole(self, params0, times[0]) if stretch is None else stretch
        dt = self.learning_rate / self.substeps
        steps_T, here = (jnp.rint(t / dt).astype(jnp.int32) for t in (times, stretch.t))

        def step(k, params, memory):
            noise = jax.random.normal(jax.random.fold_in(key, k), (objective.samples,), times.dtype)
            drift = modified_velocity(objective, params, self.learning_rate - dt)
            kick = self.kick(objective, params, jnp.sqrt(dt).astype(times.dtype) * noise)
            moved = jax.tree.map(lambda p, v, n: p + dt * v + n, params, drift, kick)
            return jnp.array(True), moved, memory

        begin = jnp.where(stretch.paused, stretch.state, here)
        path = stepped(step, params0, (steps_T, begin), observer(objective, probes), stretch)
        return path._replace(t=times, end=(path.state.astype(times.dtype) * dt).astype(times.dtype))
