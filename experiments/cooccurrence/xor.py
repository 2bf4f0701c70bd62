"""Co-occurrence as XOR, which word counts cannot solve: y = +1 exactly when one of μ1 and μ2 occurs, but not both."""

import jax.numpy as jnp

import dynamics
from dynamics.tasks.cooccurrence import CooccurrenceTask


class ExactlyOne(CooccurrenceTask):
    """y = +1 when exactly one of μ1 and μ2 occurs: a third of the samples, those of the types I2 and I3."""

    def training_set(self, key):
        """The words of the co-occurrence task with these labels."""
        return _labelled(self.exact_set(key))

    def sample(self, key, n, source=None):
        """New samples with these labels."""
        return _labelled(super().sample(key, n, source))


def _labelled(batch):
    return batch._replace(label=jnp.where((batch.type == 1) | (batch.type == 2), 1, -1).astype(batch.label.dtype))


dynamics.TASKS.update(exactly_one=ExactlyOne)
