"""Transformers on sequences: embeddings, attention from parts, an output at every position."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dynamics.config import check_keys, require
from dynamics.models.attention import (
    Causal,
    Factored,
    LinearValue,
    Mask,
    Normaliser,
    Score,
    Softmax,
    Value,
    times,
)
from dynamics.models.balance import Balance
from dynamics.models.model import MOST_PARTS, Model

EDITS = ("attention", "heads", "states")
Edits = Mapping[str, Callable[[int, Array], Array]]


class Transformer(Model):
    """Logits U x̂, x_q ← x_q + Σ_h W_O^h Σ_k p^h_{k,q} v^h(x̂_k), then x ← x + W_2 gelu(W_1 x̂) in every layer.

    At first x = E[word] + P[position], or x = W_E ξ + P[position] for inputs ξ that are vectors. p^h_{·,q} normalises
    the scores s^h_{k,q} of the keys that the mask shows to q; see dynamics.models.attention for scores, masks,
    normalisers and values v. x̂ is x, or x normed. Parameters of all layers are stacked, and those of all heads stand
    side by side: W_Q, W_K, W_V, W_O [layer, m, m] with the usual parts, W_1 [layer, m1, m], W_2 [layer, m, m1];
    E [d, m] or W_E [m, p], P [L, m], U [outputs, m].

    Attributes:
        vocabulary: d; None where inputs are vectors.
        length: L.
        width: m, of the residual stream; a multiple of heads.
        heads: H.
        layers: how many.
        neurons: m1 of the MLP; 0 for none.
        scores: one of SCORES, by default "factored": s = (W_K^h x̂_k)·(W_Q^h x̂_q) / √(m/H).
        mask: one of MASKS, by default "causal".
        normaliser: one of NORMALISERS, by default "softmax".
        sink: whether there is one more key, shown to every query, with a learned score b_sink [layer, H] and value 0.
        values: one of VALUES, by default "linear": v^h(x) = W_V^h x.
        positions: "learned", P; "relative", no P, and scores s^h_{k,q} + b^h_{q−k} with a learned b_relative
            [layer, H, 2L − 1], for q − k from 1 − L to L − 1; "none", neither.
        norm: x̂ = x for "none", x/‖x‖ for "l2", √m x/‖x‖ for "rms", and for "layer" mean 0 and variance 1 over the
            entries of x; without parameters.
        norm_place: "before" attention, MLP and U; "after" attention and MLP: x ← norm(x + ...), and x̂ = x.
        residual: whether attention adds to x or replaces it.
        inputs: p, where inputs are vectors with p entries; None where they are words.
        outputs: the number of entries of the output; None for d.
        distribution: of the entries at `init`, which have mean 0 and variance 1 / fan_in; see Initialisation. fan_in is
            the last number of each shape above.
        dtype: of parameters and computations.
    """

    vocabulary: int | None
    length: int
    width: int
    heads: int = 1
    layers: int = 1
    neurons: int = 0
    scores: Score = Factored()
    mask: Mask = Causal()
    normaliser: Normaliser = Softmax()
    sink: bool = False
    values: Value = LinearValue()
    positions: Literal["learned", "relative", "none"] = "learned"
    norm: Literal["none", "l2", "layer", "rms"] = "none"
    norm_place: Literal["before", "after"] = "before"
    residual: bool = True
    inputs: int | None = None
    outputs: int | None = None
    distribution: Literal["normal", "uniform"] = "normal"
    dtype: Literal["float64", "float32"] = "float64"

    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __post_init__(self):
        for key in ("width", "heads", "layers"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "must be at least 1")
        for key in ("heads", "layers"):
            require(getattr(self, key) <= MOST_PARTS, key, getattr(self, key), f"must be at most {MOST_PARTS}")
        require(self.neurons >= 0, "neurons", self.neurons, "must not be negative")
        require(self.width % self.heads == 0, "heads", self.heads, f"must divide the width, {self.width}")
        if self.vocabulary is None:
            allowed = "must be the number of entries of an input, since the inputs are no words"
            require(self.inputs is not None and self.inputs >= 1, "inputs", self.inputs, allowed)
            allowed = "must be the number of entries of the output, since there is no vocabulary"
            require(self.outputs is not None, "outputs", self.outputs, allowed)
        else:
            allowed = f"must be None, since the inputs are words, of a vocabulary of {self.vocabulary}"
            require(self.inputs is None, "inputs", self.inputs, allowed)
        require(self.outputs is None or self.outputs >= 1, "outputs", self.outputs, "must be at least 1")
        super().__post_init__()

    @property
    def capabilities(self) -> frozenset[str]:
        """See dynamics.models.Model."""
        known = {"weights", "attention", "value_vectors", "states", "edits"}
        known |= {"score_matrices"} if self.scores.bilinear else set()
        known |= {"conserved"} if self._conserved() else set()
        known |= {"noise"} if self.normaliser.random else set()
        return frozenset(known)

    def _conserved(self) -> list[str]:
        return [*self.values.conserved, *self.scores.conserved]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        m, layers = self.width, self.layers
        embedding = {"E": (self.vocabulary, m)} if self.inputs is None else {"W_E": (m, self.inputs)}
        shapes: dict[str, Any] = {**embedding, "U": (self.outputs or self.vocabulary, m)}
        if self.positions == "learned":
            shapes["P"] = (self.length, m)
        if self.neurons:
            shapes |= {"W_1": (layers, self.neurons, m), "W_2": (layers, m, self.neurons)}
        for part, of_part in self._parts().items():
            for name, shape in of_part.items():
                require(name not in shapes, part, name, "is the name of two parameters; rename that of this part")
                shapes[name] = (layers, *shape)
        if self.positions == "relative":
            shapes["b_relative"] = (layers, self.heads, 2 * self.length - 1)
        if self.sink:
            shapes["b_sink"] = (layers, self.heads)
        return shapes

    def _parts(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shapes in one layer of the parameters of the parts that have some."""
        return {"scores": self.scores.shapes(self.width, self.heads), "values": self.values.shapes(self.width)}

    def setup(self):
        """Declare the parameters."""
        weights = {}
        for name, shape in self._shapes().items():
            batch = tuple(range(len(shape) - 2))
            draw = nn.initializers.variance_scaling(1.0, "fan_in", self.distribution, -1, -2, batch)
            weights[name] = self.param(name, draw, shape, jnp.dtype(self.dtype))
        self.weights = weights

    def __call__(
        self, inputs: Int[Array, "n L"] | Float[Array, "n L p"], edits: Edits = MappingProxyType({})
    ) -> tuple[Float[Array, "n L outputs"], dict[str, Any]]:
        """The output and the intermediates.

        Args:
            inputs: words, or vectors.
            edits: {name: f}, where f(layer, array) takes the place of an array where that is made: "attention", p
                [n, H, query, key]; "heads", what each head reads, before W_O [n, query, H, m/H]; "states", the stream
                after a layer [n, L, m]. See dynamics.probes.interventions.

        Returns:
            The output, and {"attention": p [layer, H, key, query, n], "value_vectors": v^h(x̂)
            [layer, H, key, m/H, n], "states": x [layer + 1, n, L, m]}.

        Raises:
            ConfigError: for an edit with another name, and inputs of another kind.
        """
        check_keys(edits, EDITS, "edits.")
        x_NxLxM, U_OxM = self._embedded(inputs), self.weights["U"]
        mask, states, attention, values = self.mask(inputs.shape[1]), [x_NxLxM], [], []
        for layer in range(self.layers):
            read_NxLxM, attended = self._attention(layer, self._normed("before", x_NxLxM), mask, edits)
            x_NxLxM = self._normed("after", x_NxLxM + read_NxLxM if self.residual else read_NxLxM)
            if self.neurons:
                W_1_JxM, W_2_MxJ = self.weights["W_1"][layer], self.weights["W_2"][layer]
                hidden_NxLxJ = jax.nn.gelu(times(W_1_JxM, self._normed("before", x_NxLxM)))
                x_NxLxM = self._normed("after", x_NxLxM + times(W_2_MxJ, hidden_NxLxJ))
            x_NxLxM = _edited(edits, "states", layer, x_NxLxM)
            states.append(x_NxLxM)
            attention.append(attended["attention"])
            values.append(attended["value_vectors"])
        output_NxLxO = times(U_OxM, self._normed("before", x_NxLxM))
        attention_XxHxKxQxN = jnp.transpose(jnp.stack(attention), (0, 2, 4, 3, 1))
        values_XxHxKxExN = jnp.transpose(jnp.stack(values), (0, 3, 2, 4, 1))
        seen = {"attention": attention_XxHxKxQxN, "value_vectors": values_XxHxKxExN, "states": jnp.stack(states)}
        return output_NxLxO, seen

    def _embedded(self, inputs: Array) -> Float[Array, "n L m"]:
        if self.inputs is None:
            allowed = "must be words [n, L], integers, since model.inputs is None"
            words = inputs.ndim == 2 and jnp.issubdtype(inputs.dtype, jnp.integer)
            require(words, "inputs", f"{inputs.dtype}{list(inputs.shape)}", allowed)
            x_NxLxM = self.weights["E"][inputs]
        else:
            allowed = f"must be vectors [n, L, {self.inputs}], since model.inputs is {self.inputs}"
            vectors = inputs.ndim == 3 and inputs.shape[2] == self.inputs
            require(vectors, "inputs", f"{inputs.dtype}{list(inputs.shape)}", allowed)
            W_E_MxP = self.weights["W_E"]
            x_NxLxM = times(W_E_MxP, inputs.astype(W_E_MxP.dtype))
        return x_NxLxM + self.weights["P"][None, : inputs.shape[1]] if self.positions == "learned" else x_NxLxM

    def _normed(self, place: str, x: Float[Array, "n L m"]) -> Float[Array, "n L m"]:
        """The normed x̂ where the norm is at this place, else x."""
        if self.norm == "none" or place != self.norm_place:
            return x
        if self.norm == "layer":
            return jax.nn.standardize(x, axis=-1)
        square = jnp.sum(x**2, axis=-1, keepdims=True)
        unit = x / jnp.sqrt(jnp.where(square == 0, 1, square))
        return unit if self.norm == "l2" else unit * jnp.sqrt(jnp.array(self.width, x.dtype))

    def _attention(
        self, layer: int, x_NxLxM: Float[Array, "n L m"], mask: Bool[Array, "Q K"], edits: Edits
    ) -> tuple[Float[Array, "n L m"], dict[str, Array]]:
        """What attention adds to the stream; p [n, H, Q, K] and v [n, K, H, m/H]."""
        of_scores, of_values = ({name: self.weights[name][layer] for name in part} for part in self._parts().values())
        scores_NxHxQxK = self.scores(of_scores, x_NxLxM, self.heads)
        if self.positions == "relative":
            places = jnp.arange(x_NxLxM.shape[1])
            bias_HxQxK = self.weights["b_relative"][layer][:, places[:, None] - places[None, :] + self.length - 1]
            scores_NxHxQxK = scores_NxHxQxK + bias_HxQxK[None]
        attention_NxHxQxK = _edited(edits, "attention", layer, self._normalised(layer, scores_NxHxQxK, mask))
        values_NxKxHxE = self.values.values(of_values, x_NxLxM, self.heads)
        read_NxQxHxE = jnp.einsum("nhqk,nkhe->nqhe", attention_NxHxQxK, values_NxKxHxE)
        joined_NxQxM = self.values.joined(of_values, _edited(edits, "heads", layer, read_NxQxHxE))
        return joined_NxQxM, {"attention": attention_NxHxQxK, "value_vectors": values_NxKxHxE}

    def _normalised(
        self, layer: int, scores_NxHxQxK: Float[Array, "n H Q K"], mask: Bool[Array, "Q K"]
    ) -> Float[Array, "n H Q K"]:
        """The attention p, with the noise of the stream "noise" if that is given."""
        key = self.make_rng("noise") if self.normaliser.random and self.has_rng("noise") else None
        if not self.sink:
            return self.normaliser(scores_NxHxQxK, mask, key)
        n, heads, queries, _ = scores_NxHxQxK.shape
        b_H = self.weights["b_sink"][layer]
        sink_NxHxQx1 = jnp.broadcast_to(b_H[None, :, None, None], (n, heads, queries, 1))
        scores = jnp.concatenate([scores_NxHxQxK, sink_NxHxQx1], axis=-1)
        return self.normaliser(scores, jnp.concatenate([mask, jnp.ones((queries, 1), bool)], axis=1), key)[..., :-1]

    def bytes_held(self, inputs: tuple[int, ...]) -> int:
        """See Model: the stream and what is read and added in every layer, attention, hidden neurons, and outputs."""
        n, length = inputs[:2]
        of_layer = length * (9 * self.width + 2 * self.neurons) + 3 * self.heads * length**2
        numbers = self.layers * of_layer + 2 * length * (self.outputs or self.vocabulary or 0)
        return n * numbers * jnp.dtype(self.dtype).itemsize

    def score_matrices(self) -> Float[Array, "layer H m m"]:
        """The score matrices W, scores x̂_kᵀ W x̂_q, key × query."""
        return self.scores.matrices(self.weights, self.heads)

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """The labels of each dimension of the model's arrays; "mode" counts the eigenvalues of a score matrix."""
        return {
            "layer": list(range(self.layers)),
            "head": list(range(self.heads)),
            "matrix": sorted(self._shapes()),
            "mode": list(range(self.width)),
            "depth": list(range(self.layers + 1)),
            "conserved": self._conserved(),
        }

    def conserved(self) -> tuple[Balance, ...]:
        """What gradient flow keeps constant of the values and of the scores, of every layer and head.

        Other parts and penalties on the score matrices do not change that.
        """
        weights, heads = self.weights, self.heads
        return (*self.values.balances(weights, heads), *self.scores.balances(weights, heads))


def _edited(edits: Edits, name: str, layer: int, array: Array) -> Array:
    return edits[name](layer, array) if name in edits else array
