"""What a task is: a distribution of samples, and the training set drawn from it."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from dynamics.config import require


class Batch(NamedTuple):
    """Samples, the first axis of every array; only `source` has no such axis.

    Attributes:
        inputs: what the model is called with: the index of each word in the vocabulary [n, L], real vectors [n, L, p],
            or {name: array} of several.
        targets: y, what its outputs are to be: signs ±1 [n], classes [n, ...], real values [n, ...].
        type: the index of each sample's type in the task's `types`; None for a task without types.
        source: what was drawn before the samples and is the same for all, {name: array}.
    """

    inputs: PyTree
    targets: Array
    type: Int[Array, " n"] | None = None
    source: PyTree = None


@dataclass(frozen=True)
class Task(abc.ABC):
    """A distribution of samples; a subclass is a frozen dataclass, whose fields are the keys of config.task; abstract.

    A task with the capability "canonical" has one attribute more, `canonical` [type, L]: one sample of each type. One
    with the capability "population_loss" has a method population_loss(objective, params): its loss on the whole
    distribution, E ℓ(F(X; θ), y), in closed form.

    Attributes:
        loss: the name of its usual loss in dynamics.LOSSES; config.loss names another one.
        dims: the names of the dimensions of its arrays after the sample axis: of "inputs", "targets" (none if not
            given), and of each array in the `source` of its batches.
        capabilities: what losses and probes may ask for: "signed_targets" (y = ±1, classified by the sign of the
            output), "classes" (y counts the entries of the last axis of the output), "types" (samples of more than one
            type), "canonical", "population_loss", "kinds_of_tokens" (inputs end with a mark of the kind
            of each token, see dynamics.tasks.trigger).
        types: the names of the types of samples.
        evaluation: how many samples its evaluation set has; config.data.evaluation sets another number.
        named_words: how many of the first words have a meaning of their own; wandb shows these alone.
        samples: n, the size of the training set; of the sample that stands for the distribution where the config's
            data regime is not "fixed".
    """

    loss: ClassVar[str]
    dims: ClassVar[Mapping[str, tuple[str, ...]]]
    capabilities: ClassVar[frozenset[str]] = frozenset()
    types: ClassVar[tuple[str, ...]] = ()
    evaluation: ClassVar[int] = 1024
    named_words: ClassVar[int] = 0

    samples: int

    @property
    def sizes(self) -> dict[str, Any]:
        """What its models are built with, {field of a model: value}; a model takes those that it has fields for."""
        return {}

    @property
    def word_names(self) -> tuple[str, ...]:
        """The names of the words; none for a task without words."""
        return ()

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """Labels of its own dimensions; a dimension may have none."""
        return {}

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Draw new samples.

        Args:
            key: of the draw.
            n: how many.
            source: of a training set (Batch.source), whose distribution is drawn from; None where there is only one.
        """

    def training_set(self, key: PRNGKeyArray) -> Batch:
        """The training set: by default `samples` new samples."""
        return self.sample(key, self.samples)

    def evaluation_set(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Samples that are independent of the training set: by default new samples.

        Args:
            key: of the draw.
            n: how many.
            source: of the training set.
        """
        return self.sample(key, n, source)


@dataclass(frozen=True)
class Sequences(Task):
    """Sequences of words whose probabilities are drawn from a symmetric Dirichlet distribution; abstract.

    The target of a position is the word that follows.

    Attributes:
        samples: n, sequences of the training set.
        length: L, positions with a target per sequence.
        vocabulary: d.
        concentration: α of the Dirichlet distribution; small values make words nearly certain.
    """

    length: int
    vocabulary: int
    concentration: float = 0.15

    loss: ClassVar[Literal["cross_entropy"]] = "cross_entropy"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"inputs": ("position",), "targets": ("position",)}
    capabilities: ClassVar[frozenset[str]] = frozenset({"classes"})
    evaluation: ClassVar[int] = 512
    named_words: ClassVar[int] = 3

    def __post_init__(self):
        for key, least in (("samples", 1), ("length", 2), ("vocabulary", 2)):
            require(getattr(self, key) >= least, key, getattr(self, key), f"must be at least {least}")
        require(self.concentration > 0, "concentration", self.concentration, "must be positive")

    @property
    def sizes(self) -> dict[str, Any]:
        """The vocabulary and the length."""
        return {"vocabulary": self.vocabulary, "length": self.length}

    @property
    def word_names(self) -> tuple[str, ...]:
        """("0", "1", ...)."""
        return tuple(map(str, range(self.vocabulary)))
