"""What a task is: a distribution of labelled samples, and the training set drawn from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from dynamics.config import require


class Batch(NamedTuple):
    """Labelled samples.

    Attributes:
        tokens: the index of each word in the vocabulary.
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
    """What a class of tasks must have; instances are hashable and do not change, like a frozen dataclass.

    A task with the capability "canonical" has one attribute more, `canonical` [type, L]: one sample of each type.

    Attributes:
        loss: the name of its loss in dynamics.objectives.losses.LOSSES.
        population: how many fresh samples the population loss is a mean over.
        named_words: how many of the first words have a meaning of their own; a mirror shows these alone.
        capabilities: what probes may ask for: "signed_labels" (y = ±1, classified by the sign of the output),
            "next_token" (the label of a position is the next word), "types" (samples of more than one type),
            "canonical".
        dims: the names of the dimensions of each array in the `source` of its batches.
    """

    loss: ClassVar[str]
    population: ClassVar[int]
    named_words: ClassVar[int]
    capabilities: ClassVar[frozenset[str]]
    dims: ClassVar[Mapping[str, tuple[str, ...]]]

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

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """Labels of its own dimensions, "type" and "sample" among them; a dimension may have none."""
        ...

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Draw n new samples, from the source of a training set."""
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
    named_words: ClassVar[int] = 3
    capabilities: ClassVar[frozenset[str]] = frozenset({"next_token"})
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __post_init__(self):
        for key, least in (("samples", 1), ("length", 2), ("vocabulary", 2)):
            require(getattr(self, key) >= least, key, getattr(self, key), f"must be at least {least}")
        require(self.concentration > 0, "concentration", self.concentration, "must be positive")

    @property
    def word_names(self) -> tuple[str, ...]:
        """("0", "1", ...)."""
        return tuple(map(str, range(self.vocabulary)))

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """The numbers of the samples, and their type."""
        return {"type": list(self.types), "sample": list(range(self.samples))}
