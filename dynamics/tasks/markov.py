"""Sequences of a Markov chain of order 1: the word at hand says all that can be said about the next one."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.tasks.task import Batch

__all__ = ["MarkovChain"]


@dataclass(frozen=True)
class MarkovChain:
    """P(next word j | word i) = T_ij; the rows of T are drawn from a symmetric Dirichlet distribution with the set.

    The first word is uniform. The label of a position is the word that follows.

    Attributes:
        samples: n, sequences of the training set.
        length: L, labelled positions per sequence.
        vocabulary: d.
        concentration: of the Dirichlet distribution; small values make rows that are nearly certain.
    """

    samples: int
    length: int
    vocabulary: int
    concentration: float = 0.15

    types: ClassVar[tuple[str, ...]] = ("sequence",)
    loss: ClassVar[Literal["next_token"]] = "next_token"
    population: ClassVar[int] = 512

    def __post_init__(self):
        for key, least in (("samples", 1), ("length", 2), ("vocabulary", 2)):
            require(getattr(self, key) >= least, key, getattr(self, key), f"must be at least {least}")
        require(self.concentration > 0, "concentration", self.concentration, "must be positive")

    @property
    def word_names(self) -> tuple[str, ...]:
        """("0", "1", ...)."""
        return tuple(map(str, range(self.vocabulary)))

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """N fresh sequences of the chain of `source`."""
        first_key, next_key = jax.random.split(key)
        first = jax.random.randint(first_key, (n,), 0, self.vocabulary, jnp.int32)
        logits = jnp.log(source["transitions"])

        def step(word, key):
            following = jax.random.categorical(key, logits[word]).astype(jnp.int32)
            return following, following

        _, following_LxN = jax.lax.scan(step, first, jax.random.split(next_key, self.length))
        words = jnp.concatenate([first[:, None], following_LxN.T], axis=1)
        return Batch(words[:, :-1], words[:, 1:], jnp.zeros(n, jnp.int32), source)

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
