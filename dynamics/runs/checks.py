"""What an experiment must be: the parts of its config fit together, before anything compiles or is written."""

import functools
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dynamics.config import ConfigError, require, under
from dynamics.laws import Flow
from dynamics.models.model import by_name
from dynamics.objectives.losses import LOSSES
from dynamics.objectives.objective import Objective
from dynamics.probes import PROBES, View, as_recorded, coordinates, evaluator
from dynamics.runs.starts import Setup, abstract_draw, abstract_start, weight_shapes
from dynamics.tasks import Task

TIGHTER = 100  # certifying divides a flow's tolerances by it
TIGHTEST = 1e-11  # the smallest rtol that can be certified
WIDEST = 10**6  # weights have a row for every unit of width
MOST_SAMPLES, MOST_LABELS = 10**7, 10**6  # positions and words have labels, which Python lists
LARGEST_GB = 1000.0  # of a start with its data, and of what a law records


def check_experiment(experiment: Any, regulariser: str | None) -> None:
    """Refuse what does not fit together: sizes, starts, parameters, probes, shapes.

    Args:
        experiment: a dynamics.Experiment.
        regulariser: its name in the config.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    check_numbers(experiment)
    _check_start(experiment)
    _check_parameters(experiment)
    for name in experiment.laws:
        start = abstract_draw(*experiment.structure(name), experiment.setup)
        _check_gigabytes("a start", jax.tree.leaves(start), 1)
    _check_probes(experiment, regulariser)
    for name in experiment.laws:
        structure, kinds = experiment.structure(name)
        check_shapes(structure, kinds, experiment.setup, experiment.probes_of(name), experiment.words)
        arrays = _observed(structure, kinds, experiment.setup, experiment.probes_of(name), experiment.words)
        for probe, array in arrays.items():
            rows = experiment.checkpoints + 1 if PROBES[probe].large else len(experiment.times)
            _check_gigabytes(f"the values of the probe {probe!r}", [array], rows)


def check_numbers(experiment: Any) -> None:
    """Refuse what depends on the numbers in laws: times that they do not reach, tolerances that cannot be certified.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    for name, law in experiment.laws.items():
        with under(f"laws.{name}."):
            type(law).check_times(law, experiment.times)  # by the class, see Experiment._traits
    _check_sizes(experiment)
    if experiment.certify:
        _check_certifiable(experiment)


def check_task_sizes(task: Task) -> None:
    """Refuse a task with more samples, positions or words than can be listed."""
    require(task.samples <= MOST_SAMPLES, "task.samples", task.samples, f"must be at most {MOST_SAMPLES}")
    for key, size in task.sizes.items():
        require(size is None or size <= MOST_LABELS, f"task.{key}", size, f"must be at most {MOST_LABELS}")


def _check_gigabytes(what: str, arrays: Sequence[Any], rows: int) -> None:
    """Refuse what no machine could hold, before it is allocated: `rows` times these arrays."""
    gigabytes = rows * sum(math.prod(array.shape) * 8 for array in arrays) / 1e9
    require(gigabytes <= LARGEST_GB, f"gigabytes of {what}", float(f"{gigabytes:.3g}"), f"must be at most {LARGEST_GB}")


def _check_sizes(experiment: Any) -> None:
    count = len(experiment.times) - 1
    allowed = f"must be 1 to {count}, the number of saved times"
    require(1 <= experiment.checkpoints <= count, "checkpoints", experiment.checkpoints, allowed)


def _check_certifiable(experiment: Any) -> None:
    flows = {name: law for name, law in experiment.laws.items() if isinstance(law, Flow)}
    require(bool(flows), "certify", True, "needs a flow among the laws")
    allowed = f"must be at least {TIGHTEST} with certify, which solves again {TIGHTER} times tighter"
    for name, law in flows.items():
        taken = f"must have another name: with certify, it is that of the errors of laws.{name}"
        require(f"{name}_error" not in experiment.laws, f"laws.{name}_error", f"{name}_error", taken)
        require(law.rtol >= TIGHTEST, f"laws.{name}.rtol", law.rtol, allowed)


