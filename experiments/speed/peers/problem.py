"""A problem written down for the peers: start, samples, times, and the first minibatches."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.laws.descent import Descent
from dynamics.runs.experiment import Experiment
from experiments.speed.peers.side import write_problem


def write(experiment: Experiment, law: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Store the problem of an experiment with one law.

    Args:
        experiment: with a law that has the settings `law`.
        law: its settings, as in the config.
        folder: where to.
    """
    start, objective = experiment.start
    settings = {"law": dict(law), "heads": experiment.model.heads, "model": type(experiment.model).__name__}
    arrays = {f"start.{name}": np.asarray(matrix) for name, matrix in start.items()}
    arrays |= {name: np.asarray(array) for name, array in objective.constants.items()}
    more = {"inputs": objective.batch.inputs, "targets": objective.batch.targets, "times": experiment.times}
    arrays |= {name: np.asarray(array) for name, array in more.items()}
    for moved in experiment.laws.values():
        if isinstance(moved, Descent) and moved.batch_size is not None:
            arrays["rows"] = np.asarray(_minibatches(moved, moved.batch_size, experiment))
    write_problem(folder, settings, arrays)


def _minibatches(law: Descent, size: int, experiment: Experiment) -> Any:
    """The rows of the training set in the minibatches of all steps, as Objective.minibatch_loss draws them."""
    _, objective = experiment.start
    steps = jnp.arange(int(law.steps_at(jnp.asarray(experiment.times[-1:]))[0]))

    def drawn(k: Any) -> Any:
        key = jax.random.fold_in(experiment.noise_key, k)
        return jnp.sort(jax.random.choice(key, objective.samples, (size,), law.replacement))

    return jax.vmap(drawn)(steps)
