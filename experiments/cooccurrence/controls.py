"""Set-ups in which statements about the word co-occurrence task must not hold. Importing this module registers them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

import dynamics
from dynamics.laws import GramFlow, ModifiedFlow
from dynamics.objectives.objective import Objective
from dynamics.tasks.cooccurrence import COMMON, SIGNALS

__all__ = ["Contradiction", "FrozenAttention", "NoCommonToken", "ShuffledLabels", "UnbalancedLabels", "WrongSign"]


@dataclass(frozen=True)
class ShuffledLabels(dynamics.Cooccurrence):
    """The training labels do not depend on the words."""

    def training_set(self, key):
        """That of the task, its labels permuted."""
        batch = super().training_set(key)
        return batch._replace(label=jax.random.permutation(jax.random.fold_in(key, 2), batch.label))


@dataclass(frozen=True)
class Contradiction(ShuffledLabels):
    """Shuffled labels, and one random word for all: equal samples with opposite labels, which no model can separate."""

    def training_set(self, key):
        """Every random word becomes μ4."""
        batch = super().training_set(key)
        return batch._replace(tokens=jnp.minimum(batch.tokens, SIGNALS))


@dataclass(frozen=True)
class NoCommonToken(dynamics.Cooccurrence):
    """No word is in every sample: a random word stands where μ3 would."""

    def training_set(self, key):
        """μ3 becomes a random word, drawn anew for every sample."""
        batch = super().training_set(key)
        other = jax.random.randint(
            jax.random.fold_in(key, 2), batch.tokens.shape, SIGNALS, len(self.word_names), jnp.int32
        )
        return batch._replace(tokens=jnp.where(batch.tokens == COMMON, other, batch.tokens))


@dataclass(frozen=True)
class UnbalancedLabels(dynamics.Cooccurrence):
    """The samples without a target have y = +1: two thirds of the labels are positive, and the task is another."""

    def training_set(self, key):
        """I4 becomes positive."""
        batch = super().training_set(key)
        return batch._replace(label=jnp.where(batch.type == len(self.types) - 1, 1, batch.label))


class FrozenAttention(GramFlow):
    """Gradient flow of W_V and W alone."""

    def velocity(self, objective: Objective, params: PyTree) -> PyTree:
        """W_K and W_Q stay."""
        velocity = super().velocity(objective, params)
        return {**velocity, **{name: jnp.zeros_like(params[name]) for name in ("A", "C_K", "C_Q")}}


class WrongSign(ModifiedFlow):
    """dθ/dt = -∇(L - (η/4) |∇L|²): the correction of the modified flow, subtracted."""

    def velocity(self, objective: Objective, params: PyTree) -> PyTree:
        """The other side of the flow."""
        flow, modified = objective.velocity(params), super().velocity(objective, params)
        return jax.tree.map(lambda v, w: 2 * v - w, flow, modified)


dynamics.TASKS.update(
    shuffled_labels=ShuffledLabels,
    contradiction=Contradiction,
    no_common_token=NoCommonToken,
    unbalanced_labels=UnbalancedLabels,
)
dynamics.LAWS.update(frozen_attention=FrozenAttention, wrong_sign=WrongSign)
