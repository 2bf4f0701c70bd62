"""Flow, GD and SGD in Gram variables: exact, closed, and of the same cost at every width m.

F depends on the weights through A^h = W_K^hᵀ W_Q^h and G^h = W_V^hᵀ u only, u = Wᵀa. With z^h = −∂L/∂G^h and
M^h = −∂L/∂A^h (arXiv:2410.09605, Appendix B, in compact form) the weights move as Ẇ = a (Σ_g W_V^g z^g)ᵀ,
Ẇ_V^h = u z^hᵀ, Ẇ_K^h = W_Q^h M^hᵀ, Ẇ_Q^h = W_K^h M^h, and the product rule closes on A, G, S = uᵀu and the Gram
matrices C. For one head these are the equations of the paper's Appendix C, reduced; for H heads, whose outputs add
before W and so share u, they were derived here: C_V couples the heads, C_K and C_Q do not. Momentum and Adam are not
closed in these variables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dynamics.analysis.invariants import reduced
from dynamics.config import require
from dynamics.laws.descent import Descent, Minibatch
from dynamics.laws.flow import GradientFlow
from dynamics.models import Gram, OneLayerTransformer
from dynamics.models.one_layer import read_tables
from dynamics.objectives.objective import Objective
from dynamics.tasks import Batch

__all__ = [
    "GramFlow",
    "GramGradientDescent",
    "GramModel",
    "GramStochasticGradientDescent",
    "in_gram_variables",
    "with_width",
]


@dataclass(frozen=True)
class GramModel:
    """The one-layer model as a function of its Gram matrices; answers like a linen module.

    Its width m is no attribute but a constant of the objective, {"a": a, "width": m}: it enters through 1/√m only, and
    another one does not compile again.

    Attributes:
        vocabulary: d.
        neurons: m1.
        heads: H.
        dtype: of the Gram matrices.
    """

    vocabulary: int
    neurons: int
    heads: int
    dtype: str

    layers: ClassVar[int] = 1
    capabilities: ClassVar[frozenset[str]] = frozenset({"gram", "conserved", "attention"})
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"a": ("neuron",), "width": ()}

    @classmethod
    def of(cls, model: OneLayerTransformer) -> "GramModel":
        """The same model."""
        return cls(model.vocabulary, model.neurons, model.heads, model.dtype)

    def apply(self, variables: PyTree, *args: Any, method: str = "__call__") -> Any:
        """F and the intermediates of OneLayerTransformer at variables["params"], or a method of them."""
        gram = Gram(**variables["params"])
        if method == "__call__":
            (tokens,) = args
            return read_tables(list(gram.A), list(gram.G), tokens, variables["constants"]["width"])
        return getattr(self, method)(gram, *args)

    def gram(self, gram: Gram) -> Gram:
        """The Gram matrices."""
        return gram

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """Labels of its dimensions."""
        return {
            "layer": [0],
            "head": list(range(self.heads)),
            "value_mode": list(range(self.heads * self.vocabulary + 1)),
            "score_mode": list(range(2 * self.vocabulary)),
            "conserved": ["value_square", "score_square"],
        }

    def conserved(self, gram: Gram) -> tuple[Array, Array]:
        """The squares of dynamics.analysis.invariants.

        The traces are linear in the Gram variables: every Runge-Kutta method keeps them, and they certify nothing.
        """
        _, value_square, _, score_square = reduced(gram, self.neurons)
        return value_square, score_square

    def velocity(self, params: PyTree, slope: PyTree) -> dict[str, Array]:
        """What gradient flow on the weights makes of their Gram matrices, z = slope["G"] and M = slope["A"].

        Ġ = S z + m1 C_V z      Ṡ = 2 m1 Gᵀz           Ċ_V = z Gᵀ + G zᵀ
        Ȧ = C_K M + M C_Q       Ċ_K = A Mᵀ + M Aᵀ      Ċ_Q = Aᵀ M + Mᵀ A
        """
        A, G, S, C_V, C_K, C_Q = Gram(**params)
        z, M, m1 = slope["G"], slope["A"], self.neurons
        M_T = jnp.swapaxes(M, -1, -2)
        return {
            "A": C_K @ M + M @ C_Q,
            "G": S * z + m1 * jnp.einsum("higj,gj->hi", C_V, z),
            "S": 2 * m1 * jnp.sum(G * z),
            "C_V": _symmetric_between_heads(jnp.einsum("hi,gj->higj", z, G)),
            "C_K": _symmetric(A @ M_T),
            "C_Q": _symmetric(M_T @ A),
        }

    def step(self, params: PyTree, slope: PyTree, eta: Any) -> dict[str, Array]:
        """What a step η of gradient descent on the weights makes of their Gram matrices, exactly.

        G' = G + η(m1 C_V z + S z) + η² m1 (Gᵀz) z      S' = S + 2η m1 Gᵀz + η² m1² zᵀC_V z
        C_V' = C_V + η(zGᵀ + Gzᵀ) + η² S zzᵀ            A' = A + η(C_K M + M C_Q) + η² M Aᵀ M
        C_K' = C_K + η(AMᵀ + MAᵀ) + η² M C_Q Mᵀ         C_Q' = C_Q + η(AᵀM + MᵀA) + η² Mᵀ C_K M
        """
        A, G, S, C_V, C_K, C_Q = Gram(**params)
        z, M, m1 = slope["G"], slope["A"], self.neurons
        M_T = jnp.swapaxes(M, -1, -2)
        curvature = {
            "A": M @ jnp.swapaxes(A, -1, -2) @ M,
            "G": m1 * jnp.sum(G * z) * z,
            "S": m1**2 * jnp.einsum("hi,higj,gj->", z, C_V, z),
            "C_V": S * jnp.einsum("hi,gj->higj", z, z),
            "C_K": M @ C_Q @ M_T,
            "C_Q": M_T @ (C_K @ M),
        }
        velocity = self.velocity(params, slope)
        return {name: params[name] + eta * velocity[name] + eta**2 * curvature[name] for name in params}


def in_gram_variables(params: PyTree, objective: Objective) -> tuple[dict[str, Array], Objective]:
    """The same start and the same objective, in Gram variables.

    Raises:
        ConfigError: for a model that is not the one-layer transformer, and for the weights of another one.
    """
    model = objective.model
    known = isinstance(model, OneLayerTransformer)
    require(known, "model", type(model).__name__, "must be one_layer for a law in Gram variables")
    rows, d = model.heads * model.width, model.vocabulary
    expected = {"W": (model.neurons, model.width), "W_K": (rows, d), "W_Q": (rows, d), "W_V": (rows, d)}
    found = {name: jnp.shape(matrix) for name, matrix in sorted(params.items())}
    require(found == expected, "params", found, f"must have the shapes of the model, {expected}")
    gram = objective.apply(params, method="gram")._asdict()
    return gram, with_width(GramModel.of(model), objective.constants, objective.batch, model.width)


def with_width(model: GramModel, constants: PyTree, batch: Batch, width: Any) -> Objective:
    """The objective of a model of Gram matrices at width m."""
    return Objective(model, {**constants, "width": jnp.asarray(width, model.dtype)}, batch)


def _symmetric(matrix: Float[Array, "H d d"]) -> Float[Array, "H d d"]:
    return matrix + jnp.swapaxes(matrix, -1, -2)


def _symmetric_between_heads(tensor: Float[Array, "H d H d"]) -> Float[Array, "H d H d"]:
    return tensor + jnp.transpose(tensor, (2, 3, 0, 1))


class GramFlow(GradientFlow):
    """Gradient flow on the weights, in Gram variables: GramModel.velocity; see Flow for the solver's settings."""

    needs: ClassVar[tuple[str, ...]] = ("gram",)

    def variables(self, params, objective):
        """Gram."""
        return (params, objective) if isinstance(objective.model, GramModel) else in_gram_variables(params, objective)


class GramGradientDescent(Descent):
    """Full-batch gradient descent on the weights, exactly, in Gram variables; t = η·k."""

    needs: ClassVar[tuple[str, ...]] = ("gram",)

    def variables(self, params, objective):
        """Gram."""
        return (params, objective) if isinstance(objective.model, GramModel) else in_gram_variables(params, objective)

    def update(self, objective, gradient, params, memory):
        """The closed map."""
        slope = jax.tree.map(jnp.negative, gradient)
        return objective.model.step(params, slope, self.learning_rate), memory


class GramStochasticGradientDescent(Minibatch, GramGradientDescent):
    """SGD on the weights, exactly, in Gram variables; its minibatches are those of StochasticGradientDescent."""
