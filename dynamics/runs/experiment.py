"""A config with its meaning checked, and the starts that it draws."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from dynamics.config import base, build, check_keys, choose, require, under
from dynamics.laws import LAWS, Flow, Law
from dynamics.models import MODELS, GramModel, Initialisation, Model
from dynamics.objectives.losses import LOSSES
from dynamics.objectives.objective import Objective
from dynamics.objectives.regularisers import REGULARISERS, Regulariser
from dynamics.probes import PROBES, Survey
from dynamics.runs.starts import OWN_KEY, StartInputs, abstract_start, draw_start, noise_key
from dynamics.tasks import TASKS, Task
from dynamics.trajectory import Times

GROUPS = ("task", "model", "init", "regulariser", "laws", "times", "compare", "launch", "wandb")
TIGHTER, TIGHTEST = (
    100,
    1e-11,
)  # certifying divides a flow's tolerances by TIGHTER; TIGHTEST is the smallest rtol allowed
WIDEST = 10**6  # weights have a row for every unit of width


@dataclass(frozen=True)
class Experiment:
    """A config with its meaning checked.

    Attributes:
        task, model, initialisation: what is trained, on what, from where.
        regulariser: what is added to the loss, or None.
        laws: by their names in the record.
        times: saved times t, shared by all laws; the first is 0.
        probes: their names.
        words: matrix probes keep this many words.
        checkpoints: parameters are stored at t = 0 and at this many later saved times.
        certify: whether flows are solved again at tighter tolerances.
        seed: the keys of data, initialisation and noise are derived from it.
        draw: the number of this draw of the noise; None if there is only one.
    """

    task: Any
    model: Any
    initialisation: Initialisation
    regulariser: Regulariser | None
    laws: dict[str, Law]
    times: np.ndarray
    probes: tuple[str, ...]
    words: int
    checkpoints: int
    certify: bool
    seed: int
    draw: int | None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Experiment":
        """Check a config and give it its meaning; nothing is computed and nothing is written.

        Raises:
            ConfigError: naming the key, the value found and what is allowed.
        """
        check_keys(config, _top_level(), "")
        settings = build(_Settings, {key: value for key, value in config.items() if key not in GROUPS}, "")
        for group in GROUPS:
            require(isinstance(config.get(group), Mapping), group, config.get(group), "must be a group of keys")
        build(_Mirror, config["wandb"], "wandb.")
        task = choose(TASKS, config["task"], "task.")
        _check_complete(task, Task, "task.name", config["task"]["name"])
        require(task.loss in LOSSES, "task.loss", task.loss, f"must be among {', '.join(LOSSES)}")
        initialisation = build(Initialisation, config["init"], "init.")
        regulariser = choose(REGULARISERS, config["regulariser"], "regulariser.") if config["regulariser"] else None
        shape = {"vocabulary": task.vocabulary, "length": task.length}
        shape |= {"distribution": initialisation.distribution, "dtype": settings.dtype}
        model = choose(MODELS, config["model"], "model.", **shape)
        _check_complete(model, Model, "model.name", config["model"]["name"])
        laws, steps = _laws(config["laws"], settings.step)
        times = build(Times, config["times"], "times.")
        experiment = cls(
            task=task,
            model=model,
            initialisation=initialisation,
            regulariser=regulariser,
            laws=laws,
            times=common_times(times, steps),
            probes=settings.probes,
            words=settings.words,
            checkpoints=settings.checkpoints,
            certify=settings.certify,
            seed=settings.seed,
            draw=settings.draw,
        )
        for name, law in laws.items():
            with under(f"laws.{name}."):
                law.check_times(experiment.times)
        experiment._check_sizes()
        if experiment.certify:
            experiment._check_certifiable()
        experiment._check_start()
        experiment._check_probes(config["regulariser"].get("name"))
        return experiment

    def _check_sizes(self) -> None:
        allowed = f"must be 1 to {self.task.vocabulary}, the vocabulary"
        require(1 <= self.words <= (self.task.vocabulary or 0), "words", self.words, allowed)
        count = len(self.times) - 1
        allowed = f"must be 1 to {count}, the number of saved times"
        require(1 <= self.checkpoints <= count, "checkpoints", self.checkpoints, allowed)

    def _check_certifiable(self) -> None:
        flows = {name: law for name, law in self.laws.items() if isinstance(law, Flow)}
        require(bool(flows), "certify", True, "needs a flow among the laws")
        allowed = f"must be at least {TIGHTEST} with certify, which solves again {TIGHTER} times tighter"
        for name, law in flows.items():
            require(law.rtol >= TIGHTEST, f"laws.{name}.rtol", law.rtol, allowed)

    def _check_start(self) -> None:
        """Whether the start can be drawn, and every law can move it."""
        drawn, capabilities = self.initialisation.draw, self.model.capabilities
        with under("init."):
            self.initialisation.check(self.model.coordinates.get("matrix", self.initialisation.std_of))
        if "gram" in capabilities:
            allowed = f"must be at most {WIDEST} with init.draw='weights'; 'gram' has no such limit"
            require(drawn == "gram" or self.model.width <= WIDEST, "model.width", self.model.width, allowed)
        allowed = "must be 'weights' for a model without Gram matrices"
        require(drawn == "weights" or "gram" in capabilities, "init.draw", drawn, allowed)
        for name, law in self.laws.items():
            for need in law.needs:
                allowed = f"must be 'weights': laws.{name} moves weights"
                require(drawn == "weights" or need in self.start_model.capabilities, "init.draw", drawn, allowed)
                allowed = f"needs a model with the capability {need!r}; this model has {_listed(capabilities)}"
                require(need in self.start_model.capabilities, f"laws.{name}.name", type(law).__name__, allowed)

    def _check_probes(self, regulariser: str | None) -> None:
        """Whether every law can have the regulariser, and some law every probe."""
        for probe in self.probes:
            require(probe in PROBES, "probes", probe, f"must be among {', '.join(PROBES)}")
        # What task and model can do, the model as a function of the variables of the law.
        known = {law: self.abstract_start(law)[1].model.capabilities | self.task.capabilities for law in self.laws}
        if self.regulariser is not None:
            for law, capabilities in known.items():
                missing = set(self.regulariser.needs) - capabilities
                allowed = f"must be left out: it needs {_listed(missing)}, which laws.{law} does not have"
                require(not missing, "regulariser.name", regulariser, allowed)
        for probe in self.probes:
            missing = min((set(PROBES[probe].needs) - capabilities for capabilities in known.values()), key=len)
            allowed = f"needs {_listed(missing)}, which this task, this model and the variables of its laws do not have"
            require(not missing, "probes", probe, allowed)

    def probes_of(self, law: str) -> tuple[str, ...]:
        """The probes that are recorded of a law: those that it can have, and no large ones of a random law."""
        model, random = self.abstract_start(law)[1].model, self.laws[law].random
        probes = [PROBES[name] for name in self.probes if PROBES[name].fits(self.task, model)]
        return tuple(probe.name for probe in probes if not (probe.large and random))

    @functools.cached_property
    def noise_key(self) -> PRNGKeyArray:
        """The key of the noise of random laws."""
        return noise_key(self.start_inputs.seed, self.start_inputs.draw)

    @functools.cached_property
    def drawn(self) -> tuple[PyTree, Objective, Survey]:
        """The parameters at t = 0, the objective, and what else probes look at."""
        return draw_start(self.start_inputs, task=self.task, model=self.start_model, fresh=self.fresh)

    @property
    def start(self) -> tuple[PyTree, Objective]:
        """The parameters at t = 0 and the objective."""
        return self.drawn[:2]

    def start_of(self, law: str) -> tuple[PyTree, Objective, Survey]:
        """The start in the variables of a law."""
        params, objective, survey = self.drawn
        return *self.laws[law].variables(params, objective), survey

    def abstract_start(self, law: str) -> tuple[PyTree, Objective, Survey]:
        """The shapes of `start_of`."""
        return self._abstract_starts[law]

    @functools.cached_property
    def _abstract_starts(self) -> dict[str, tuple[PyTree, Objective, Survey]]:
        others = self.task, self.start_model, self.fresh
        flat = {name: jax.tree.flatten((law, self.start_inputs)) for name, law in self.laws.items()}
        return {
            name: abstract_start(structure, tuple(map(type, leaves)), *others)
            for name, (leaves, structure) in flat.items()
        }

    @property
    def fresh(self) -> bool:
        """Whether a probe looks at fresh samples."""
        return any(PROBES[name].fresh for name in self.probes)

    @property
    def start_inputs(self) -> StartInputs:
        """The values that the start is drawn from: seed, draw, scales of the initialisation, penalty and width."""
        draw = OWN_KEY if self.draw is None else self.draw
        width = float(self.model.width) if self.initialisation.draw == "gram" else 0.0
        return StartInputs(self.seed, draw, self.initialisation, self.regulariser, width)

    @property
    def start_model(self) -> Any:
        """The model whose start is drawn: in Gram matrices if the config draws those."""
        return GramModel.of(self.model) if self.initialisation.draw == "gram" else self.model

    def tighter(self, law: str) -> "Experiment":
        """The same with a flow's tolerances TIGHTER times smaller; its program is the same."""
        flow: Any = self.laws[law]
        return replace(self, laws={**self.laws, law: replace(flow, rtol=flow.rtol / TIGHTER, atol=flow.atol / TIGHTER)})

    @functools.cached_property
    def segments(self) -> list[slice]:
        """The indices of the times from one checkpoint to the next, both included."""
        bounds = np.rint(np.linspace(0, len(self.times) - 1, self.checkpoints + 1)).astype(int)
        return [slice(i, j + 1) for i, j in itertools.pairwise(bounds.tolist())]

    @property
    def checkpoint_times(self) -> np.ndarray:
        """The times of the checkpoints, 0 first."""
        return self.times[[0, *(part.stop - 1 for part in self.segments)]]

    def segment(self, number: int) -> np.ndarray:
        """The times of a segment. Shorter segments repeat their last time, so that one program serves all of them."""
        sizes = [part.stop - part.start for part in self.segments]
        t = self.times[self.segments[number]]
        return np.pad(t, (0, max(sizes) - len(t)), mode="edge").astype(self.model.dtype)


