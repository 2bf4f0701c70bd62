"""A config with its meaning checked, and its start."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from dynamics.config import base, build, check_keys, choose, require, under
from dynamics.laws import IN_GRAM_VARIABLES, LAWS, Flow, GramModel, Law, in_gram_variables, with_width
from dynamics.models import MODELS, Initialisation
from dynamics.objectives.objective import Objective
from dynamics.objectives.regularisers import REGULARISERS, Regulariser
from dynamics.probes import PROBES, Survey
from dynamics.tasks import TASKS
from dynamics.trajectory import Times

__all__ = ["TIGHTER", "Experiment", "common_times", "draw_start", "named_keys"]

KEYS = ("data", "init", "sgd")
TIGHTER, TIGHTEST = 100, 1e-11  # of a flow's tolerances, to certify it; the smallest that can be certified
WIDEST = 10**6  # a row of weights more for every unit of width


@dataclass(frozen=True)
class Experiment:
    """A config with its meaning checked.

    Attributes:
        task, model, initialisation: what is trained, on what, from where.
        regulariser: what is added to the loss, or None.
        laws: by the names that they have in the record.
        times: saved times t, shared by all laws; the first is 0.
        probes: names.
        words: matrix probes keep this many words.
        checkpoints: parameters are stored at t = 0 and at this many later saved times.
        certify: whether flows are solved again at tighter tolerances.
        seed: the keys of data, initialisation and minibatches are derived from it.
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

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Experiment":
        """Check a config and give it its meaning; nothing is computed and nothing written.

        Raises:
            ConfigError: naming the key, the value found and what is allowed.
        """
        parts = ("task", "model", "init", "regulariser", "laws", "times", "compare", "launch", "wandb")
        check_keys(config, _top_level(), "")
        settings = build(_Settings, {k: v for k, v in config.items() if k not in parts}, "")
        for part in parts:
            require(isinstance(config.get(part), Mapping), part, config.get(part), "must be a group of keys")
        require(settings.seed >= 0, "seed", settings.seed, "must not be negative")
        build(_Mirror, config["wandb"], "wandb.")
        task = choose(TASKS, config["task"], "task.")
        initialisation = build(Initialisation, config["init"], "init.")
        regulariser = choose(REGULARISERS, config["regulariser"], "regulariser.") if config["regulariser"] else None
        shape = {"vocabulary": task.vocabulary, "length": task.length}
        shape |= {"distribution": initialisation.distribution, "dtype": settings.dtype}
        model = choose(MODELS, config["model"], "model.", **shape)
        require(len(config["laws"]) > 0, "laws", {}, f"needs at least one of {', '.join(LAWS)}")
        require("data" not in config["laws"], "laws.data", "data", "is the name of the training set in the record")
        laws = {name: choose(LAWS, values, f"laws.{name}.") for name, values in config["laws"].items()}
        times = build(Times, config["times"], "times.")
        found = cls(
            task=task,
            model=model,
            initialisation=initialisation,
            regulariser=regulariser,
            laws=laws,
            times=common_times(times, [(f"laws.{k}.learning_rate", law.step) for k, law in laws.items() if law.step]),
            probes=settings.probes,
            words=settings.words,
            checkpoints=settings.checkpoints,
            certify=settings.certify,
            seed=settings.seed,
        )
        found._check_sizes(len(times.grid()) - 1)
        if found.certify:
            found._check_certifiable()
        found._check_start(config["regulariser"].get("name"))
        found._check_probes()
        return found

    def _check_sizes(self, count: int) -> None:
        allowed = f"must be 1 to {self.task.vocabulary}, the vocabulary"
        require(1 <= self.words <= self.task.vocabulary, "words", self.words, allowed)
        allowed = f"must be 1 to {count}, the saved times"
        require(1 <= self.checkpoints <= count, "checkpoints", self.checkpoints, allowed)

    def _check_certifiable(self) -> None:
        flows = {name: law for name, law in self.laws.items() if isinstance(law, Flow)}
        require(bool(flows), "certify", True, "needs a flow among the laws")
        allowed = f"must be at least {TIGHTEST} with certify: a {TIGHTER} times tighter solve has to be possible"
        for name, law in flows.items():
            require(law.rtol >= TIGHTEST, f"laws.{name}.rtol", law.rtol, allowed)

    def _check_start(self, chosen: str | None) -> None:
        """Whether model and laws can start there, with the regulariser of the name `chosen`."""
        drawn = self.initialisation.draw
        with under("init."):
            self.initialisation.check(self.model.coordinates["matrix"])
        known = self.regulariser is None or set(self.regulariser.needs) <= self.model.capabilities
        require(known, "regulariser.name", chosen, "must be left out: this model has no score matrices")
        for name, law in self.laws.items():
            moves_weights = not isinstance(law, IN_GRAM_VARIABLES)
            allowed = f"must be left out: laws.{name} moves Gram matrices"
            require(self.regulariser is None or moves_weights, "regulariser.name", chosen, allowed)
            allowed = f"must be 'weights': laws.{name} moves weights"
            require(drawn == "weights" or not moves_weights, "init.draw", drawn, allowed)
        allowed = f"must be at most {WIDEST} with init.draw='weights'; 'gram' has no such limit"
        require(drawn == "gram" or self.width <= WIDEST, "model.width", self.width, allowed)
        known = drawn == "weights" or "gram" in self.model.capabilities
        require(known, "init.draw", drawn, "must be 'weights' for a model without Gram matrices")

    def _check_probes(self) -> None:
        for name in self.probes:
            require(name in PROBES, "probes", name, f"must be among {', '.join(PROBES)}")
            needs = ", ".join(map(repr, PROBES[name].needs))
            allowed = f"needs {needs}, which neither this task nor this model has"
            require(PROBES[name].fits(self.task, self.model), "probes", name, allowed)
            for law, moved in self.laws.items():
                model = GramModel if isinstance(moved, IN_GRAM_VARIABLES) else self.model
                allowed = f"needs {needs}, which laws.{law} does not have: its variables are Gram matrices"
                require(PROBES[name].fits(self.task, model), "probes", name, allowed)

    @functools.cached_property
    def keys(self) -> dict[str, PRNGKeyArray]:
        """The named keys of this seed."""
        return named_keys(self.seed)

    @functools.cached_property
    def drawn(self) -> tuple[PyTree, Objective, Survey]:
        """The parameters at t = 0, the objective, and what else probes look at."""
        return draw_start(*self.start_inputs, task=self.task, model=self.started, fresh=self.fresh)

    @property
    def start(self) -> tuple[PyTree, Objective]:
        """The parameters at t = 0 and the objective."""
        return self.drawn[:2]

    def start_of(self, law: str) -> tuple[PyTree, Objective, Survey]:
        """What is drawn, in the variables of a law."""
        return _reduced(self.drawn) if self.reduces(law) else self.drawn

    def abstract_start_of(self, law: str) -> tuple[PyTree, Objective, Survey]:
        """The shapes of `start_of`."""
        leaves, structure = jax.tree.flatten(self.start_inputs)
        return _shapes(structure, tuple(map(type, leaves)), self.task, self.started, self.reduces(law), self.fresh)

    @property
    def fresh(self) -> bool:
        """Whether a probe looks at fresh samples."""
        return any(PROBES[name].fresh for name in self.probes)

    def reduces(self, law: str) -> bool:
        """Whether the law's variables are the Gram matrices of the weights of `start`."""
        return self.initialisation.draw == "weights" and isinstance(self.laws[law], IN_GRAM_VARIABLES)

    @property
    def start_inputs(self) -> tuple[int, Initialisation, Regulariser | None, float]:
        """What `start` is drawn from; traced."""
        return self.seed, self.initialisation, self.regulariser, float(self.width)

    @property
    def width(self) -> int:
        """The width m of a model with Gram matrices; 0 for others, whose start has no use for it."""
        return self.model.width if "gram" in self.model.capabilities else 0

    @property
    def started(self) -> Any:
        """The model that `start` is drawn for."""
        return GramModel.of(self.model) if self.initialisation.draw == "gram" else self.model

    def tighter(self, law: str) -> "Experiment":
        """The same with a flow's tolerances TIGHTER times smaller; its program is the same."""
        flow: Any = self.laws[law]
        return replace(self, laws={**self.laws, law: replace(flow, rtol=flow.rtol / TIGHTER, atol=flow.atol / TIGHTER)})

    @functools.cached_property
    def segments(self) -> list[slice]:
        """Where the times from one checkpoint to the next are, both included."""
        bounds = np.rint(np.linspace(0, len(self.times) - 1, self.checkpoints + 1)).astype(int)
        return [slice(i, j + 1) for i, j in itertools.pairwise(bounds.tolist())]

    def segment(self, number: int) -> np.ndarray:
        """The times of a segment, all of one shape and so for one program: shorter ones repeat their last time."""
        sizes = [part.stop - part.start for part in self.segments]
        t = self.times[self.segments[number]]
        return np.pad(t, (0, max(sizes) - len(t)), mode="edge").astype(self.model.dtype)


