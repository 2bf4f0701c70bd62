"""Sequences of a Markov chain of order 1: the word at hand says all that can be said about the next one."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.tasks.task import Batch, Sequences


class MarkovChain(Sequences):
    """P(next word j | word i) = T_ij; the rows of T are drawn from a symmetric Dirichlet distribution with the set.

    The first word is uniform.
    """

    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {**Sequences.dims, "transitions": ("word", "next_word")}

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Draw n new sequences from the chain in `source`."""
        first_key, next_key = jax.random.split(key)
        first = jax.random.randint(first_key, (n,), 0, self.vocabulary, jnp.int32)
        logits = jnp.log(source["transitions"])

        def step(word, key):
            following = jax.random.categorical(key, logits[word]).astype(jnp.int32)
            return following, following

        _, following_LxN = jax.lax.scan(step, first, jax.random.split(next_key, self.length))
        words = jnp.concatenate([first[:, None], following_LxN.T], axis=1)
        return Batch(words[:, :-1], words[:, 1:], source=source)

    def training_set(self, key: PRNGKeyArray) -> Batch:
        """A chain, and `samples` sequences of it."""
        chain_key, sample_key = jax.random.split(key)
        concentration = jnp.full(self.vocabulary, self.concentration)
        transitions = jax.random.dirichlet(chain_key, concentration, (self.vocabulary,))
        # Entries that underflow would make a logarithm of 0: a word that cannot follow is as good as one in 1e30.
        return self.sample(sample_key, self.samples, {"transitions": jnp.maximum(transitions, 1e-30)})

    def floor(self, transitions: Float[Array, "d d"]) -> Float[Array, ""]:
        """The least loss on fresh sequences: the entropy of the next word given the word at hand, in nats."""
        entropy = -jnp.sum(transitions * jnp.log(transitions), axis=1)
        uniform = jnp.full(self.vocabulary, 1 / self.vocabulary)
        _, at_hand = jax.lax.scan(lambda p, _: (p @ transitions, p), uniform, length=self.length)
        return jnp.mean(at_hand @ entropy)
