"""A config with its meaning checked, and the starts that it draws."""

import functools
import itertools
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from dynamics.config import build, check_keys, check_plain, choose, require
from dynamics.laws import Law
from dynamics.models import MODELS, GramModel, Initialisation, Model
from dynamics.objectives.objective import Objective
from dynamics.objectives.parameters import Trained
from dynamics.objectives.regularisers import REGULARISERS, Regulariser
from dynamics.probes import PROBES, Survey
from dynamics.runs.checks import TIGHTER, check_class, check_experiment, check_numbers, check_task_sizes, loss_of
from dynamics.runs.settings import GROUPS, Data, Mirror, Settings, check_seed, common_times, law_of, laws_of, top_level
from dynamics.runs.starts import (
    OWN_KEY,
    Regime,
    Setup,
    StartInputs,
    abstract_start,
    draw_start,
    noise_key,
)
from dynamics.tasks import TASKS, Task
from dynamics.trajectory import Times


@dataclass(frozen=True)
class Experiment:
    """A config with its meaning checked.

    Attributes:
        task, model, initialisation: what is trained, on what, from where.
        loss: its name.
        regime: what is descended, see dynamics.runs.starts.Setup.
        evaluation: how many samples the evaluation set has.
        regulariser: what is added to the loss, or None.
        trained: which parameters train, under the laws that do not say it themselves.
        trained_by: {law: which parameters train under it}, for the laws that have a group `train` of their own.
        laws: by their names in the record.
        asked_times: the saved times as the config asks for them.
        times: saved times t, shared by all laws; the first is 0.
        probes: their names.
        words: matrix probes keep this many words.
        checkpoints: parameters are stored at t = 0 and at this many later saved times.
        certify: whether flows are solved again at tighter tolerances.
        seed: the keys of data, initialisation and noise are derived from it.
        draw: the number of this draw of the noise; None if there is only one.
    """

    task: Task
    model: Any
    initialisation: Initialisation
    loss: str
    regime: Regime
    evaluation: int
    regulariser: Regulariser | None
    trained: Trained
    trained_by: dict[str, Trained]
    laws: dict[str, Law]
    asked_times: Times
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
        check_plain(config)
        check_keys(config, top_level(), "")
        settings = build(Settings, {key: value for key, value in config.items() if key not in GROUPS}, "")
        for group in GROUPS:
            require(isinstance(config.get(group), Mapping), group, config.get(group), "must be a group of keys")
        build(Mirror, config["wandb"], "wandb.")
        task = choose(TASKS, config["task"], "task.")
        check_class(task, Task, "task.name", config["task"]["name"])
        check_task_sizes(task)
        data = build(Data, config["data"], "data.")
        initialisation = build(Initialisation, config["init"], "init.")
        regulariser = choose(REGULARISERS, config["regulariser"], "regulariser.") if config["regulariser"] else None
        given = {**task.sizes, "distribution": initialisation.distribution, "dtype": settings.dtype}
        model = choose(MODELS, config["model"], "model.", **given)
        check_class(model, Model, "model.name", config["model"]["name"])
        laws, steps = laws_of(config["laws"], settings.step)
        for probe in settings.probes:
            require(probe in PROBES, "probes", probe, f"must be among {', '.join(PROBES)}")
        loss = loss_of(settings.loss, task)
        # The loss of a sample that stands for a distribution has an error.
        exact = data.regime == "fixed" or ("population_loss" in task.capabilities and loss == task.loss)
        probes = tuple(dict.fromkeys((*settings.probes, *(() if exact else ("loss_error",)))))
        asked_times = build(Times, config["times"], "times.")
        experiment = cls(
            task=task,
            loss=loss,
            regime=data.regime,
            evaluation=data.evaluation or task.evaluation,
            model=model,
            initialisation=initialisation,
            regulariser=regulariser,
            trained=build(Trained, config["train"], "train."),
            trained_by={
                law: build(Trained, values["train"], f"laws.{law}.train.")
                for law, values in config["laws"].items()
                if "train" in values
            },
            laws=laws,
            asked_times=asked_times,
            times=common_times(asked_times, steps),
            probes=probes,
            words=min(settings.words, len(task.word_names) or settings.words),
            checkpoints=settings.checkpoints,
            certify=settings.certify,
            seed=settings.seed,
            draw=settings.draw,
        )
        check_experiment(experiment, config["regulariser"].get("name"))
        return experiment

    def with_seed(self, seed: int) -> "Experiment":
        """The same experiment with another seed; only the seed is checked again, since no other check depends on it.

        Raises:
            ConfigError: for a negative seed.
        """
        check_seed(seed)
        return replace(self, seed=seed)

    def with_numbers(self, config: Mapping[str, Any], groups: Set[str]) -> "Experiment | None":
        """The same with other numbers in some groups; only what depends on the numbers is checked again.

        Args:
            config: differs from the config of this experiment in numbers of `groups` and in the seed only.
            groups: "init" and "laws.NAME" are possible.

        Returns:
            None if another number changes more than numbers, such as a shape: from_config must check the whole then.

        Raises:
            ConfigError: as from_config.
        """
        check_seed(config["seed"])
        changed = [group.removeprefix("laws.") for group in groups if group != "init"]
        laws = {law: law_of(law, config["laws"][law], config["step"])[0] for law in changed}
        if any(self._traits(laws[name]) != self._known_traits[name] for name in changed):
            return None
        start = self.initialisation
        if "init" in groups:
            start = build(Initialisation, config["init"], "init.")
            if _shapes(start) != _shapes(self.initialisation):
                return None
        laws = {**self.laws, **laws}
        times, steps = self.times, [law.step for law in laws.values() if law.step is not None]
        if steps != [law.step for law in self.laws.values() if law.step is not None]:
            times = common_times(self.asked_times, [("step", step, step) for step in steps])
        experiment = replace(self, laws=laws, initialisation=start, times=times, seed=config["seed"])
        check_numbers(experiment)
        return experiment if len(times) == len(self.times) else None

    @functools.cached_property
    def _known_traits(self) -> dict[str, tuple[Any, ...]]:
        return {name: self._traits(law) for name, law in self.laws.items()}

    def _traits(self, law: Law) -> tuple[Any, ...]:
        """What is asked of a law while an experiment is checked, beside its times."""
        # By the class: equinox makes an object for every method that is looked up on a law, which takes longer.
        return type(law).is_random(law, self.model), law.draws_samples, law.needs, _shapes(law)

    def is_random(self, law: str) -> bool:
        """Whether the trajectory of a law depends on the draw of its noise."""
        return self.laws[law].is_random(self.model)

    def probes_of(self, law: str) -> tuple[str, ...]:
        """The probes that are recorded of a law: those that it can have, and no large ones of a random law."""
        model, random = self.abstract_start(law)[1].model, self.is_random(law)
        probes = [PROBES[name] for name in self.probes if PROBES[name].fits(self.task, model)]
        return tuple(probe.name for probe in probes if not (probe.large and random))

    @functools.cached_property
    def noise_key(self) -> PRNGKeyArray:
        """The key of the noise of random laws."""
        inputs = self.start_inputs()
        return noise_key(inputs.seed, inputs.draw)

    @functools.cached_property
    def drawn(self) -> tuple[PyTree, Objective, Survey]:
        """The parameters at t = 0, the objective, and what else probes look at."""
        return draw_start(self.start_inputs(), setup=self.setup)

    @property
    def start(self) -> tuple[PyTree, Objective]:
        """The parameters at t = 0 and the objective."""
        return self.drawn[:2]

    def start_of(self, law: str) -> tuple[PyTree, Objective, Survey]:
        """The start in the variables of a law."""
        own = law in self.trained_by
        params, objective, survey = draw_start(self.start_inputs(law), setup=self.setup) if own else self.drawn
        return *self.laws[law].variables(params, objective), survey

    def abstract_start(self, law: str) -> tuple[PyTree, Objective, Survey]:
        """The shapes of `start_of`."""
        return self._abstract_starts[law]

    @functools.cached_property
    def _abstract_starts(self) -> dict[str, tuple[PyTree, Objective, Survey]]:
        return {law: abstract_start(*self.structure(law), self.setup) for law in self.laws}

    def structure(self, law: str) -> tuple[Any, tuple[type, ...]]:
        """The variables of a law with the structure of the inputs of its start, and the types of their leaves."""
        leaves, structure = jax.tree.flatten(self.start_inputs(law))
        return (self.laws[law].variables, structure), tuple(map(type, leaves))

    @functools.cached_property
    def setup(self) -> Setup:
        """What the start is drawn of, apart from numbers."""
        looked_at = any(PROBES[name].evaluation for name in self.probes)
        return Setup(self.task, self.start_model, self.loss, self.regime, self.evaluation if looked_at else 0)

    def start_inputs(self, law: str | None = None) -> StartInputs:
        """The values that the start of a law is drawn from: seed, draw, scales, penalty, what trains, and width.

        Without a law, those of the laws that do not say themselves what trains.
        """
        draw = OWN_KEY if self.draw is None else self.draw
        width = float(self.model.width) if self.initialisation.draw == "gram" else 0.0
        return StartInputs(self.seed, draw, self.initialisation, self.regulariser, self.trained_of(law), width)

    def trained_of(self, law: str | None) -> Trained:
        """Which parameters train under a law."""
        return self.trained if law is None else self.trained_by.get(law, self.trained)

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


def _shapes(tree: PyTree) -> tuple[Any, list[Any]]:
    """Structure, and the types and shapes of the leaves."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(type(leaf), np.shape(leaf)) for leaf in leaves]
