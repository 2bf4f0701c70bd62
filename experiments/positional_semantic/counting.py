"""Counting by position and by meaning: a layer of attention that says how often each symbol occurs in its sequence.

A token is two halves, a = E[symbol] and b = P[place]. One head, without residual, and an MLP:

    o_q = Σ_k p_qk V a_k,   p = softmax((a Q_a + b Q_b)(a K_a + b K_b)ᵀ/√m),   F = MLP(norm(o)).

Attention from one half alone has Q and K of the other half frozen at zero. To give it both halves afterwards is to
set them free: a reparametrisation that leaves the function as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

import dynamics

HALVES = {"symbols": ("Q_symbols", "K_symbols"), "places": ("Q_places", "K_places")}
import os

SHARP = float(os.environ.get("SHARP", "0.6"))


@dataclass(frozen=True)
class Counting(dynamics.Task):
    """Sequences of symbols, each with probabilities of its own, softmax(2 ζ) with normal ζ; targets: counts minus one.

    Attributes:
        samples: n, sequences that stand for the distribution.
        length: L, of a sequence.
        symbols: T.
    """

    length: int = 10
    symbols: int = 15

    loss: ClassVar[str] = "cross_entropy"
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"inputs": ("place",), "targets": ("place",)}
    capabilities: ClassVar[frozenset[str]] = frozenset({"classes"})

    @property
    def sizes(self) -> dict[str, Any]:
        """L and T."""
        return {"length": self.length, "symbols": self.symbols}

    def sample(self, key: PRNGKeyArray, n: int, source: PyTree = None) -> dynamics.Batch:
        """New sequences."""
        of_sequence, of_place = jax.random.split(key)
        logits_Nx1xT = 2 * jax.random.normal(of_sequence, (n, 1, self.symbols), jnp.float32)
        words_NxL = jax.random.categorical(of_place, logits_Nx1xT, shape=(n, self.length)).astype(jnp.int32)
        counts_NxL = jnp.sum(words_NxL[:, :, None] == words_NxL[:, None, :], axis=-1, dtype=jnp.int32)
        return dynamics.Batch(words_NxL, counts_NxL - 1, source=source)


class CountingHead(dynamics.Model):
    """See above; `half` says which of Q and K are not zero at t = 0: those of "symbols" or of "places"."""

    length: int
    symbols: int
    half: Literal["symbols", "places"] = "symbols"
    width: int = 32
    hidden: int = 128
    dtype: Literal["float64", "float32"] = "float32"

    @nn.compact
    def __call__(self, words: Int[Array, "n L"]) -> tuple[Float[Array, "n L c"], dict[str, Any]]:
        """Logits of the counts, and p."""
        dtype, m = jnp.dtype(self.dtype), self.width

        def matrix(name: str, rows: int, scale: float = 1.0) -> Array:
            return self.param(name, lambda key: scale * jax.random.normal(key, (rows, m), dtype) * rows**-0.5)

        a_NxLxM = matrix("E", self.symbols, self.symbols**0.5)[words]
        b_LxM = matrix("P", self.length, self.length**0.5)
        first = {half: matrix(f"first_{half}", m) for half in ()}
        Qs = {
            half: self.param(
                f"Q_{half}",
                lambda key, half=half: (half == self.half) * SHARP * jax.random.normal(key, (m, m), dtype) * m**-0.5,
            )
            for half in HALVES
        }
        Ks = {half: self.param(f"K_{half}", lambda key, half=half: Qs[half]) for half in HALVES}
        query, key = (a_NxLxM @ W["symbols"] + (b_LxM @ W["places"])[None] for W in (Qs, Ks))
        p_NxQxK = jax.nn.softmax(jnp.einsum("nqm,nkm->nqk", query, key) * m**-0.5, axis=-1)
        o_NxQxM = jnp.einsum("nqk,nkm->nqm", p_NxQxK, a_NxLxM @ matrix("V", m))
        o_NxQxM = nn.LayerNorm(param_dtype=dtype, dtype=dtype)(o_NxQxM)
        hidden = nn.relu(nn.Dense(self.hidden, param_dtype=dtype, dtype=dtype)(o_NxQxM))
        return nn.Dense(self.length, param_dtype=dtype, dtype=dtype)(hidden), {"p": p_NxQxK}


@dynamics.probe(evaluation=True)
def accuracy(params: PyTree, view: dynamics.View) -> Array:
    """The share of right counts on new sequences."""
    batch = view.survey.evaluation
    output = view.objective.apply(params, batch.inputs)[0]
    return jnp.mean(jnp.argmax(output, axis=-1) == batch.targets, dtype=output.dtype)


@dynamics.probe(evaluation=True)
def by_place(params: PyTree, view: dynamics.View) -> Array:
    """The share of the variance of p between different places that the two places explain: 1 if nothing else counts."""
    p_NxQxK = view.objective.apply(params, view.survey.evaluation.inputs)[1]["p"]
    length = p_NxQxK.shape[-1]
    apart = (1 - jnp.eye(length, dtype=p_NxQxK.dtype)) / (length * (length - 1))
    centred = p_NxQxK - jnp.sum(apart[None] * p_NxQxK, axis=(1, 2), keepdims=True).mean()
    return jnp.sum(apart * centred.mean(axis=0) ** 2) / jnp.sum(apart * jnp.mean(centred**2, axis=0))


dynamics.TASKS["counting"] = Counting
dynamics.MODELS["counting_head"] = CountingHead
