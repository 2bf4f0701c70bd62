"""What a task is."""

from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Int, PRNGKeyArray, PyTree

__all__ = ["Batch", "Task"]


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
