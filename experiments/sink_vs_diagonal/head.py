"""A head that is trained to attend by a pattern: the task, the model, the loss and the probes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

import dynamics
from dynamics.config import require
from dynamics.models.attention import Full, Softmax
from dynamics.models.attention.scores import Factored


@dataclass(frozen=True)
class PatternTask(dynamics.Task):
    """One sequence of n orthonormal tokens, and the key that every query is to attend to.

    Attributes:
        samples: 1.
        tokens: n.
        pattern: "sink", the first key for all queries, or "diagonal", each query itself.
    """

    tokens: int = 8
    pattern: Literal["sink", "diagonal"] = "sink"

    loss: ClassVar[str] = "pairwise_logistic"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"inputs": ("token", "coordinate"), "targets": ("token",)}
    capabilities: ClassVar[frozenset[str]] = frozenset({"classes"})
    evaluation: ClassVar[int] = 1

    def __post_init__(self):
        require(self.samples == 1, "samples", self.samples, "must be 1, since all sequences are the same")
        require(self.tokens >= 2, "tokens", self.tokens, "must be at least 2")

    @property
    def sizes(self) -> dict[str, Any]:
        """The width of the tokens."""
        return {"width": self.tokens}

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> dynamics.Batch:
        """The sequence, n times."""
        del key
        own = jnp.arange(self.tokens, dtype=jnp.int32)
        target_L = own if self.pattern == "diagonal" else jnp.zeros_like(own)
        inputs_NxLxM = jnp.broadcast_to(jnp.eye(self.tokens), (n, self.tokens, self.tokens))
        return dynamics.Batch(inputs_NxLxM, jnp.broadcast_to(target_L, (n, self.tokens)), source=source)


class ScoringHead(dynamics.Model):
    """F_{q,k} = x_kᵀ W x_q, the scores of one head, −∞ for keys that the mask does not show.

    Attributes:
        width: m, of the tokens.
        scores: one of SCORES; "factored" trains W_Q and W_K with W = W_Kᵀ W_Q, "bilinear" trains W.
        mask: one of MASKS, by default "full".
        distribution: of the entries at `init`.
        dtype: of parameters and computations.
    """

    width: int
    scores: dynamics.Score = Factored(1.0)
    mask: dynamics.Mask = Full()
    distribution: Literal["normal", "uniform"] = "normal"
    dtype: Literal["float64", "float32"] = "float64"

    @property
    def capabilities(self) -> frozenset[str]:
        """See dynamics.Model."""
        known = {"weights", "attention"} | ({"score_matrices"} if self.scores.bilinear else set())
        return frozenset(known | ({"conserved"} if self.scores.conserved else set()))

    def setup(self):
        """Declare the parameters, with an axis of one layer."""
        draw = nn.initializers.variance_scaling(1.0, "fan_in", self.distribution, -1, -2, ())
        self.weights = {
            name: self.param(name, draw, (1, *shape), jnp.dtype(self.dtype))
            for name, shape in self.scores.shapes(self.width, 1).items()
        }

    def __call__(self, inputs: Float[Array, "n L m"]) -> tuple[Float[Array, "n L L"], dict[str, Any]]:
        """The scores [n, query, key], and the attention [1, key, query, n] that softmax makes of them."""
        mask_QxK = self.mask(inputs.shape[1])
        scores_NxHxQxK = self.scores({name: W[0] for name, W in self.weights.items()}, inputs, 1)
        attention_NxHxQxK = Softmax()(scores_NxHxQxK, mask_QxK)
        shown_NxQxK = jnp.where(mask_QxK[None], scores_NxHxQxK[:, 0], -jnp.inf)
        return shown_NxQxK, {"attention": jnp.transpose(attention_NxHxQxK, (1, 3, 2, 0))}

    def score_matrices(self) -> Float[Array, "layer H m m"]:
        """W, key × query."""
        return self.scores.matrices(self.weights, 1)

    def conserved(self) -> tuple[dynamics.Balance, ...]:
        """What gradient flow keeps constant."""
        return self.scores.balances(self.weights, 1)

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """The labels of the singular values and of what is conserved."""
        return {
            "layer": [0],
            "head": [0],
            "matrix": sorted(self.scores.shapes(self.width, 1)),
            "mode": list(range(self.width)),
            "conserved": list(self.scores.conserved),
        }


def _gaps(output: Float[Array, "n Q K"], target: Int[Array, "n Q"]) -> Float[Array, "n Q K"]:
    """F_t − F_k of every key but the target, for which it is ∞; ∞ for keys that are not shown."""
    is_target = jax.nn.one_hot(target, output.shape[-1], dtype=bool)
    of_target = jnp.sum(jnp.where(is_target, output, 0), axis=-1, keepdims=True)
    return jnp.where(is_target, jnp.inf, of_target - output)


@dynamics.loss("classes")
def pairwise_logistic(output: Float[Array, "n Q K"], target: Int[Array, "n Q"]) -> Float[Array, " n"]:
    """Σ_q Σ_{k≠t} log(1 + exp(F_k − F_t)) over queries q with the target t and their other keys k."""
    return jnp.sum(jax.nn.softplus(-_gaps(output, target)), axis=(1, 2))


@dynamics.probe(needs=("classes",))
def target_margin(params: PyTree, view: dynamics.View) -> Array:
    """The smallest F_t − F_k over queries and their other keys."""
    return jnp.min(_gaps(view.objective.output(params), view.objective.batch.targets))


@dynamics.probe()
def half_square(params: PyTree, view: dynamics.View) -> Array:
    """½ Σ θ² over all parameters; ½(‖W_Q‖² + ‖W_K‖²) of a factored head."""
    del view
    return jnp.sum(jnp.stack([jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)])) / 2


dynamics.TASKS["attention_pattern"] = PatternTask
dynamics.MODELS["scoring_head"] = ScoringHead
