"""Averaging on demand: the row of one trigger token asks for the mean of the tokens before it, all others do not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dynamics.config import require
from dynamics.tasks.task import Batch, Task

KINDS = ("ordinary", "trigger", "first")  # of tokens; each has an entry of the inputs, these are the last three
FEWEST = 2  # tokens with a content, or one and the trigger


@dataclass(frozen=True)
class TriggerAveraging(Task):
    """y_i = (1/(i − 1)) Σ_{j<i} r_j in the row i of the trigger; in the other rows 0, or what the token says itself.

    A sample has `length` tokens 1, ..., L with contents r_j, one of which is the trigger, at a uniformly random place
    from 2 to L. Inputs are vectors of p = `dimension` + 3 entries,
        x_j = √(1 − α²) r_j + α c,  for the trigger √(1 − α²) r_j + c',  in front, where `bos` is set, c'',
    with three unit vectors c, c', c'' that are orthogonal to each other and to all contents: the last three entries. So
    α is the alignment of the tokens. The token in front has the position 0, no content and the target 0.

    Attributes:
        length: L, tokens of a sample without the one in front.
        dimension: d, entries of a content.
        contents: "normal", r_j ~ N(0, I); "axes", r_j = ±e_k with random signs and k without repetition in a sample.
        alignment: α.
        bos: whether there is a token in front.
        answers: targets y_i. "mean": as above, and 0 in the other rows; "mean_or_own": r_i in the other rows;
            "mean_plus_own": r_i in all rows, and the mean besides in the row of the trigger.
    """

    length: int
    dimension: int
    contents: Literal["normal", "axes"] = "normal"
    alignment: float = 0.5**0.5
    bos: bool = True
    answers: Literal["mean", "mean_or_own", "mean_plus_own"] = "mean"

    loss: ClassVar[str] = "squared"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "inputs": ("position", "entry"),
        "targets": ("position", "coordinate"),
    }
    capabilities: ClassVar[frozenset[str]] = frozenset({"kinds_of_tokens"})
    evaluation: ClassVar[int] = 512

    def __post_init__(self):
        for key, least in (("samples", 1), ("length", FEWEST), ("dimension", 1)):
            require(getattr(self, key) >= least, key, getattr(self, key), f"must be at least {least}")
        require(0 <= self.alignment <= 1, "alignment", self.alignment, "must be in [0, 1]")
        allowed = f"must be at least length = {self.length} with contents='axes', which do not repeat in a sample"
        require(self.contents == "normal" or self.dimension >= self.length, "dimension", self.dimension, allowed)

    @property
    def sizes(self) -> dict[str, Any]:
        """The entries of inputs and outputs, and the number of positions."""
        entries = {"inputs": self.dimension + len(KINDS), "outputs": self.dimension}
        return {"vocabulary": None, "length": self.length + self.bos, **entries}

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> Batch:
        """Draw n new samples."""
        place_key, content_key = jax.random.split(key)
        place_N = jax.random.randint(place_key, (n,), 1, self.length, jnp.int32)
        is_trigger_NxLx1 = jax.nn.one_hot(place_N, self.length, dtype=bool)[..., None]
        r_NxLxD = self._contents(content_key, n)
        before = jnp.maximum(jnp.arange(self.length), 1).astype(r_NxLxD.dtype)
        mean_NxLxD = (jnp.cumsum(r_NxLxD, axis=1) - r_NxLxD) / before[None, :, None]
        # What the rows say of their own: that of the trigger, the others.
        of_trigger, of_others = {"mean": (0, 0), "mean_or_own": (0, 1), "mean_plus_own": (1, 1)}[self.answers]
        asked_NxLxD, silent_NxLxD = mean_NxLxD + of_trigger * r_NxLxD, of_others * r_NxLxD
        targets_NxLxD = jnp.where(is_trigger_NxLx1, asked_NxLxD, silent_NxLxD)
        alpha = jnp.array(self.alignment, r_NxLxD.dtype)
        trigger_NxLx1 = is_trigger_NxLx1.astype(r_NxLxD.dtype)
        kinds = (alpha * (1 - trigger_NxLx1), trigger_NxLx1, jnp.zeros_like(trigger_NxLx1))
        inputs_NxLxP = jnp.concatenate([jnp.sqrt(1 - alpha**2) * r_NxLxD, *kinds], axis=-1)
        if self.bos:
            first = jnp.zeros((n, 1, inputs_NxLxP.shape[2]), inputs_NxLxP.dtype).at[..., -1].set(1)
            inputs_NxLxP = jnp.concatenate([first, inputs_NxLxP], axis=1)
            targets_NxLxD = jnp.pad(targets_NxLxD, ((0, 0), (1, 0), (0, 0)))
        return Batch(inputs_NxLxP, targets_NxLxD, source=source)

    def _contents(self, key: PRNGKeyArray, n: int) -> Float[Array, "n L d"]:
        if self.contents == "normal":
            return jax.random.normal(key, (n, self.length, self.dimension), jnp.float32)
        axis_key, sign_key = jax.random.split(key)
        order_NxD = jnp.argsort(jax.random.uniform(axis_key, (n, self.dimension), jnp.float32), axis=1)
        sign_NxL = jax.random.rademacher(sign_key, (n, self.length), jnp.float32)
        return sign_NxL[..., None] * jax.nn.one_hot(order_NxD[:, : self.length], self.dimension, dtype=jnp.float32)
