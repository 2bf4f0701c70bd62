"""Controls: tasks and laws for which claims about word co-occurrence must fail. An import registers them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

import dynamics
from dynamics.config import require
from dynamics.laws import Adam, Flow, Law, RMSProp
from dynamics.laws.flow import modified_velocity
from dynamics.laws.optimizers import AdamMoments, MeanSquare
from dynamics.objectives.objective import Objective
from dynamics.tasks.cooccurrence import COMMON, FIRST_TARGET, SECOND_TARGET, SIGNALS, CooccurrenceTask

ALL_BUT_ATTENTION = ("W", "W_V")  # the group train.only of a config or a law with W_K and W_Q frozen


class ShuffledLabels(CooccurrenceTask):
    """The training labels do not depend on the words."""

    def training_set(self, key):
        """The training set of the task with permuted labels."""
        return shuffled(self.exact_set(key), key)


def shuffled(batch, key):
    """A batch whose labels are permuted."""
    return batch._replace(targets=jax.random.permutation(jax.random.fold_in(key, 2), batch.targets))


class Contradiction(CooccurrenceTask):
    """Shuffled labels and a single random word, so that some equal samples have opposite labels."""

    def training_set(self, key):
        """The labels are permuted, and every random word becomes μ4."""
        batch = shuffled(self.exact_set(key), key)
        return batch._replace(inputs=jnp.minimum(batch.inputs, SIGNALS))


class NoCommonToken(CooccurrenceTask):
    """No word is in every sample: a random word replaces μ3."""

    def training_set(self, key):
        """Every μ3 becomes a random word."""
        batch = self.exact_set(key)
        other = jax.random.randint(
            jax.random.fold_in(key, 2), batch.inputs.shape, SIGNALS, len(self.word_names), jnp.int32
        )
        return batch._replace(inputs=jnp.where(batch.inputs == COMMON, other, batch.inputs))


class UnbalancedLabels(CooccurrenceTask):
    """The samples without a target have y = +1: two thirds of the labels are positive, which changes the task."""

    def training_set(self, key):
        """The labels of I4 become positive."""
        batch = self.exact_set(key)
        return batch._replace(targets=jnp.where(batch.type == len(self.types) - 1, 1, batch.targets))


class UnequalTargets(CooccurrenceTask):
    """Three times as many samples with μ1 alone as with μ2 alone; Assumption 2.3 has as many."""

    def training_set(self, key):
        """In every other sample of I3, μ1 replaces μ2."""
        batch = self.exact_set(key)
        swapped = (batch.type == 2) & (jnp.arange(self.samples) % 2 == 0)
        targets = (batch.inputs == SECOND_TARGET) & swapped[:, None]
        tokens = jnp.where(targets, FIRST_TARGET, batch.inputs)
        return batch._replace(inputs=tokens, type=jnp.where(swapped, 1, jnp.asarray(batch.type)))


class FixedTimeAdam(AdamMoments):
    """Adam whose means are over a fixed time instead of a fixed number of steps: β^(1/η) is the same at every step η.

    Its means lag behind the gradient by a time that does not vanish with η.
    """

    optimizer = Adam.optimizer

    def at_step(self, step: float) -> Law:
        """The same law with the learning rate that makes this step, and the same time of averaging."""
        power = step / self.learning_rate
        beta1, beta2 = self.beta1**power, self.beta2**power
        return dataclasses.replace(self, learning_rate=step, beta1=beta1, beta2=beta2)


class FixedTimeRMSProp(MeanSquare):
    """RMSProp whose mean is over a fixed time instead of a fixed number of steps; see FixedTimeAdam."""

    optimizer = RMSProp.optimizer

    def at_step(self, step: float) -> Law:
        """The same law with the learning rate that makes this step, and the same time of averaging."""
        return dataclasses.replace(self, learning_rate=step, decay=self.decay ** (step / self.learning_rate))


class WrongSign(Flow):
    """dθ/dt = -∇(L - (η/4) |∇L|²): the modified flow with its correction subtracted instead of added.

    Attributes:
        learning_rate: η.
    """

    learning_rate: float = eqx.field(kw_only=True)

    def __check_init__(self):
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be positive")

    def at_step(self, step: float) -> Law:
        """The flow for gradient descent with this step."""
        return dataclasses.replace(self, learning_rate=step)

    def velocity(self, objective: Objective, params: PyTree) -> PyTree:
        """-∇(L - (η/4) |∇L|²)."""
        return modified_velocity(objective, params, -self.learning_rate)


dynamics.TASKS.update(
    shuffled_labels=ShuffledLabels,
    contradiction=Contradiction,
    no_common_token=NoCommonToken,
    unbalanced_labels=UnbalancedLabels,
    unequal_targets=UnequalTargets,
)
dynamics.LAWS.update(
    fixed_time_adam=FixedTimeAdam,
    fixed_time_rmsprop=FixedTimeRMSProp,
    wrong_sign=WrongSign,
)
