"""Counting by position and by meaning: a layer of attention that says how often each symbol occurs in its sequence.

A token is two halves, a = E[symbol] and b = P[place]. One head, without residual, and an MLP:

    o_q = Σ_k p_qk V a_k,   p = softmax((a Q + b Q')(a K + b K')ᵀ/√m),   F = MLP(norm(o)).

Attention from one half alone has Q and K of the other half frozen at zero. To give it both halves afterwards is to
set them free: a reparametrisation that leaves the function as it is.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

import dynamics
from dynamics.probes.probe import evaluator
from dynamics.studies.evidence import Evidence

ARMS = ("symbols", "places", "neither")  # what attention sees at first
SHARP = 0.6  # the size of Q at t = 0, so that a token attends to its like more than to others
FREED = 0.005  # the step of SGD with both halves; one of 0.05 is too large, and the loss goes up at once
LEARNT = ("loss", "accuracy", "by_meaning")


@dataclasses.dataclass(frozen=True)
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
    capabilities: ClassVar[frozenset[str]] = frozenset({"classes", "counts"})

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
    """See above. `seen` names the half whose Q and K are not zero at t = 0, where K = Q; "neither" has none."""

    length: int
    symbols: int
    seen: Literal["symbols", "places", "neither"] = "symbols"
    width: int = 32
    dtype: Literal["float64", "float32"] = "float32"

    @nn.compact
    def __call__(self, words: Int[Array, "n L"]) -> tuple[Float[Array, "n L c"], dict[str, Any]]:
        """Logits of the counts, and p."""
        dtype, m = jnp.dtype(self.dtype), self.width
        typed: Any = {"dtype": dtype, "param_dtype": dtype}

        def matrix(name: str, rows: int, scale: float) -> Array:
            return self.param(name, lambda key: scale * jax.random.normal(key, (rows, m), dtype))

        a_NxLxM = matrix("E", self.symbols, 1.0)[words]
        query, key = jnp.zeros_like(a_NxLxM), jnp.zeros_like(a_NxLxM)
        for half, tokens in (("symbols", a_NxLxM), ("places", matrix("P", self.length, 1.0)[None])):
            Q = matrix(f"Q_{half}", m, (half == self.seen) * SHARP * m**-0.5)
            K = self.param(f"K_{half}", lambda key, Q=Q: Q)
            query, key = query + tokens @ Q, key + tokens @ K
        p_NxQxK = jax.nn.softmax(jnp.einsum("nqm,nkm->nqk", query, key) * m**-0.5, axis=-1)
        o_NxQxM = jnp.einsum("nqk,nkm->nqm", p_NxQxK, nn.Dense(m, use_bias=False, **typed)(a_NxLxM))
        hidden = nn.relu(nn.Dense(4 * m, **typed)(nn.LayerNorm(**typed)(o_NxQxM)))
        return nn.Dense(self.length, **typed)(hidden), {"p": p_NxQxK}


@dynamics.probe(needs=("counts",))
def accuracy(params: PyTree, view: dynamics.View) -> Array:
    """The share of right counts, on sequences that no minibatch has."""
    output = view.objective.output(params)
    return jnp.mean(jnp.argmax(output, axis=-1) == view.objective.batch.targets, dtype=output.dtype)


@dynamics.probe(needs=("counts",))
def by_meaning(params: PyTree, view: dynamics.View) -> Array:
    """Attention to another token of the same symbol over that to the token itself, both above the mean of the rest.

    Over all such pairs of a query and a key: 1 where only symbols count, 0 where only places do.
    """
    words_NxL = view.objective.batch.inputs
    p_NxQxK = view.objective.apply(params, words_NxL)[1]["p"]
    like_NxQxK = words_NxL[:, :, None] == words_NxL[:, None, :]
    rest_NxQx1 = jnp.mean(p_NxQxK, axis=-1, where=~like_NxQxK, keepdims=True)
    itself_NxQx1 = jnp.diagonal(p_NxQxK, axis1=1, axis2=2)[..., None]
    seen_NxQxK = like_NxQxK & ~jnp.eye(words_NxL.shape[1], dtype=bool)[None] & ~like_NxQxK.all(axis=-1, keepdims=True)
    of_itself = jnp.sum(jnp.where(seen_NxQxK, itself_NxQx1 - rest_NxQx1, 0))
    return jnp.sum(p_NxQxK - rest_NxQx1, where=seen_NxQxK) / of_itself


def _config(seen: str, seed: int, steps: int) -> Any:
    config = dynamics.base()
    config.update(seed=seed, dtype="float32", probes=LEARNT)
    config.task, config.data.regime = {"name": "counting", "samples": 1000}, "fresh"
    config.model, config.init.name = {"name": "counting_head", "seen": seen}, "model"
    config.train.only = ("E", "P", "LayerNorm*", "Dense*", *(f"?_{seen}" for _ in range(seen != "neither")))
    config.laws = {"adam": {"name": "adam", "learning_rate": 0.002, "batch_size": 64}}
    config.times.update(spacing="linear", start=0.002 * steps / 8, stop=0.002 * steps, count=8)
    return config


def two_ways(seeds: int, first: int, steps: int, freed: int) -> Evidence:
    """Every arm, trained by Adam with one half, and then by SGD with both.

    Args:
        seeds: how many.
        first: the first seed.
        steps: of Adam.
        freed: of SGD, with the step FREED.
    """
    sgd, rows = dynamics.StochasticGradientDescent(FREED, batch_size=64), []
    times = jnp.linspace(0, FREED * freed, 5, dtype=jnp.float32)

    @jax.jit
    def go_on(params: PyTree, objective: Any, survey: Any, key: PRNGKeyArray) -> Any:
        view = dynamics.View(objective, survey, params, 1)
        return sgd(objective, params, times, evaluator(LEARNT, view), key).probes

    for arm in ARMS:
        for seed in range(first, first + seeds):
            experiment = dynamics.Experiment.from_config(_config(arm, seed, steps).to_dict())
            learnt = dynamics.solve(experiment, "adam")
            _, objective, survey = experiment.drawn
            objective = dataclasses.replace(objective, trained=dynamics.Trained())
            later = go_on(learnt.params, objective, survey, jax.random.key(seed))
            rows.append([np.concatenate([learnt.probes[name], later[name][1:]]) for name in LEARNT])
    values = np.array(rows).reshape(len(ARMS), seeds, len(LEARNT), -1)
    steps_at = np.concatenate([np.linspace(0, steps, 9), steps + np.linspace(0, freed, 5)[1:]])
    labels = {"arm": list(ARMS), "steps": steps_at.tolist()}
    return {name: (("arm", "seed", "steps"), values[:, :, i]) for i, name in enumerate(LEARNT)}, labels, {}


dynamics.TASKS["counting"] = Counting
dynamics.MODELS["counting_head"] = CountingHead
