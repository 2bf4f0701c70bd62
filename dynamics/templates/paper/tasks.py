"""The data: every word has a label, and a share of the labels is flipped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

import dynamics

__all__ = ["NoisyLabels"]


@dataclass(frozen=True)
class NoisyLabels(dynamics.Task):
    """A sample is the word 0 and one other word w; y = +1 for odd w and −1 for even w, but a share is flipped.

    No model can tell the flipped samples of a word from its others. So the loss log(1 + exp(−y F)) is least where F is
    ± log((1 − p)/p) with p the flipped share, and its least mean is the entropy −p log p − (1 − p) log(1 − p).

    Attributes:
        samples: n, equally many of every word w.
        vocabulary: d, words in all.
        flipped: p.
    """

    vocabulary: int
    flipped: float

    loss: ClassVar[str] = "logistic"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"inputs": ("position",)}
    capabilities: ClassVar[frozenset[str]] = frozenset({"signed_targets"})

    def __post_init__(self):
        if self.samples % (self.vocabulary - 1):
            raise dynamics.ConfigError("samples", self.samples, "must be a multiple of vocabulary - 1")
        if not 0 <= self.flipped <= 1 or self.copies * self.flipped % 1:
            allowed = f"must be 0 to 1, and an integer when multiplied by {self.copies}, the samples of a word"
            raise dynamics.ConfigError("flipped", self.flipped, allowed)

    @property
    def copies(self) -> int:
        """Samples of every word w."""
        return self.samples // (self.vocabulary - 1)

    @property
    def sizes(self) -> dict[str, Any]:
        """What its models are built with."""
        return {"vocabulary": self.vocabulary, "length": 2}

    @property
    def word_names(self) -> tuple[str, ...]:
        """The names of the words."""
        return tuple(f"w{i}" for i in range(self.vocabulary))

    def training_set(self, key: jax.Array) -> dynamics.Batch:
        """`copies` samples of every word, exactly the share p of them flipped."""
        del key
        number = jnp.arange(self.samples)
        flipped = number % self.copies < round(self.copies * self.flipped)
        return self._batch(1 + number // self.copies, flipped)

    def sample(self, key: jax.Array, n: int, source: Any = None) -> dynamics.Batch:
        """Draw n new samples: the word is uniform, and its label is flipped with probability p."""
        del source
        word_key, flip_key = jax.random.split(key)
        words = jax.random.randint(word_key, (n,), 1, self.vocabulary)
        return self._batch(words, jax.random.bernoulli(flip_key, self.flipped, (n,)))

    def _batch(self, words: jax.Array, flipped: jax.Array) -> dynamics.Batch:
        tokens = jnp.stack([jnp.zeros_like(words), words], axis=1).astype(jnp.int32)
        odd = words % 2 == 1
        label = jnp.where(odd != flipped, 1, -1).astype(jnp.int32)
        return dynamics.Batch(tokens, label)


dynamics.TASKS["noisy_labels"] = NoisyLabels
