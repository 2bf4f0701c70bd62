"""Losses by name: functions (outputs, targets) -> losses of the samples."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dynamics.config import require

Measure = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Loss:
    """A named loss.

    Attributes:
        of_samples: (outputs of the model, targets), samples first -> the losses of the samples [n].
        needs: capabilities that the task must have.
    """

    of_samples: Measure
    needs: tuple[str, ...] = ()


LOSSES: dict[str, Loss] = {}


def loss(*needs: str) -> Callable[[Measure], Measure]:
    """Register the function below as the loss of its name, for tasks with these capabilities."""

    def register(of_samples: Measure) -> Measure:
        LOSSES[of_samples.__name__] = Loss(of_samples, needs)
        return of_samples

    return register


def _check_shapes(name: str, output: tuple[int, ...], target: tuple[int, ...]) -> None:
    require(
        output == target, "loss", name, f"needs outputs of the shape of the targets, {target}, but they have {output}"
    )


def _margins(name: str, output: Float[Array, "..."], target: Int[Array, "..."]) -> Float[Array, "..."]:
    _check_shapes(name, output.shape, target.shape)
    return target.astype(output.dtype) * output


@loss("signed_targets")
def logistic(output: Float[Array, "..."], target: Int[Array, "..."]) -> Float[Array, " n"]:
    """log(1 + exp(−y F)), as a softplus: exact while exp(−y F) underflows."""
    return jax.nn.softplus(-_margins("logistic", output, target))


@loss("signed_targets")
def exponential(output: Float[Array, "..."], target: Int[Array, "..."]) -> Float[Array, " n"]:
    """exp(−y F)."""
    return jnp.exp(-_margins("exponential", output, target))


@loss("signed_targets")
def hinge(output: Float[Array, "..."], target: Int[Array, "..."]) -> Float[Array, " n"]:
    """max(0, 1 − y F); where y F = 1 the derivative is taken to be that of the flat side, 0."""
    return jax.nn.relu(1 - _margins("hinge", output, target))


@loss()
def squared(output: Float[Array, "n ..."], target: Array) -> Float[Array, " n"]:
    """½ ‖F − y‖², summed over all entries of a sample."""
    _check_shapes("squared", output.shape, target.shape)
    return jnp.sum((output - target.astype(output.dtype)) ** 2, axis=tuple(range(1, output.ndim))) / 2


@loss("classes")
def cross_entropy(output: Float[Array, "n ... c"], target: Int[Array, "..."]) -> Float[Array, " n"]:
    """−log softmax(F)[y] in nats; where a sample has several positions, as for the next token, the mean over them."""
    _check_shapes("cross_entropy", output.shape[:-1], target.shape)
    # Not a look-up, whose gradient is a scatter (9 % of a step on a CPU).
    is_target = jax.nn.one_hot(target, output.shape[-1], dtype=bool)
    of_target = jnp.sum(jnp.where(is_target, output, 0), axis=-1)
    losses = jax.nn.logsumexp(output, axis=-1) - of_target
    return jnp.mean(losses.reshape(len(losses), -1), axis=-1)
