"""Bags of words: the next word depends on how often each was seen, and on no order."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.tasks.task import Batch, Sequences


class Bag(Sequences):
    """Words of a sequence are independent with probabilities θ ~ Dirichlet(α, ..., α), drawn anew for each sequence.

    The best prediction counts all words so far, with equal weights:
    P(j | x_1 ... x_t) = (α + #{s ≤ t: x_s = j}) / (d α + t).
    """

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Draw n new sequences."""
        theta_key, word_key = jax.random.split(key)
        theta = jax.random.dirichlet(theta_key, jnp.full(self.vocabulary, self.concentration), (n,))
        logits = jnp.log(jnp.maximum(theta, 1e-30))[:, None]
        words = jax.random.categorical(word_key, logits, axis=-1, shape=(n, self.length + 1)).astype(jnp.int32)
        return Batch(words[:, :-1], words[:, 1:], source=source)

    def best(self, batch: Batch) -> Float[Array, " n"]:
        """The losses of the best prediction, the counts of the words so far."""
        alpha, t = self.concentration, jnp.arange(1.0, self.length + 1)[None]
        counts = jnp.cumsum(jax.nn.one_hot(batch.inputs, self.vocabulary, dtype=jnp.float64), axis=1)
        of_label = jnp.take_along_axis(counts, batch.targets[..., None], axis=-1)[..., 0]
        return -jnp.mean(jnp.log((alpha + of_label) / (self.vocabulary * alpha + t)), axis=1)