@functools.cache
def _top_level() -> frozenset[str]:
    return frozenset(base())


@dataclass(frozen=True)
class _Settings:
    seed: int
    dtype: Literal["float64", "float32"]
    words: int
    checkpoints: int
    certify: bool
    figures: str
    probes: tuple[str, ...]
    step: float | None
    draw: int | None


@dataclass(frozen=True)
class _Mirror:
    mode: Literal["offline", "online", "disabled"]
    project: str
    group: str
    each_member: bool | None


def common_times(times: Times, steps: Sequence[tuple[str, float]]) -> np.ndarray:
    """The grid of multiples of the largest step, when there is one.

    Args:
        times: as they were asked for.
        steps: (key of the config that sets it, step).

    Raises:
        ConfigError: for a step that does not divide the largest, and a grid that the multiples cannot hold.
    """
    if not steps:
        return times.grid()
    largest = max(step for _, step in steps)
    with under("times."):
        grid = times.grid(largest)
    for key, step in steps:
        ratio = largest / step
        allowed = f"must divide the largest step, {largest:g}, so that the laws are seen at the same times"
        require(abs(ratio - round(ratio)) < 1e-9 * ratio, key, step, allowed)
    return grid


@jax.jit
def named_keys(seed: Any) -> dict[str, PRNGKeyArray]:
    """The keys of data, initialisation and minibatches."""
    return {name: jax.random.fold_in(jax.random.key(seed), i) for i, name in enumerate(KEYS)}


