"""SGD as a diffusion: the stochastic modified equation, by diffrax."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.laws.descent import check_batch
from dynamics.laws.flow import modified_velocity
from dynamics.laws.law import Law
from dynamics.objectives.objective import Objective
from dynamics.trajectory import COMPLETED, NON_FINITE, Trajectory

__all__ = ["StochasticModifiedEquation"]


class _Noise(diffrax.AbstractTerm):
    """A term whose vector field is kept as the point at which `apply` multiplies it with an increment."""

    apply: Callable[[PyTree, Array], PyTree]
    control: diffrax.AbstractBrownianPath

    def vf(self, t, y, args):
        del t, args
        return y

    def contr(self, t0, t1, **kwargs):
        return self.control.evaluate(t0, t1, **kwargs)

    def prod(self, vf, control):
        return self.apply(vf, control)


class StochasticModifiedEquation(Law):
    """dθ = -∇(L + (η/4) |∇L|²) dt + √η Σ^½ dW, Itô: mean and variance of SGD up to O(η²) (arXiv:1511.06251).

    Σ is the covariance of a minibatch gradient, (c/B) (1/n) Σ_i (∇L_i - ∇L)(∇L_i - ∇L)ᵀ, with c = 1 with replacement
    and (n - B)/(n - 1) without. Its rank is at most n, and its root acts on n Brownian motions by one vector-Jacobian
    product. Euler and Maruyama's method with dt = η/substeps, on -∇(L + ((η - dt)/4) |∇L|²): the method itself adds the
    rest up to O(η dt), as descent does to the flow, and the equation itself is one up to O(η²). One substep would be
    SGD with Gaussian noise.

    Attributes:
        learning_rate: η of the SGD; traced.
        batch_size: B.
        replacement: whether its minibatches can hold a sample twice.
        substeps: steps of the method in a time η.
    """

    learning_rate: float
    batch_size: int = eqx.field(static=True)
    replacement: bool = eqx.field(static=True, default=False)
    substeps: int = eqx.field(static=True, default=2)

    random: ClassVar[bool] = True

    def __check_init__(self):
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be positive")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be at least 1")
        require(self.substeps >= 1, "substeps", self.substeps, "must be at least 1")

    @property
    def step(self) -> Any:
        """η: it is seen at the times of SGD."""
        return self.learning_rate

    def at_step(self, step: float) -> "Law":
        """That of SGD with this step."""
        return dataclasses.replace(self, learning_rate=step)

    def kick(self, objective: Objective, params: PyTree, noise: Float[Array, " n"]) -> PyTree:
        """√η Σ^½ ξ for ξ = noise: a vector-Jacobian product of the losses of all samples."""
        samples = objective.batch.label.shape[0]
        correction = 1 if self.replacement else (samples - self.batch_size) / max(samples - 1, 1)
        losses, pull_back = jax.vjp(objective.losses, params)
        scale = jnp.sqrt(self.learning_rate * correction / (samples * self.batch_size)).astype(losses.dtype)
        return pull_back(scale * (noise - jnp.mean(noise)))[0]

    def __call__(
        self,
        objective: Objective,
        params0: PyTree,
        times: Float[Array, " T"],
        probes: Callable[[PyTree], dict[str, Array]],
        key: PRNGKeyArray,
        memory: PyTree = None,
    ) -> Trajectory:
        """One path, at `times`, which are multiples of η.

        Raises:
            ConfigError: for a minibatch that the training set does not fill.
        """
        del memory
        check_batch(self.batch_size, self.replacement, objective)
        dt = self.learning_rate / self.substeps
        # A continuation has increments of its own: the key depends on where it starts.
        begin = jnp.rint(times[0] / dt).astype(jnp.int32)
        noise = diffrax.VirtualBrownianTree(
            times[0],
            times[-1],
            tol=dt / 2,
            shape=jax.ShapeDtypeStruct(objective.batch.label.shape, times.dtype),
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
