"""The word co-occurrence task (arXiv:2410.09605, Definition 2.1 and Assumption 2.3)."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.tasks.task import Batch, Task

FIRST_TARGET, SECOND_TARGET, COMMON = 0, 1, 2
SIGNALS = 3  # the two targets and the common word; every later word is a random word


@dataclass(frozen=True)
class CooccurrenceTask(Task):
    """y = +1 exactly when μ1 and μ2 both occur, Definition 2.1; abstract: subclasses say what the training set is.

    Every sample holds the common word μ3 at a uniformly random position. With probability 1/2 two other random
    positions hold μ1 and μ2 (type I1, y = +1); with probability 1/6 each, one holds μ1 (I2), one holds μ2 (I3), or
    neither occurs (I4), and y = -1. All remaining positions are uniform over the random words μ4, ..., μd.

    Attributes:
        samples: n, the size of the training set; a multiple of 6, so that the types can be counted exactly.
        length: L, words per sample.
        vocabulary: d, words in all. With words="distinct" None chooses the smallest d that fits.
        words: "uniform" draws the random words of the training set independently (Appendix A);
            "distinct" lets each occur at most once in the whole set (Assumption 2.3 (ii)).
    """

    length: int
    vocabulary: int | None = None
    words: Literal["uniform", "distinct"] = "uniform"

    types: ClassVar[tuple[str, ...]] = ("I1", "I2", "I3", "I4")
    loss: ClassVar[Literal["logistic"]] = "logistic"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"inputs": ("position",)}
    capabilities: ClassVar[frozenset[str]] = frozenset({"signed_targets", "types", "canonical"})
    named_words: ClassVar[int] = SIGNALS

    def __post_init__(self):
        n, length, d = self.samples, self.length, self.vocabulary
        require(n > 0 and n % 6 == 0, "samples", n, "must be a positive multiple of 6 (exact counts of the four types)")
        require(length >= 3, "length", length, "must be at least 3 (μ1, μ2 and μ3 share a sample)")
        if self.words == "distinct":
            smallest = SIGNALS + self.random_slots
            if d is None:
                object.__setattr__(self, "vocabulary", smallest)
            else:
                allowed = (
                    f"must be at least {smallest} (3 + {self.random_slots} random positions) with words='distinct'"
                )
                require(d >= smallest, "vocabulary", d, allowed)
        else:
            require(d is not None and d > SIGNALS, "vocabulary", d, "must be at least 4 (μ1, μ2, μ3 and a random word)")

    @property
    def _random(self) -> int:
        assert self.vocabulary is not None  # __post_init__ chose it
        return self.vocabulary - SIGNALS

    @property
    def random_slots(self) -> int:
        """The number of positions in the training set that hold random words.

        Of n L positions, n hold μ3, n (1/2 + 1/6) hold μ1, and as many hold μ2.
        """
        n = self.samples
        return n * self.length - n - 2 * (n // 2) - 2 * (n // 6)

    @property
    def word_names(self) -> tuple[str, ...]:
        """("μ1", ..., "μd"): the word with index i is μ(i+1)."""
        return tuple(f"μ{i + 1}" for i in range(SIGNALS + self._random))

    @property
    def sizes(self) -> dict[str, Any]:
        """The vocabulary and the length."""
        return {"vocabulary": self.vocabulary, "length": self.length}

    @property
    def canonical(self) -> Int[Array, "type L"]:
        """One sample of each type, its signals first, then μ4, μ5, ...; the positions do not matter to the model."""
        signals = ((FIRST_TARGET, SECOND_TARGET, COMMON), (FIRST_TARGET, COMMON), (SECOND_TARGET, COMMON), (COMMON,))
        return jnp.array(
            [[*s, *(SIGNALS + i % self._random for i in range(self.length - len(s)))] for s in signals], dtype=jnp.int32
        )

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Draw n new samples of Definition 2.1, for the population loss."""
        del source
        type_key, place_key = jax.random.split(key)
        type_N = jax.random.choice(type_key, 4, (n,), p=jnp.array([1 / 2, 1 / 6, 1 / 6, 1 / 6]))
        return self._place(place_key, type_N)

    @abc.abstractmethod
    def training_set(self, key: PRNGKeyArray) -> Batch:
        """The training set."""

    def exact_set(self, key: PRNGKeyArray) -> Batch:
        """Exactly n/2, n/6, n/6, n/6 samples of the types I1, I2, I3, I4, in this order (Assumption 2.3)."""
        n = self.samples
        counts = jnp.array([n // 2, n // 6, n // 6, n // 6])
        type_N = jnp.repeat(jnp.arange(4), counts, total_repeat_length=n)
        batch = self._place(key, type_N)
        if self.words == "uniform":
            return batch
        # The r-th random position of the set gets the r-th entry of one permutation of the random words.
        permutation = SIGNALS + jax.random.permutation(jax.random.fold_in(key, 1), self._random)
        is_random = batch.inputs >= SIGNALS
        rank = jnp.cumsum(is_random.ravel()).reshape(is_random.shape) - 1
        tokens = jnp.where(is_random, permutation[rank].astype(jnp.int32), batch.inputs)
        return batch._replace(inputs=tokens)

    def _place(self, key: PRNGKeyArray, type_N: Int[Array, " n"]) -> Batch:
        place_key, word_key = jax.random.split(key)
        n = type_N.shape[0]
        # A uniformly random permutation per sample: the ranks 0, 1, 2 fall on three distinct random positions.
        order_NxL = jnp.argsort(jax.random.uniform(place_key, (n, self.length), jnp.float64), axis=1)
        tokens = jax.random.randint(word_key, (n, self.length), SIGNALS, SIGNALS + self._random, jnp.int32)
        has_first, has_second = type_N <= 1, (type_N == 0) | (type_N == 2)
        tokens = jnp.where(order_NxL == 0, COMMON, tokens)
        tokens = jnp.where((order_NxL == 1) & has_first[:, None], FIRST_TARGET, tokens)
        tokens = jnp.where((order_NxL == 2) & has_second[:, None], SECOND_TARGET, tokens)
        label = jnp.where(type_N == 0, 1, -1)
        return Batch(tokens, label.astype(jnp.int32), type_N.astype(jnp.int32))


class Cooccurrence(CooccurrenceTask):
    """The task of Definition 2.1 with the training set of Assumption 2.3."""

    def training_set(self, key: PRNGKeyArray) -> Batch:
        """The exact set."""
        return self.exact_set(key)