@functools.partial(jax.jit, static_argnames=("task", "model", "fresh"))
def draw_start(
    seed: Any, initialisation: Any, regulariser: Any, width: Any, *, task: Any, model: Any, fresh: bool
) -> tuple[PyTree, Objective, Survey]:
    """The parameters at t = 0, the objective, and what else probes look at."""
    keys = named_keys(seed)
    batch = task.training_set(keys["data"])
    survey = Survey.of(task, batch, fresh)
    if initialisation.draw == "gram":
        params, constants = initialisation.gram(model, width, keys["init"])
        return params, with_width(model, constants, batch, width), survey
    params, constants = initialisation(model, keys["init"])
    return params, Objective(model, constants, batch, task.loss, regulariser), survey


def _reduced(drawn: tuple[PyTree, Objective, Survey]) -> tuple[PyTree, Objective, Survey]:
    params, objective, survey = drawn
    return *in_gram_variables(params, objective), survey


@functools.lru_cache(maxsize=256)
def _shapes(
    structure: Any, kinds: tuple[type, ...], task: Any, model: Any, reduced: bool, fresh: bool
) -> tuple[PyTree, Objective, Survey]:
    """Tracing takes milliseconds, and the members of a sweep are many."""
    inputs = jax.tree.unflatten(structure, [kind(1) for kind in kinds])
    drawn = draw_start.eval_shape(*inputs, task=task, model=model, fresh=fresh)
    return jax.eval_shape(_reduced, drawn) if reduced else drawn
