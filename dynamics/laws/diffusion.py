"""SGD as a diffusion: the stochastic modified equation, by diffrax."""

from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.laws.descent import check_batch
from dynamics.laws.flow import modified_velocity
from dynamics.laws.law import SteppingLaw
from dynamics.objectives.objective import Objective
from dynamics.trajectory import COMPLETED, NON_FINITE, Trajectory


class _Noise(diffrax.AbstractTerm):
    """The noise term: `apply` maps the parameters and an increment of Brownian motion to a change of the parameters."""

    apply: Callable[[PyTree, Array], PyTree]
    control: diffrax.AbstractBrownianPath

    def vf(self, t, y, args):
        del t, args
        return y

    def contr(self, t0, t1, **kwargs):
        return self.control.evaluate(t0, t1, **kwargs)

    def prod(self, vf, control):
        return self.apply(vf, control)


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

    def kick(self, objective: Objective, params: PyTree, noise: Float[Array, " n"]) -> PyTree:
        """√η Σ^½ ξ for ξ = noise, a vector-Jacobian product of the losses of all samples."""
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
        memory: PyTree = None,
    ) -> Trajectory:
        """One path at `times`, multiples of η.

        Raises:
            ConfigError: for a minibatch without replacement that is larger than the training set.
        """
        del memory
        check_batch(self.batch_size, self.replacement, objective)
        dt = self.learning_rate / self.substeps
        # The key depends on the starting time, so that a continuation draws new increments.
        begin = jnp.rint(times[0] / dt).astype(jnp.int32)
        noise = diffrax.VirtualBrownianTree(
            times[0],
            times[-1],
            tol=dt / 2,
            shape=jax.ShapeDtypeStruct((objective.samples,), times.dtype),
            key=jax.random.fold_in(key, begin),
        )
        solution = diffrax.diffeqsolve(
            diffrax.MultiTerm(
                diffrax.ODETerm(lambda t, params, args: modified_velocity(objective, params, self.learning_rate - dt)),
                _Noise(lambda params, increment: self.kick(objective, params, increment), noise),
            ),
            diffrax.Euler(),
            t0=times[0],
            t1=times[-1],
            dt0=dt,
            y0=params0,
            saveat=diffrax.SaveAt(
                subs=[
                    diffrax.SubSaveAt(ts=times, fn=lambda t, p, args: (probes(p), jnp.isfinite(objective.loss(p)))),
                    diffrax.SubSaveAt(t1=True),
                ]
            ),
            max_steps=None,
            throw=False,
        )
        (values, finite), final = solution.ys
        valid = jnp.isfinite(solution.ts[0]) & finite
        return Trajectory(
            t=times,
            probes=values,
            valid=valid,
            params=jax.tree.map(lambda leaf: leaf[-1], final),
            steps=solution.stats["num_accepted_steps"],
            outcome=jnp.where(valid.all(), COMPLETED, NON_FINITE),
            end=jnp.max(jnp.where(valid, times, times[0])),
        )
