"""Loss functions by name; a task says which one is its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def logistic_loss(output: Float[Array, " n"], label: Int[Array, " n"]) -> Float[Array, " n"]:
    """log(1 + exp(-y F)), as a softplus: exact while exp(-y F) underflows."""
    return jax.nn.softplus(-label.astype(output.dtype) * output)


def next_token_loss(output: Float[Array, "n L d"], label: Int[Array, "n L"]) -> Float[Array, " n"]:
    """The mean over positions of -log softmax(output)[label], in nats."""
    # Not a look-up, whose gradient is a scatter (9 % of a step on a CPU).
    is_label = jax.nn.one_hot(label, output.shape[-1], dtype=bool)
    of_label = jnp.sum(jnp.where(is_label, output, 0), axis=-1)
    return jnp.mean(jax.nn.logsumexp(output, axis=-1) - of_label, axis=-1)


LOSSES: dict[str, Callable[[Array, Array], Array]] = {"logistic": logistic_loss, "next_token": next_token_loss}
