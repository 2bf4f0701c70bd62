"""Transformers on sequences: embeddings, masked attention, a value path, an output at every position."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dynamics.config import require
from dynamics.models.attention import MASKS, NORMALISERS
from dynamics.models.model import Model


class Transformer(Model):
    """Logits U x̂, x_q ← x_q + Σ_h W_O^h W_V^h Σ_k p^h_{k,q} x̂_k, then x ← x + W_2 gelu(W_1 x̂) in every layer.

    At first x = E[word] + P[position]; p^h_{·,q} are the normalised scores x̂_kᵀ W^h x̂_q over the keys that the mask
    shows to q, with the score matrices W^h = W_K^hᵀ W_Q^h / √(m/H), or W^h = W_QK^h / √m. x̂ is x, or x with mean 0
    and variance 1 over its entries. Parameters of all layers are stacked: W_Q, W_K, W_V, W_O [layer, m, m] (heads side
    by side) or W_QK [layer, H, m, m], W_1 [layer, m1, m], W_2 [layer, m, m1]; E [d, m], P [L, m], U [d, m].

    Attributes:
        vocabulary: d.
        length: L.
        width: m, of the residual stream; a multiple of heads.
        heads: H.
        layers: how many.
        neurons: m1 of the MLP; 0 for none.
        scores: "factored" or "bilinear".
        mask: "causal" or "full".
        normaliser: "softmax", "relu" or "linear"; the last two divide by the number of keys.
        positions: "learned", or "none" for no P.
        norm: "none" or "layer"; before attention, MLP and U, without parameters.
        residual: whether attention adds to x or replaces it.
        distribution: of the entries at `init`, which have mean 0 and variance 1 / fan_in; see Initialisation.
        dtype: of parameters and computations.
    """

    vocabulary: int
    length: int
    width: int
    heads: int = 1
    layers: int = 1
    neurons: int = 0
    scores: Literal["factored", "bilinear"] = "factored"
    mask: Literal["causal", "full"] = "causal"
    normaliser: Literal["softmax", "relu", "linear"] = "softmax"
    positions: Literal["learned", "none"] = "learned"
    norm: Literal["none", "layer"] = "none"
    residual: bool = True
    distribution: Literal["normal", "uniform"] = "normal"
    dtype: Literal["float64", "float32"] = "float64"

    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"weights", "score_matrices", "conserved", "attention", "states"}
    )
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __post_init__(self):
        for key in ("width", "heads", "layers"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "must be at least 1")
        require(self.neurons >= 0, "neurons", self.neurons, "must not be negative")
        require(self.width % self.heads == 0, "heads", self.heads, f"must divide the width, {self.width}")
        super().__post_init__()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        m = self.width
        shapes: dict[str, tuple[int, ...]] = {"E": (self.vocabulary, m), "U": (self.vocabulary, m)}
        if self.positions == "learned":
            shapes["P"] = (self.length, m)
        if self.neurons:
            shapes |= {"W_1": (self.layers, self.neurons, m), "W_2": (self.layers, m, self.neurons)}
        if self.scores == "factored":
            shapes |= {"W_Q": (self.layers, m, m), "W_K": (self.layers, m, m)}
        else:
            shapes |= {"W_QK": (self.layers, self.heads, m, m)}
        return {**shapes, "W_V": (self.layers, m, m), "W_O": (self.layers, m, m)}

    def setup(self):
        """Declare the parameters."""
        for name, shape in self._shapes().items():
            batch = tuple(range(len(shape) - 2))
            draw = nn.initializers.variance_scaling(1.0, "fan_in", self.distribution, -1, -2, batch)
            setattr(self, name, self.param(name, draw, shape, jnp.dtype(self.dtype)))

    def __call__(self, tokens: Int[Array, "n L"]) -> tuple[Float[Array, "n L d"], dict[str, Any]]:
        """Logits and the intermediates.

        Returns:
            Logits, and {"attention": p [layer, H, key, query, n], "states": x [layer + 1, n, L, m]}.
        """
        x_NxLxM, U_DxM = self.E[tokens], self.U
        if self.positions == "learned":
            x_NxLxM = x_NxLxM + self.P[None, : tokens.shape[1]]
        mask, states, attention = MASKS[self.mask](tokens.shape[1]), [x_NxLxM], []
        for layer in range(self.layers):
            read_NxLxM, attention_NxHxQxK = self._attention(layer, self._normed(x_NxLxM), mask)
            x_NxLxM = x_NxLxM + read_NxLxM if self.residual else read_NxLxM
            if self.neurons:
                normed_NxLxM, W_1_JxM = self._normed(x_NxLxM), self.W_1[layer]
                hidden_NxLxJ = jax.nn.gelu(jnp.einsum("nlm,jm->nlj", normed_NxLxM, W_1_JxM))
                W_2_MxJ = self.W_2[layer]
                x_NxLxM = x_NxLxM + jnp.einsum("nlj,mj->nlm", hidden_NxLxJ, W_2_MxJ)
            states.append(x_NxLxM)
            attention.append(attention_NxHxQxK)
        logits_NxLxD = jnp.einsum("nlm,dm->nld", self._normed(x_NxLxM), U_DxM)
        attention_XxHxKxQxN = jnp.transpose(jnp.stack(attention), (0, 2, 4, 3, 1))
        return logits_NxLxD, {"attention": attention_XxHxKxQxN, "states": jnp.stack(states)}

    def _normed(self, x: Float[Array, "n L m"]) -> Float[Array, "n L m"]:
        return jax.nn.standardize(x, axis=-1) if self.norm == "layer" else x

    def _projected(self, x_NxLxM: Float[Array, "n L m"], W_MxM: Float[Array, "m m"]) -> Array:
        """W x of every head, [n, L, H, m/H]."""
        projected_NxLxM = jnp.einsum("nlm,em->nle", x_NxLxM, W_MxM)
        return projected_NxLxM.reshape(*x_NxLxM.shape[:2], self.heads, -1)

    def _attention(self, layer: int, x_NxLxM: Float[Array, "n L m"], mask: Array) -> tuple[Array, Array]:
        """What attention reads, [n, L, m], and p [n, H, query, key]."""
        if self.scores == "factored":
            keys_NxKxHxE = self._projected(x_NxLxM, self.W_K[layer])
            queries_NxQxHxE = self._projected(x_NxLxM, self.W_Q[layer])
            scores_NxHxQxK = jnp.einsum("nkhe,nqhe->nhqk", keys_NxKxHxE, queries_NxQxHxE)
        else:
            W_HxMxM = self.W_QK[layer]
            scores_NxHxQxK = jnp.einsum("nkm,hmp,nqp->nhqk", x_NxLxM, W_HxMxM, x_NxLxM)
        attention_NxHxQxK = NORMALISERS[self.normaliser](scores_NxHxQxK / self._scale(), mask)
        values_NxKxHxE = self._projected(x_NxLxM, self.W_V[layer])
        read_NxQxHxE = jnp.einsum("nhqk,nkhe->nqhe", attention_NxHxQxK, values_NxKxHxE)
        read_NxLxM, W_O_MxM = read_NxQxHxE.reshape(x_NxLxM.shape), self.W_O[layer]
        return jnp.einsum("nle,me->nlm", read_NxLxM, W_O_MxM), attention_NxHxQxK

    def _scale(self) -> Float[Array, ""]:
        summed = self.width // self.heads if self.scores == "factored" else self.width
        return jnp.sqrt(jnp.array(summed, jnp.dtype(self.dtype)))

    def score_matrices(self) -> Float[Array, "layer H m m"]:
        """The score matrices W, scores x̂_kᵀ W x̂_q, key × query."""
        if self.scores == "bilinear":
            return self.W_QK / self._scale()
        shape = (self.layers, self.heads, self.width // self.heads, self.width)
        W_K_XxHxExM, W_Q_XxHxExM = self.W_K.reshape(shape), self.W_Q.reshape(shape)
        return jnp.einsum("xhek,xheq->xhkq", W_K_XxHxExM, W_Q_XxHxExM) / self._scale()

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """The labels of each dimension of the model's arrays; "mode" counts the eigenvalues of a score matrix."""
        conserved = ["W_V W_Vᵀ − W_Oᵀ W_O", "W_Q W_Qᵀ − W_K W_Kᵀ"]
        return {
            "layer": list(range(self.layers)),
            "head": list(range(self.heads)),
            "matrix": sorted(self._shapes()),
            "mode": list(range(self.width)),
            "depth": list(range(self.layers + 1)),
            "conserved": conserved if self.scores == "factored" else conserved[:1],
        }

    def conserved(self) -> tuple[Array, ...]:
        """W_V W_Vᵀ − W_Oᵀ W_O and, with factored scores, W_Q W_Qᵀ − W_K W_Kᵀ of every head, [layer, H, m/H, m/H].

        Gradient flow keeps them constant, since the output depends on values and outputs only through W_O W_V, and on
        keys and queries only through W_Kᵀ W_Q. A penalty on the score matrices does not change that.
        """
        shape = (self.layers, self.heads, self.width // self.heads, self.width)
        W_V, W_O = self.W_V.reshape(shape), jnp.swapaxes(self.W_O, 1, 2).reshape(shape)
        pairs = [(W_V, W_O)]
        if self.scores == "factored":
            pairs.append((self.W_Q.reshape(shape), self.W_K.reshape(shape)))

        def square(matrix_XxHxExM: Array) -> Array:
            return jnp.einsum("xhem,xhfm->xhef", matrix_XxHxExM, matrix_XxHxExM)

        return tuple(square(one) - square(other) for one, other in pairs)
