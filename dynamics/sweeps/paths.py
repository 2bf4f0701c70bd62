"""The paths of a sweep: each path that a member needs, once, in groups that share their programs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dynamics.config import ConfigError
from dynamics.runs.engine import MOST_PATHS, Path, Program
from dynamics.runs.experiment import Experiment
from dynamics.runs.programs import Strategy
from dynamics.runs.run import described
from dynamics.sweeps.sweep import Sweep

CONTENT = ("task", "model", "init", "regulariser", "seed", "dtype", "words")  # of a config, on which every path depends


@dataclass(frozen=True)
class Group:
    """Paths that share their programs.

    Attributes:
        paths: {id: path}.
        size: the largest number of paths of a call.
        strategy: see Program.
    """

    paths: Mapping[str, Path]
    size: int
    strategy: Strategy | None = None

    def program(self, size: int | None = None) -> Program:
        """The program for calls of a size, the largest if it is not given; it compiles in the background."""
        return Program(next(iter(self.paths.values())), size or self.size, self.strategy)


class Plan(NamedTuple):
    """The paths that the members of sweeps need.

    Attributes:
        groups: the paths of all members.
        members: {id of a member: {law: id of its path}}; none for a member that is refused.
        refused: {id of a member: why it cannot run}.
    """

    groups: list[Group]
    members: dict[str, dict[str, str]]
    refused: dict[str, str]

    def with_strategy(self, strategy: Strategy) -> "Plan":
        """The same, every device integrating in this way."""
        return self._replace(groups=[replace(group, strategy=strategy) for group in self.groups])


def plan(sweeps: Mapping[str, Sweep]) -> Plan:
    """Check the config of every member, and find the paths that it needs.

    A path that several members need, such as a flow that does not depend on what is swept, is one.
    """
    by_form: dict[Any, dict[str, Path]] = {}
    members: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}
    for sweep in sweeps.values():
        for member in sweep.members:
            config = sweep.config_of(member)
            try:
                experiment = Experiment.from_config(config)
                paths = {law: Path(experiment, law) for law in experiment.laws}
                forms = {law: path.form for law, path in paths.items()}
            except Exception as error:  # whatever a task, a model or a law of a user's own may raise
                members[member.id], refused[member.id] = {}, one_line(error)
                continue
            members[member.id] = {law: path_id(config, path) for law, path in paths.items()}
            for law, path in paths.items():
                by_form.setdefault(forms[law], {})[members[member.id][law]] = path
    # Groups that differ only in how their starts are drawn have one size, so that they share the other program.
    sizes: dict[Any, int] = {}
    for (integrates, _), of_form in by_form.items():
        sizes[integrates] = min(max(len(of_form), sizes.get(integrates, 1)), MOST_PATHS)
    groups = [Group(of_form, sizes[integrates]) for (integrates, _), of_form in by_form.items()]
    return Plan(groups, members, refused)


def path_id(config: Mapping[str, Any], path: Path) -> str:
    """Twelve hexadecimal digits of all that a path depends on; neither the law's name nor the other laws are."""
    experiment, law = path.experiment, path.experiment.laws[path.law]
    content = {key: config[key] for key in CONTENT} | {
        "law": described(law),
        "draw": experiment.draw if law.random else None,
        "times": experiment.times.tolist(),
        "checkpoints": experiment.checkpoints,
        "probes": experiment.probes_of(path.law),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def one_line(error: Exception) -> str:
    """The message of an exception, as the reason of a member."""
    kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())[:300]
