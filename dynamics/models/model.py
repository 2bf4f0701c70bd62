"""What a model is: a function of parameters and tokens that says what it can do."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import PyTree

__all__ = ["Model"]


@runtime_checkable
class Model(Protocol):
    """What a class of models must have; a linen module has `init` and `apply`. Instances are hashable.

    Attributes:
        layers: how many layers of attention.
        heads: H, of every layer.
        dtype: of parameters and computations, "float64" or "float32".
        capabilities: what laws, probes and regularisers may ask for:
            "weights": the parameters are weights, and gradient flow moves them along −∇L. A model without it has a
                method velocity(params, −∇L), which gives what gradient flow on the weights makes of the parameters;
            "gram": a method `gram` gives the Gram matrices (dynamics.models.Gram);
            "score_matrices": a method `score_matrices` gives the matrices W of the scores x_kᵀ W x_q [layer, H, d, d];
            "conserved": a method `conserved` gives what gradient flow keeps constant, a tuple of matrices whose names
                are the labels of the dimension "conserved";
            "attention": the intermediates have "attention", p [(layer,) H, key, query, n];
            "states": the intermediates have "states", the tokens before the first and after every layer
                [layer + 1, n, L, m].
    """

    @property
    def layers(self) -> int: ...  # noqa: D102

    @property
    def heads(self) -> int: ...  # noqa: D102

    @property
    def dtype(self) -> str: ...  # noqa: D102

    @property
    def capabilities(self) -> frozenset[str]: ...  # noqa: D102

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the dimensions of each array that it holds fixed (its collection "constants")."""
        ...

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """Labels of its own dimensions: "layer", "head", "matrix" (the names of its weights, sorted), ..."""
        ...

    def init(self, key: Any, tokens: Any) -> PyTree:
        """{"params": parameters whose entries have mean 0 and variance 1 / fan_in, "constants": what is fixed}."""
        ...

    def apply(self, variables: PyTree, *args: Any, method: str = "__call__") -> Any:
        """(output, intermediates) at variables["params"] and variables["constants"], or what a method gives."""
        ...
