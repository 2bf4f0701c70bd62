"""What a task is."""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Int, PRNGKeyArray

__all__ = ["Batch", "Task"]


class Batch(NamedTuple):
    """Labelled samples.

    Attributes:
        tokens: the index of each word in the vocabulary; 0 is μ1.
        label: y, +1 or -1.
        type: the index of each sample's type in the task's `types`.
    """

    tokens: Int[Array, "n L"]
    label: Int[Array, " n"]
    type: Int[Array, " n"]


@runtime_checkable
class Task(Protocol):
    """A data distribution over samples of words, hashable."""

    @property
    def samples(self) -> int:
        """n, the size of the training set."""
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

    @property
    def canonical(self) -> Int[Array, "type L"]:
        """One sample of each type."""
        ...

    def sample(self, key: PRNGKeyArray, n: int) -> Batch:
        """N fresh samples."""
        ...

    def training_set(self, key: PRNGKeyArray) -> Batch:
        """The training set."""
        ...
