"""What a model is: a function of parameters and tokens that says what it can do."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import PyTree


@runtime_checkable
class Model(Protocol):
    """What a class of models must have, beside what its capabilities promise; instances are hashable.

    A class in MODELS is built with those of vocabulary, length, distribution and dtype that it has fields for.

    Capabilities:
        "weights": the parameters are weights, and gradient flow moves them along −∇L; a method init(key, tokens), as
            linen modules have it, gives {"params": parameters, "constants": what is fixed}, entries with mean 0 and
            variance 1 / fan_in. A model without it has a method velocity(params, −∇L): what gradient flow on the
            weights makes of the parameters.
        "gram": a method `gram` gives the Gram matrices (dynamics.models.Gram); an attribute `neurons` is m1.
        "score_matrices": a method `score_matrices` gives the matrices W of the scores x_kᵀ W x_q [layer, H, d, d].
        "conserved": a method `conserved` gives a tuple of dynamics.models.Balance, what gradient flow keeps constant;
            their names are the labels of the dimension "conserved".
        "attention": the intermediates have "attention", p [(layer,) H, key, query, n].
        "edits": __call__(inputs, edits) evaluates with arrays changed where they are made; see
            dynamics.probes.interventions.
        "noise": attention is random where a stream of random numbers with the name "noise" is given to `apply`.
        "states": the intermediates have "states" [layer + 1, n, L, m], the tokens before the first layer and after
            every layer.
    """

    @property
    def vocabulary(self) -> int | None:
        """d, the number of words; None where inputs are no words."""
        ...

    @property
    def layers(self) -> int:
        """How many layers of attention."""
        ...

    @property
    def heads(self) -> int:
        """H, of every layer."""
        ...

    @property
    def dtype(self) -> str:
        """Of parameters and computations, "float64" or "float32"."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """What laws, probes and regularisers may ask for."""
        ...

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the dimensions of each array that it holds fixed (its collection "constants")."""
        ...

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """Labels of its own dimensions: "layer", "head", "matrix" (the names of its weights, sorted), ..."""
        ...

    def apply(self, variables: PyTree, *args: Any, method: str = "__call__") -> Any:
        """(output, intermediates) at variables["params"] and variables["constants"], or what a method gives."""
        ...
