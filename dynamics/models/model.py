"""What a model is: a function of parameters and inputs that says what it can do."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

MOST_PARTS = 1024  # heads, and layers: each is traced by itself


class Model(nn.Module):
    """A linen module: `__call__(inputs)` gives (outputs, {name: intermediate}), samples first; abstract.

    The fields of a subclass are the keys of config.model. Those called `distribution` and `dtype`, and those in the
    `sizes` of the task, are given to it. What it holds fixed is in its collection "constants".

    Capabilities:
        "weights": the parameters are weights, and gradient flow moves them along −∇L; a method init(key, inputs), as
            linen modules have it, gives {"params": parameters, "constants": what is fixed}; config.init rescales
            entries with mean 0 and variance 1 / fan_in, unless it says init.name = "model". A model without it has a
            method velocity(variables, −∇L, rates, inputs): what gradient flow on the weights makes of the parameters,
            variables["params"], with the inputs of the samples if L depends on nothing else, or None; and an attribute
            `weights`, the names of the weights.
        "gram": a method `gram` gives the Gram matrices (dynamics.models.Gram); an attribute `neurons` is m1.
        "score_matrices": a method `score_matrices` gives the matrices W of the scores x_kᵀ W x_q [layer, H, d, d].
        "conserved": a method `conserved` gives a tuple of dynamics.models.Balance, what gradient flow keeps constant;
            their names are the labels of the dimension "conserved".
        "attention": the intermediates have "attention", p [(layer,) H, key, query, n].
        "value_vectors": the intermediates have "value_vectors", what a head reads of a key, v [layer, H, key, m/H, n].
        "edits": __call__(inputs, edits) evaluates with arrays changed where they are made; see
            dynamics.probes.interventions.
        "noise": attention is random where a stream of random numbers with the name "noise" is given to `apply`.
        "states": the intermediates have "states" [layer + 1, n, L, m], the tokens before the first layer and after
            every layer.

    Attributes:
        layers: how many layers of attention.
        heads: H, of every layer.
        dtype: of parameters and computations, "float64" or "float32".
        dims: the names of the dimensions of each array that it holds fixed.
    """

    # Not annotated: a subclass may have fields of these names.
    layers = 1
    heads = 1
    dtype = "float64"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @property
    def capabilities(self) -> frozenset[str]:
        """What laws, probes and regularisers may ask for; a subclass may have it as a class attribute."""
        return frozenset({"weights"})

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """Labels of its own dimensions, such as "layer", "head", "matrix"; a dimension may have none."""
        return {}

    def bytes_held(self, inputs: tuple[int, ...]) -> int:
        """Roughly how many bytes are in memory at once for the gradient of the loss of samples, by their shape.

        Where that is too much, the mean loss is taken over parts of the samples, one after another. By default 0: all
        at once.
        """
        del inputs
        return 0


def by_name(params: PyTree) -> dict[str, Any]:
    """{name: parameter}; the name of a nested one is its path, as in "Dense_0/kernel"."""
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def name_of(path: Any) -> str:
    """The name of the parameter at a path of jax.tree_util."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def at_rate(rate: Any, move: Array) -> Array:
    """Rate times a velocity or a step; None is 1, and 0, of a frozen parameter, leaves nothing to compute."""
    if rate is None:
        return move
    return jnp.zeros_like(move) if isinstance(rate, int) else jnp.asarray(rate, move.dtype) * move
