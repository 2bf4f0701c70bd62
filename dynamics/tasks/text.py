"""Windows of a text, word by word."""

import collections
import functools
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.tasks.task import Batch, Task

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|[.,;:?!]")  # words in lower case, and punctuation
UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Text(Task):
    """Windows at random places of a text file; the first nine tenths of it train, the last tenth is held out.

    The d − 1 most frequent words of the training part have a number each, all others share one. The target of a
    position is the word that follows.

    Attributes:
        samples: n, windows of the training set.
        path: of a UTF-8 text file, from the folder in which the command runs, or else from that of the package.
        length: L, positions with a target per window.
        vocabulary: d.
    """

    path: str
    length: int
    vocabulary: int

    loss: ClassVar[Literal["cross_entropy"]] = "cross_entropy"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"inputs": ("position",), "targets": ("position",)}
    capabilities: ClassVar[frozenset[str]] = frozenset({"classes"})
    evaluation: ClassVar[int] = 256
    named_words: ClassVar[int] = 3

    def __post_init__(self):
        for key, least in (("samples", 1), ("length", 2), ("vocabulary", 2)):
            require(getattr(self, key) >= least, key, getattr(self, key), f"must be at least {least}")
        require(_file(self.path).is_file(), "path", self.path, "must be a text file")
        words, trained = len(set(_words(self.path))), self._train.size
        require(words >= self.vocabulary, "vocabulary", self.vocabulary, f"must be at most {words}, the text's words")
        shortest = min(trained, self._held_out.size)
        require(self.length < shortest, "length", self.length, f"must be below {shortest}, the words held out")

    @property
    def word_names(self) -> tuple[str, ...]:
        """The words, most frequent first; the unknown one is the last."""
        return _numbered(self.path, self.vocabulary)[0]

    @property
    def sizes(self) -> dict[str, Any]:
        """The vocabulary and the length."""
        return {"vocabulary": self.vocabulary, "length": self.length}

    @property
    def _train(self) -> np.ndarray:
        return _numbered(self.path, self.vocabulary)[1]

    @property
    def _held_out(self) -> np.ndarray:
        return _numbered(self.path, self.vocabulary)[2]

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Draw n windows of the part of the text that trains."""
        return self._windows(key, n, self._train)._replace(source=source)

    def evaluation_set(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Draw n windows of the part of the text that is held out."""
        return self._windows(key, n, self._held_out)._replace(source=source)

    def _windows(self, key: PRNGKeyArray, n: int, text: np.ndarray) -> Batch:
        first = jax.random.randint(key, (n, 1), 0, text.size - self.length, jnp.int32)
        words: Int[Array, "n L1"] = jnp.asarray(text)[first + jnp.arange(self.length + 1, dtype=jnp.int32)[None]]
        return Batch(words[:, :-1], words[:, 1:])


def _file(path: str) -> pathlib.Path:
    here = pathlib.Path(path)
    return here if here.exists() else pathlib.Path(__file__).parents[2] / path


@functools.lru_cache(maxsize=4)
def _words(path: str) -> list[str]:
    return WORD.findall(_file(path).read_text(encoding="utf-8").lower())


@functools.lru_cache(maxsize=8)
def _numbered(path: str, vocabulary: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """(names of the words, the part that trains, the part that is held out)."""
    words = _words(path)
    split = len(words) * 9 // 10
    frequent = [word for word, _ in collections.Counter(words[:split]).most_common(vocabulary - 1)]
    number = {word: i for i, word in enumerate(frequent)}
    text = np.array([number.get(word, len(frequent)) for word in words], np.int32)
    return (*frequent, UNKNOWN), text[:split], text[split:]
