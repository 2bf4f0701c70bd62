"""What a task is."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from dynamics.config import require

__all__ = ["Batch", "Sequences", "Task"]


class Batch(NamedTuple):
    """Labelled samples.

    Attributes:
        tokens: the index of each word in the vocabulary; 0 is μ1.
        label: y, +1 or -1, or the token that follows at every position.
        type: the index of each sample's type in the task's `types`.
        source: what was drawn before the samples and is the same for all, {name: array}.
    """

    tokens: Int[Array, "n L"]
    label: Int[Array, "n ..."]
    type: Int[Array, " n"]
    source: PyTree = None


@runtime_checkable
class Task(Protocol):
    """A data distribution over samples of words, hashable.

    One with signed labels may have `canonical`, one sample of each type.
    """

    loss: ClassVar[Literal["logistic", "next_token"]]
    population: ClassVar[int]  # fresh samples for the population loss

    @property
    def samples(self) -> int:
        """n, the size of the training set."""
        ...

    @property
    def length(self) -> int:
        """L, words per sample."""
        ...

    @property
    def vocabulary(self) -> int | None:
        """d, the number of words."""
        ...

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the types of samples."""
        ...

    @property
    def word_names(self) -> tuple[str, ...]:
        """The names of the words."""
        ...

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """N fresh samples, from the source of a training set."""
        ...

    def training_set(self, key: PRNGKeyArray) -> Batch:
        """The training set."""
        ...


@dataclass(frozen=True)
class Sequences:
    """Sequences of words whose probabilities are drawn from a symmetric Dirichlet distribution; abstract.

    The label of a position is the word that follows.

    Attributes:
        samples: n, sequences of the training set.
        length: L, labelled positions per sequence.
        vocabulary: d.
        concentration: α of the Dirichlet distribution; small values make words nearly certain.
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
