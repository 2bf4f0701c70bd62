"""Co-occurrence as XOR, which word counts cannot solve: y = +1 exactly when one of μ1 and μ2 occurs, but not both.

An import registers the task, its control with shuffled labels, and the probe of the error on fresh samples.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

import dynamics
from dynamics.probes import View, probe
from dynamics.tasks.cooccurrence import CooccurrenceTask


class ExactlyOne(CooccurrenceTask):
    """y = +1 when exactly one of μ1 and μ2 occurs: a third of the samples, those of the types I2 and I3."""

    def training_set(self, key):
        """The words of the co-occurrence task with these labels."""
        return _labelled(self.exact_set(key))

    def sample(self, key, n, source=None):
        """New samples with these labels."""
        return _labelled(super().sample(key, n, source))


class ShuffledExactlyOne(ExactlyOne):
    """The training labels do not depend on the words; those of new samples do."""

    def training_set(self, key):
        """The training set with permuted labels."""
        batch = super().training_set(key)
        return batch._replace(targets=jax.random.permutation(jax.random.fold_in(key, 2), batch.targets))


def _labelled(batch):
    return batch._replace(targets=jnp.where((batch.type == 1) | (batch.type == 2), 1, -1).astype(batch.targets.dtype))


@probe(needs=("signed_targets",), evaluation=True)
def fresh_error(params: PyTree, view: View) -> Array:
    """The share of fresh samples that are classified wrongly, y F(X) ≤ 0."""
    fresh = view.survey.evaluation
    assert fresh is not None  # the probe asks for them
    output = view.objective.apply(params, fresh.inputs)[0]
    return jnp.mean(fresh.targets.astype(output.dtype) * output <= 0, dtype=output.dtype)


dynamics.TASKS.update(exactly_one=ExactlyOne, shuffled_exactly_one=ShuffledExactlyOne)
