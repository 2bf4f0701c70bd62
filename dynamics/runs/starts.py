"""Starts: named keys, and the parameters and training sets that they determine."""

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from dynamics.models import Initialisation
from dynamics.models.model import by_name
from dynamics.objectives.objective import Objective
from dynamics.objectives.parameters import Trained
from dynamics.objectives.regularisers import Regulariser
from dynamics.probes import Survey
from dynamics.tasks import Batch, Task

KEYS = ("data", "init", "noise")
SAMPLE, EVALUATION = 1, 0  # of fold_in(data key, SAMPLE), the sample for a distribution; and of key(EVALUATION)
OWN_KEY = -1  # the draw of a path that has the noise key itself


Regime = Literal["fixed", "fresh", "population"]


@dataclass(frozen=True)
class Setup:
    """What is drawn, apart from numbers.

    Attributes:
        task, model: which.
        loss: its name.
        regime: what is descended: "fixed", a training set; "population", the distribution of samples, by its loss in
            closed form or else by the mean loss of a large sample; "fresh", the same, but minibatches are new samples.
        evaluation: how many samples the evaluation set has; 0 if no probe looks at it.
    """

    task: Task
    model: Any
    loss: str
    regime: Regime
    evaluation: int


class StartInputs(NamedTuple):
    """The inputs of a start; traced, so that other values do not recompile.

    Attributes:
        seed: of the keys of data, initialisation and noise.
        draw: of the noise, see noise_key.
        initialisation, regulariser, trained: of the experiment.
        width: m of a start that is drawn in Gram matrices; weights have it in their shapes.
    """

    seed: int
    draw: int
    initialisation: Initialisation
    regulariser: Regulariser | None
    trained: Trained
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


@functools.partial(jax.jit, static_argnames=("setup",))
def draw_start(inputs: StartInputs, *, setup: Setup) -> tuple[PyTree, Objective, Survey]:
    """The parameters at t = 0, the objective, and what else probes look at."""
    keys, task, model = named_keys(inputs.seed), setup.task, setup.model
    batch = task.training_set(keys["data"])
    if setup.regime != "fixed":
        batch = task.sample(jax.random.fold_in(keys["data"], SAMPLE), task.samples, batch.source)
    if inputs.initialisation.draw == "gram":
        params, constants = inputs.initialisation.gram(model, inputs.width, keys["init"])
    else:
        params, constants = inputs.initialisation(model, keys["init"], _first(batch))
        params = inputs.trained.tie(params)
    objective = Objective(
        model,
        constants,
        batch,
        setup.loss,
        inputs.regulariser,
        inputs.trained,
        task=None if setup.regime == "fixed" else task,
        fresh=setup.regime == "fresh",
    )
    evaluation = None
    if setup.evaluation:
        evaluation = task.evaluation_set(jax.random.key(EVALUATION), setup.evaluation, batch.source)
    return params, objective, Survey.of(task, batch, evaluation)


def _first(batch: Batch) -> PyTree:
    """The inputs of one sample, for their shape."""
    return jax.tree.map(lambda array: array[:1], batch.inputs)


@functools.lru_cache(maxsize=256)  # tracing takes milliseconds, and a sweep has many members of one shape
def weight_shapes(task: Task, model: Any) -> dict[str, tuple[int, ...] | None]:
    """{name: shape} of the weights of a model; None for shapes that its variables do not tell."""
    if "weights" not in model.capabilities:
        return dict.fromkeys(model.weights)
    key = jax.random.key(0)
    variables = jax.eval_shape(lambda: model.init(key, _first(task.training_set(key))))
    return {name: leaf.shape for name, leaf in by_name(variables["params"]).items()}


@functools.lru_cache(maxsize=256)
def abstract_draw(structure: Any, kinds: tuple[type, ...], setup: Setup) -> Any:
    """The shapes of what draw_start gives; arguments as for abstract_start."""
    _, of_inputs = structure
    inputs = jax.tree.unflatten(of_inputs, [kind(1) for kind in kinds])
    return draw_start.eval_shape(inputs, setup=setup)


@functools.lru_cache(maxsize=256)
def abstract_start(structure: Any, kinds: tuple[type, ...], setup: Setup) -> Any:
    """The shapes of what draw_start gives, in the variables of a law.

    Args:
        structure: (the function Law.variables, the structure of the inputs of the start); laws of the same variables
            share what is found.
        kinds: the types of the leaves of the inputs.
        setup: see draw_start.
    """
    variables, _ = structure
    params, objective, survey = abstract_draw(structure, kinds, setup)
    return *jax.eval_shape(variables, params, objective), survey