@functools.cache
def _top_level() -> frozenset[str]:
    return frozenset(base())


@dataclass(frozen=True)
class _Settings:
    seed: int
    draw: int | None
    step: float | None
    dtype: Literal["float64", "float32"]
    words: int
    checkpoints: int
    certify: bool
    figures: str
    probes: tuple[str, ...]

    def __post_init__(self):
        require(self.seed >= 0, "seed", self.seed, "must not be negative")
        require(self.draw is None or self.draw >= 0, "draw", self.draw, "must not be negative")
        require(self.step is None or self.step > 0, "step", self.step, "must be positive")


@dataclass(frozen=True)
class _Mirror:
    mode: Literal["offline", "online", "disabled"]
    project: str
    group: str
    each_member: bool | None


def _check_complete(part: Any, protocol: type, key: str, name: str) -> None:
    """Refuse a task or a model that lacks an attribute of its protocol."""
    content = vars(protocol)
    needed = {attribute for attribute in (*content, *content.get("__annotations__", ())) if attribute[0] != "_"}
    missing = ", ".join(sorted(needed.difference(dir(part))))
    allowed = (
        f"its class {type(part).__name__} lacks {missing}; {protocol.__module__}.{protocol.__name__} describes them"
    )
    require(not missing, key, name, allowed)


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _laws(configs: Mapping[str, Any], step: float | None) -> tuple[dict[str, Law], list[tuple[str, Any, float]]]:
    """The laws, and for each that makes steps: the key that sets its step, the value of that key, and the step."""
    require(len(configs) > 0, "laws", {}, f"needs at least one of {', '.join(LAWS)}")
    require("data" not in configs, "laws.data", "data", "is the name of the training set in the record")
    laws, steps = {}, []
    for name, values in configs.items():
        own = choose(LAWS, values, f"laws.{name}.")
        laws[name] = law = own if step is None else own.at_step(step)
        if law.step is not None:
            key, value = (
                ("step", step) if law is not own else (f"laws.{name}.learning_rate", values.get("learning_rate"))
            )
            steps.append((key, value, law.step))
    return laws, steps


def common_times(times: Times, steps: Sequence[tuple[str, Any, float]]) -> np.ndarray:
    """The saved times: multiples of times.multiple_of, or if that is not given, of the largest step if there is one.

    Args:
        times: as they were asked for.
        steps: (key of the config that sets a step, its value, the step).

    Raises:
        ConfigError: for a step that does not divide the largest, and a grid that the multiples cannot hold.
    """
    largest = times.multiple_of or max((step for _, _, step in steps), default=None)
    with under("times."):
        grid = times.grid(largest)
    for key, value, step in steps:
        assert largest is not None  # there is a step
        ratio = largest / step
        allowed = f"must divide the largest step, {largest:g}, so that all laws are recorded at the same times"
        require(ratio > 0.5 and abs(ratio - round(ratio)) < 1e-9 * ratio, key, value, allowed)
    return grid
