"""The one-layer transformer of arXiv:2410.09605, equation (1), and its Gram matrices."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dynamics.config import require
from dynamics.models.attention import attend, look_up_scores, look_up_values, multiply_columns, table_of_products
from dynamics.models.balance import Balance
from dynamics.models.model import MOST_PARTS, Model
from dynamics.models.pairs import few_pairs

CONSERVED = ("WᵀW − W_V W_Vᵀ", "W_Q W_Qᵀ − W_K W_Kᵀ", "W ⊥ a")


class Gram(NamedTuple):
    """The Gram matrices that F, and with it every gradient, depends on (H heads).

    Attributes:
        A: W_Kᵀ W_Q of every head, key × query.
        G: the linear MLP function G(μ) = aᵀ W W_V μ of every head.
        S: ‖Wᵀa‖².
        C_V: W_Vᵀ W_V, between heads too.
        C_K: W_Kᵀ W_K of every head.
        C_Q: W_Qᵀ W_Q of every head.
    """

    A: Float[Array, "H d d"]
    G: Float[Array, "H d"]
    S: Float[Array, ""]
    C_V: Float[Array, "H d H d"]
    C_K: Float[Array, "H d d"]
    C_Q: Float[Array, "H d d"]


def read_samples(
    products: Sequence[Float[Array, "K Q n"]],
    G: Sequence[Float[Array, " d"]],
    tokens: Int[Array, "n L"],
    width: int | Float[Array, ""],
) -> tuple[Float[Array, " n"], dict[str, Any]]:
    """F(X) = Σ_h Σ_l G^h(X) softmax(Xᵀ A^h x_l / √m): the MLP is linear, aᵀ W W_V X p = G(X) p.

    Args:
        products: Xᵀ A X of every head, A = W_Kᵀ W_Q.
        G: aᵀ W W_V of every head.
        tokens: of the samples.
        width: m.

    Returns:
        F, and the intermediates of OneLayerTransformer.
    """
    output, heads = jnp.zeros(tokens.shape[0], G[0].dtype), []
    for product, linear in zip(products, G, strict=True):
        scores = product / jnp.sqrt(jnp.array(width, product.dtype))
        values = look_up_values(linear, tokens)
        read, attention = attend(scores, values)
        output = output + jnp.sum(read, axis=0)
        heads.append({"scores": scores, "attention": attention, "values": values})
    return output, jax.tree.map(lambda *leaves: jnp.stack(leaves), *heads)


class OneLayerTransformer(Model):
    """F(X) = Σ_l Σ_j a_j w_jᵀ Σ_h W_V^h X softmax(Xᵀ W_K^hᵀ W_Q^h x_l / √m), equation (1) with H heads.

    Words are orthonormal, x = e_token. Parameters: W_Q, W_K, W_V of shape [H m, d], head after head, and W of shape
    [m1, m]; the signs a [m1] are drawn uniformly from ±1 and fixed (collection "constants"). The heads' outputs add
    before W, so one head gives the shapes of equation (1).

    A linen module, not nnx: `init` and `apply` are pure functions of a parameter tree, which is what a law of motion
    (an ODE solver, a scan) integrates; nnx would be split and merged around every step.

    Attributes:
        vocabulary: d.
        width: m, the dimension of queries, keys and values.
        neurons: m1, the width of the linear MLP.
        heads: H.
        distribution: of the entries at `init`, which have mean 0 and variance 1 / fan_in; see Initialisation.
        dtype: of parameters and computations.
    """

    vocabulary: int
    width: int
    neurons: int
    heads: int = 1
    distribution: Literal["normal", "uniform"] = "normal"
    dtype: Literal["float64", "float32"] = "float64"

    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "gram", "score_matrices", "conserved", "attention"})
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"a": ("neuron",)}

    def __post_init__(self):
        for key in ("width", "neurons", "heads"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "must be at least 1")
        require(self.neurons < 2**31, "neurons", self.neurons, "must be below 2**31")
        require(self.heads <= MOST_PARTS, "heads", self.heads, f"must be at most {MOST_PARTS}")
        require(self.width < 2**53, "width", self.width, "must be below 2**53, the last integer that a float64 holds")
        super().__post_init__()

    def setup(self):
        """Declare W_Q, W_K, W_V, W and the signs a."""
        draw = nn.initializers.variance_scaling(1.0, "fan_in", self.distribution, in_axis=-1, out_axis=-2)
        dtype = jnp.dtype(self.dtype)
        for name in ("W_Q", "W_K", "W_V"):
            setattr(self, name, self.param(name, draw, (self.heads * self.width, self.vocabulary), dtype))
        self.W = self.param("W", draw, (self.neurons, self.width), dtype)

        def signs():
            return jax.random.rademacher(self.make_rng("params"), (self.neurons,), dtype)

        self.a = self.variable("constants", "a", signs)

    def _heads(self) -> list[Float[Array, "H m d"]]:
        """W_Q, W_K and W_V of every head."""
        shape = (self.heads, self.width, self.vocabulary)
        return [matrix.reshape(shape) for matrix in (self.W_Q, self.W_K, self.W_V)]

    def __call__(self, tokens: Int[Array, "n L"]) -> tuple[Float[Array, " n"], dict[str, Any]]:
        """F and the intermediates.

        Returns:
            F [n], and {"scores": xᵀW_KᵀW_Q x / √m [H, key, query, n], "attention": p [H, key, query, n],
            "values": G(x) [H, key, n]}.
        """
        # Not @, whose gradient with respect to a matrix is written transposed and then copied (15 % of a GD step).
        a_J, W_JxM = self.a.value, self.W
        u_M = jnp.einsum("j,jm->m", a_J, W_JxM)
        W_Q_HxMxD, W_K_HxMxD, W_V_HxMxD = self._heads()
        few = self._look_up_few(tokens.shape)

        def product(W_K_MxD, W_Q_MxD):
            if few:
                return multiply_columns(W_K_MxD, W_Q_MxD, tokens)
            return look_up_scores(table_of_products(W_K_MxD, W_Q_MxD), tokens)

        products = [product(*head) for head in zip(W_K_HxMxD, W_Q_HxMxD, strict=True)]
        G_D = [jnp.einsum("m,md->d", u_M, W_V_MxD) for W_V_MxD in W_V_HxMxD]
        return read_samples(products, G_D, tokens, self.width)

    def bytes_held(self, inputs: tuple[int, ...]) -> int:
        """See Model: scores and attention with their derivatives, and what the scores are made from."""
        n, length = inputs
        of_words = 4 * n * length * self.width if self._look_up_few(inputs) else 2 * self.vocabulary**2
        return self.heads * (4 * n * length**2 + of_words) * jnp.dtype(self.dtype).itemsize

    def _look_up_few(self, inputs: tuple[int, ...]) -> bool:
        return few_pairs(inputs, self.vocabulary, self.width)

    def conserved(self) -> tuple[Balance, Balance, Balance]:
        """The terms whose differences gradient flow keeps constant; see dynamics.analysis.invariants.

        Returns:
            WᵀW and Σ_h W_V^h W_V^hᵀ [m, m]; W_Q^h W_Q^hᵀ and W_K^h W_K^hᵀ [H, m, m]; W and its part along a [m1, m],
            whose difference is the part orthogonal to a.
        """
        W, a = self.W, self.a.value
        W_Q_HxMxD, W_K_HxMxD, W_V_HxMxD = self._heads()
        values_MxM = jnp.einsum("hmd,hnd->mn", W_V_HxMxD, W_V_HxMxD)
        queries_HxMxM = jnp.einsum("hmd,hnd->hmn", W_Q_HxMxD, W_Q_HxMxD)
        keys_HxMxM = jnp.einsum("hmd,hnd->hmn", W_K_HxMxD, W_K_HxMxD)
        return (
            Balance(CONSERVED[0], ("W", "W_V"), W.T @ W, values_MxM),
            Balance(CONSERVED[1], ("W_Q", "W_K"), queries_HxMxM, keys_HxMxM),
            Balance(CONSERVED[2], ("W",), W, jnp.outer(a, a @ W) / self.neurons),
        )

    def score_matrices(self) -> Float[Array, "1 H d d"]:
        """W_Kᵀ W_Q / √m of every head, key × query."""
        W_Q_HxMxD, W_K_HxMxD, _ = self._heads()
        scores_HxKxQ = jnp.einsum("hmk,hmq->hkq", W_K_HxMxD, W_Q_HxMxD)
        return scores_HxKxQ[None] / jnp.sqrt(jnp.array(self.width, scores_HxKxQ.dtype))

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """The labels of each dimension of the model's arrays; "mode" counts the eigenvalues of a score matrix."""
        return {
            "layer": [0],
            "head": list(range(self.heads)),
            "matrix": ["W", "W_K", "W_Q", "W_V"],
            "mode": list(range(self.vocabulary)),
            "value_mode": list(range(self.heads * self.vocabulary + 1)),
            "score_mode": list(range(2 * self.vocabulary)),
            "conserved": list(CONSERVED),
        }

    def gram(self) -> Gram:
        """The Gram matrices of the weights."""
        W_Q_HxMxD, W_K_HxMxD, W_V_HxMxD = self._heads()
        u_M = self.a.value @ self.W
        return Gram(
            A=jnp.einsum("hmk,hmq->hkq", W_K_HxMxD, W_Q_HxMxD),
            G=u_M @ W_V_HxMxD,
            S=u_M @ u_M,
            C_V=jnp.einsum("hmi,gmj->higj", W_V_HxMxD, W_V_HxMxD),
            C_K=jnp.einsum("hmi,hmj->hij", W_K_HxMxD, W_K_HxMxD),
            C_Q=jnp.einsum("hmi,hmj->hij", W_Q_HxMxD, W_Q_HxMxD),
        )