def _check_start(experiment: Any) -> None:
    """Refuse a start that cannot be drawn, or that some law cannot move."""
    drawn, capabilities = experiment.initialisation.draw, experiment.model.capabilities
    if "gram" in capabilities:
        allowed = f"must be at most {WIDEST} with init.draw='weights'; 'gram' has no such limit"
        require(drawn == "gram" or experiment.model.width <= WIDEST, "model.width", experiment.model.width, allowed)
    allowed = "must be 'weights' for a model without Gram matrices"
    require(drawn == "weights" or "gram" in capabilities, "init.draw", drawn, allowed)
    for name, law in experiment.laws.items():
        for need in law.needs:
            allowed = f"must be 'weights': laws.{name} moves weights"
            require(drawn == "weights" or need in experiment.start_model.capabilities, "init.draw", drawn, allowed)
            allowed = f"needs a model with the capability {need!r}; this model has {_listed(capabilities)}"
            require(need in experiment.start_model.capabilities, f"laws.{name}.name", type(law).__name__, allowed)


def _check_parameters(experiment: Any) -> None:
    """Refuse names of parameters that the model lacks, and combinations of laws, data and ties that do not work."""
    shapes = weight_shapes(experiment.task, experiment.start_model)
    with under("init."):
        experiment.initialisation.check(shapes)
    groups = {"": experiment.trained, **{f"laws.{law}.": own for law, own in experiment.trained_by.items()}}
    for path, trained in groups.items():
        with under(f"{path}train."):
            trained.check(shapes)
    if experiment.regulariser is not None:
        with under("regulariser."):
            experiment.regulariser.check(shapes)
    for name, law in experiment.laws.items():
        allowed = f"must be 'fixed' or 'fresh' with the minibatches of laws.{name}"
        whole = experiment.regime != "population" or not law.draws_samples
        require(whole, "data.regime", experiment.regime, allowed)
        tied = experiment.trained_of(name).tied
        key = f"laws.{name}.train.tied" if name in experiment.trained_by else "train.tied"
        require("weights" in law.needs or not tied, key, tied, f"must be empty for laws.{name}")


def _check_probes(experiment: Any, regulariser: str | None) -> None:
    """Refuse a regulariser that some law cannot have, and a probe that no law can have."""
    # What task and model can do, the model as a function of the variables of the law.
    known = {
        law: experiment.abstract_start(law)[1].model.capabilities | experiment.task.capabilities
        for law in experiment.laws
    }
    if experiment.regulariser is not None:
        for law, capabilities in known.items():
            missing = set(experiment.regulariser.needs) - capabilities
            allowed = f"must be left out: it needs {_listed(missing)}, which laws.{law} does not have"
            require(not missing, "regulariser.name", regulariser, allowed)
    for probe in experiment.probes:
        missing = min((set(PROBES[probe].needs) - capabilities for capabilities in known.values()), key=len)
        allowed = f"needs {_listed(missing)}, which this task, this model and the variables of its laws do not have"
        require(not missing, "probes", probe, allowed)


def check_class(part: Any, base: type, key: str, name: str) -> None:
    """Refuse a task or a model of another class, and one that lacks an attribute."""
    allowed = f"its class {type(part).__name__} must be a subclass of dynamics.{base.__name__}"
    require(isinstance(part, base), key, name, allowed)
    missing = sorted(set(inspect.get_annotations(base)).difference(dir(part)))
    allowed = f"its class {type(part).__name__} lacks {', '.join(missing)}; dynamics.{base.__name__} describes them"
    require(not missing, key, name, allowed)


def loss_of(name: str | None, task: Task) -> str:
    """The loss of that name, or if there is none, the task's own."""
    key, name = ("task.loss", task.loss) if name is None else ("loss", name)
    require(name in LOSSES, key, name, f"must be among {', '.join(LOSSES)}")
    missing = set(LOSSES[name].needs) - task.capabilities
    require(not missing, key, name, f"needs {_listed(missing)}, which this task does not have")
    return name


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def check_shapes(structure: Any, kinds: tuple[type, ...], setup: Setup, probes: tuple[str, ...], words: int) -> None:
    """Refuse what does not fit together, all of it in one message.

    Args:
        structure: see dynamics.runs.starts.abstract_start.
        kinds: the types of the leaves of the inputs of the start.
        setup: of the start.
        probes: those of the law.
        words: matrix probes keep this many.

    Raises:
        ConfigError: naming every array that has another shape than it should have, and every name that is missing.
    """
    if problems := _problems(structure, kinds, setup, probes, words):
        raise ConfigError("; ".join(problems))


