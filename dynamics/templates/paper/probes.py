"""What is measured along the trajectory."""

from typing import Any

import jax
import jax.numpy as jnp

import dynamics

__all__ = ["log_odds"]


@dynamics.probe("word")
def log_odds(params: Any, view: dynamics.View) -> jax.Array:
    """F of the sample (word 0, w) for the first words w, 0 included: the log-odds that the model gives to y = +1."""
    words = jnp.arange(view.words, dtype=jnp.int32)
    samples = jnp.stack([jnp.zeros_like(words), words], axis=1)
    return view.objective.apply(params, samples)[0]
