"""Starts: named keys, and the parameters and training sets that they determine."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from dynamics.models import Initialisation
from dynamics.objectives.objective import Objective
from dynamics.objectives.regularisers import Regulariser
from dynamics.probes import Survey
from dynamics.tasks import Task

KEYS = ("data", "init", "noise")
OWN_KEY = -1  # the draw of a path that has the noise key itself


class StartInputs(NamedTuple):
    """The inputs of a start; traced, so that other values do not recompile.

    Attributes:
        seed: of the keys of data, initialisation and noise.
        draw: of the noise, see noise_key.
        initialisation, regulariser: of the experiment.
        width: m of a start that is drawn in Gram matrices; weights have it in their shapes.
    """

    seed: int
    draw: int
    initialisation: Initialisation
    regulariser: Regulariser | None
    width: float


@jax.jit
def named_keys(seed: Any) -> dict[str, PRNGKeyArray]:
    """The keys of data, initialisation and noise."""
    return {name: jax.random.fold_in(jax.random.key(seed), i) for i, name in enumerate(KEYS)}


@jax.jit
def noise_key(seed: Any, draw: Any) -> PRNGKeyArray:
    """The key of a draw of the noise: fold_in(key, draw) of the key "noise", and that key itself for OWN_KEY."""
    key = named_keys(seed)["noise"]
    data: Array = jnp.where(
        draw == OWN_KEY, jax.random.key_data(key), jax.random.key_data(jax.random.fold_in(key, draw))
    )
    return jax.random.wrap_key_data(data)


@functools.partial(jax.jit, static_argnames=("task", "model", "fresh"))
def draw_start(inputs: StartInputs, *, task: Task, model: Any, fresh: bool) -> tuple[PyTree, Objective, Survey]:
    """The parameters at t = 0, the objective, and what else probes look at."""
    keys = named_keys(inputs.seed)
    batch = task.training_set(keys["data"])
    if inputs.initialisation.draw == "gram":
        params, constants = inputs.initialisation.gram(model, inputs.width, keys["init"])
    else:
        params, constants = inputs.initialisation(model, keys["init"], batch.tokens[:1])
    objective = Objective(model, constants, batch, task.loss, inputs.regulariser)
    return params, objective, Survey.of(task, batch, fresh)


@functools.lru_cache(maxsize=256)  # tracing takes milliseconds, and a sweep has many members of one shape
def abstract_start(structure: Any, kinds: tuple[type, ...], task: Any, model: Any, fresh: bool) -> Any:
    """The shapes of what draw_start gives, in the variables of a law.

    Args:
        structure: of (law, inputs of the start).
        kinds: the types of their leaves.
        task: see draw_start.
        model: see draw_start.
        fresh: see draw_start.
    """
    law, inputs = jax.tree.unflatten(structure, [kind(1) for kind in kinds])
    params, objective, survey = draw_start.eval_shape(inputs, task=task, model=model, fresh=fresh)
    return *jax.eval_shape(law.variables, params, objective), survey