@functools.lru_cache(maxsize=256)  # tracing takes milliseconds, and a sweep has many members of one shape
def _problems(
    structure: Any, kinds: tuple[type, ...], setup: Setup, probes: tuple[str, ...], words: int
) -> tuple[str, ...]:
    _, objective, _ = abstract_draw(structure, kinds, setup)
    if in_batch := tuple(_of_batch(objective, setup)):
        return in_batch
    params, objective, _ = abstract_start(structure, kinds, setup)
    losses = jax.eval_shape(lambda objective, params: objective.losses(params), objective, params)
    if losses.shape != (objective.samples,):
        expected = f"must have one loss for each of the {objective.samples} samples"
        return (f"loss = {setup.loss!r}: {expected}, but has the shape {losses.shape}",)
    model = objective.model
    labels = coordinates(setup.task, model, words)

    shapes = _observed(structure, kinds, setup, probes, words)
    return tuple(
        problem for name in probes for problem in _of_dims(name, PROBES[name].dims, shapes[name].shape, labels)
    )


@functools.lru_cache(maxsize=256)
def _observed(
    structure: Any, kinds: tuple[type, ...], setup: Setup, probes: tuple[str, ...], words: int
) -> dict[str, Any]:
    """The shape of what is recorded of each probe at one time; arguments as for check_shapes."""
    params, objective, survey = abstract_start(structure, kinds, setup)

    def observed(params, objective, survey, start):
        view = View(objective, survey, start, words)
        return {name: evaluator((name,), view, squeezed=False)(params)[name] for name in probes}

    shapes = jax.eval_shape(observed, params, objective, survey, params)
    finished = as_recorded(
        {name: np.zeros((1, *array.shape)) for name, array in shapes.items() if PROBES[name].on_host}
    )
    return {**shapes, **{name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype) for name, array in finished.items()}}


def _of_batch(objective: Objective, setup: Setup) -> Iterator[str]:
    """What is wrong with the arrays of a batch and beside it."""
    task, batch = setup.task, objective.batch
    named = f"{type(task).__name__}.dims"
    inputs = batch.inputs if isinstance(batch.inputs, dict) else {"inputs": batch.inputs}
    dims: Mapping[str, Sequence[str]] = {"targets": (), **objective.model.dims, **task.dims}
    of_samples = {**by_name(inputs), "targets": batch.targets}
    if batch.type is not None:
        of_samples["type"] = batch.type
        dims = {**dims, "type": ()}
    if (batch.type is not None) != bool(task.types):
        allowed = "must name the types of the samples if a batch has them, and be empty if it has none"
        yield f"{type(task).__name__}.types = {task.types}: {allowed}"
    beside = {**objective.constants, **(batch.source or {})}
    for name in (*of_samples, *beside):
        if name not in dims:
            yield f"{named}: must name the dimensions of {name!r}" + (
                " after the sample axis" if name in of_samples else ""
            )
    for name in (*objective.constants, *(batch.source or {})):
        if name in (*of_samples, "sample") or (name in objective.constants and name in (batch.source or {})):
            yield f"{named}: {name!r} is the name of two arrays of the record; rename one"
    for name, array in of_samples.items():
        if np.ndim(array) == 0 or array.shape[0] != task.samples:
            yield f"{name!r}: must have {task.samples} rows, the samples of the task, but has the shape {array.shape}"
        elif name in dims and np.ndim(array) != 1 + len(dims[name]):
            yield f"{named}[{name!r}] = {tuple(dims[name])}: but its shape without samples is {array.shape[1:]}"
    for name, array in beside.items():
        if name in dims and np.ndim(array) != len(dims[name]):
            yield f"{named}[{name!r}] = {tuple(dims[name])}: but its shape is {np.shape(array)}"


def _of_dims(
    name: str, dims: Sequence[str], shape: tuple[int, ...], labels: Mapping[str, Sequence[Any]]
) -> Iterator[str]:
    """What is wrong with the array of a probe."""
    if len(dims) != len(shape):
        yield f"probes = {name!r}: names the dimensions {tuple(dims)}, but gives an array of the shape {shape}"
        return
    for dim, size in zip(dims, shape, strict=True):
        if dim in labels and len(labels[dim]) != size:
            yield f"probes = {name!r}: its dimension {dim!r} has {size} entries, but {len(labels[dim])} labels"
