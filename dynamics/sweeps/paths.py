"""The paths of a sweep: each path that a member needs, once; groups that share their programs, and their cost."""

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from dynamics.config import ConfigError, hash_of, texts
from dynamics.files import one_line
from dynamics.runs import identity
from dynamics.runs.content import described
from dynamics.runs.engine import MOST_PATHS, Program, integrate
from dynamics.runs.experiment import Experiment
from dynamics.runs.parts import named
from dynamics.runs.path import Path, State
from dynamics.runs.programs import Strategy
from dynamics.runs.unfinished import read_state
from dynamics.sweeps.members import Member
from dynamics.sweeps.rows import rows_of
from dynamics.sweeps.sweep import Sweep
from dynamics.trajectory import Trajectory, joined

CONTENT = (
    "task",
    "data",
    "loss",
    "model",
    "init",
    "train",
    "regulariser",
    "seed",
    "dtype",
    "words",
)  # of a config, on which every path depends
PILOTS = 3  # groups of which a path is integrated for an estimate


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
        sweeps: by their cases; a sweep without cases is called "".
        groups: the paths of all members.
        members: {id of a member: {law: id of its path}}; none for a member that is refused.
        refused: {id of a member: why it cannot run}.
        code: {module of a user: hash} of what the paths are made of; see dynamics.runs.identity.
        judges: the same of the module whose claims judge them.
    """

    sweeps: Mapping[str, Sweep]
    groups: list[Group]
    members: dict[str, dict[str, str]]
    refused: dict[str, str]
    code: Mapping[str, str]
    judges: Mapping[str, str] = MappingProxyType({})

    def with_strategy(self, strategy: Strategy) -> "Plan":
        """The same, every device integrating in this way."""
        return self._replace(groups=[replace(group, strategy=strategy) for group in self.groups])


def plan(sweeps: Mapping[str, Sweep]) -> Plan:
    """Check the config of every member, and find the paths that it needs.

    A path that several members need, such as a flow that does not depend on what is swept, is one.

    Raises:
        ConfigError: if none of the members can run; if the first one raised another error, that error.
    """
    by_form: dict[Any, dict[str, Path]] = {}
    members: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}
    code: dict[str, str] = {}
    first: tuple[Any, Exception] | None = None  # of those that are refused
    for sweep in sweeps.values():
        known: dict[str, _Checked] = {}  # by all that members change, numbers apart
        for member in sweep.members:
            config, numbers = sweep.config_of(member), _numbers(member)
            others = {key: value for key, value in member.changes.items() if key not in numbers}
            of = json.dumps([others, sorted(numbers)])
            try:
                checked, paths = _paths_of(known.get(of), config, _groups(numbers))
            except Exception as error:  # whatever a task, a model or a law of a user's own may raise
                members[member.id], refused[member.id] = {}, one_line(error)
                first = first or (member.overrides, error)
                continue
            known[of] = checked
            members[member.id] = {law: key for law, (key, _) in paths.items()}
            for law, (key, path) in paths.items():
                by_form.setdefault(checked.forms[law], {})[key] = path
            code |= checked.code
    if first and not by_form:
        overrides, cause = first
        if not isinstance(cause, ConfigError):  # a mistake in somebody's code, not in a value
            raise cause
        raise ConfigError(f"no member can run; the first, {overrides}: {cause}")
    # Groups that differ only in how their starts are drawn have one size, so that they share the other program.
    sizes: dict[Any, int] = {}
    for (integrates, _), of_form in by_form.items():
        sizes[integrates] = min(max(len(of_form), sizes.get(integrates, 1)), MOST_PATHS)
    groups = [Group(of_form, sizes[integrates]) for (integrates, _), of_form in by_form.items()]
    return Plan(sweeps, groups, members, refused, code)


def _numbers(member: Member) -> set[str]:
    """The keys of a member whose values are numbers that change no shape, as a rule: see Experiment.with_numbers."""

    def is_one(key: str, value: Any) -> bool:
        group, *rest = key.split(".")
        possible = group in ("seed", "init") or (group == "laws" and rest[1:2] != ["train"])
        return possible and isinstance(value, (int, float)) and not isinstance(value, bool)

    return {key for key, value in member.changes.items() if is_one(key, value)}


def _groups(numbers: Set[str]) -> set[str]:
    """The groups that have these keys, every law a group of its own."""
    parts = [key.split(".") for key in numbers if key != "seed"]
    return {".".join(part[:2]) if part[0] == "laws" else part[0] for part in parts}


class _Checked:
    """An experiment that was checked, for all members that differ from it in numbers alone.

    Attributes:
        forms: {law: form of its path}.
        code: {module of a user: hash} of what the paths are made of.
    """

    def __init__(self, config: Mapping[str, Any]):
        """Check a config, and prepare what the ids of its paths have in common."""
        self._experiment = experiment = Experiment.from_config(config)
        paths = {law: Path(experiment, law) for law in experiment.laws}
        self.forms = {law: path.form for law, path in paths.items()}
        codes = {law: code_of(config, path) for law, path in paths.items()}
        self.code = {module: digest for of_law in codes.values() for module, digest in of_law.items()}
        self._texts = {law: texts(_content(config, path, codes[law])) for law, path in paths.items()}

    def paths(self, config: Mapping[str, Any], groups: Set[str]) -> dict[str, tuple[str, Path]] | None:
        """{law: (id, path)} of a member that has other numbers in some groups; None if it must be checked as a whole.

        Raises:
            ConfigError: for a number that is not allowed.
        """
        before = self._experiment
        experiment = before.with_numbers(config, groups) if groups else before.with_seed(config["seed"])
        if experiment is None:
            return None
        changed = texts({"seed": config["seed"], "init": config["init"]})
        if experiment.times is not before.times:
            changed |= texts({"times": experiment.times.tolist()})
        paths = {}
        for law, before_it in self._texts.items():
            of_law = texts({"law": described(experiment.laws[law])}) if f"laws.{law}" in groups else {}
            paths[law] = hash_of({**before_it, **changed, **of_law}), Path(experiment, law)
        return paths


def _paths_of(
    checked: _Checked | None, config: Mapping[str, Any], groups: Set[str]
) -> tuple[_Checked, dict[str, tuple[str, Path]]]:
    """{law: (id, path)} of a member, and what was checked of it and holds for members with other numbers.

    Raises:
        Exception: for a config that cannot run.
    """
    if checked is not None:
        with contextlib.suppress(ConfigError):  # the check of the whole names the first mistake, which may be another
            if paths := checked.paths(config, groups):
                return checked, paths
    checked = _Checked(config)
    paths = checked.paths(config, set())
    assert paths is not None  # nothing but the seed is read again
    return checked, paths


def code_of(config: Mapping[str, Any], path: Path) -> Mapping[str, str]:
    """{module of a user: hash} of the code that a path depends on."""
    values = [config[key] for key in CONTENT]
    return identity.code(named([*values, config["laws"][path.law], path.experiment.probes_of(path.law)]))


def _content(config: Mapping[str, Any], path: Path, code: Mapping[str, str]) -> dict[str, Any]:
    """All that a path depends on, as plain values; neither the law's name nor the other laws are."""
    experiment, law = path.experiment, path.experiment.laws[path.law]
    return {key: config[key] for key in CONTENT} | {
        "train": asdict(experiment.trained_of(path.law)),
        "law": described(law),
        "draw": experiment.draw if experiment.is_random(path.law) else None,
        "times": experiment.times.tolist(),
        "checkpoints": experiment.checkpoints,
        "probes": experiment.probes_of(path.law),
        "code": identity.digest(code),
    }


def integrated(
    program: Program,
    paths: Sequence[Path],
    stored: Sequence[pathlib.Path] = (),
    checkpoint_s: float = np.inf,
    keep: Callable[[Sequence[Trajectory], State], None] = lambda *_: None,
) -> list[Trajectory]:
    """The trajectories of paths of one form.

    Args:
        program: of their form.
        paths: to be integrated together.
        stored: the files from which they go on; if there are none, they begin at their starts.
        checkpoint_s: seconds between calls of `keep`.
        keep: called with the trajectories so far and the state in which they go on, also when a signal to stop comes.
    """
    parts: list[list[Trajectory]] = [[] for _ in paths]
    state = None
    if stored:
        _, at_start = program.begin(paths)
        restored = [read_state(file, path, at_start) for file, path in zip(stored, paths, strict=True)]
        parts = [[trajectory] for trajectory, _ in restored]
        state = State.joined([state for _, state in restored])
    kept = time.perf_counter()
    try:
        for stretched in integrate(program, paths, state):
            state = stretched.state
            for i in np.flatnonzero(stretched.took_part).tolist():
                parts[i].append(stretched.of_path(i, paths[i].experiment))
            if time.perf_counter() - kept > checkpoint_s:
                keep([joined(so_far) for so_far in parts], state)
                kept = time.perf_counter()
    except KeyboardInterrupt:
        if state is not None:
            keep([joined(so_far) for so_far in parts], state)
        raise
    return [joined(so_far) for so_far in parts]


def estimate(planned: Plan) -> tuple[float, float]:
    """Estimate how many seconds the paths take on this machine and how many megabytes their results need.

    Nothing is written.

    At most PILOTS groups are compiled, and a path of each is integrated.
    """
    groups = planned.groups
    compile_s, path_s, size = [], [], []
    for group in groups[:: -(-len(groups) // PILOTS)]:
        paths = list(group.paths.values())[:1]
        begin = time.perf_counter()
        program = group.program(size=1)
        integrated(program, paths)
        compiled = time.perf_counter()
        trajectories = integrated(program, paths)
        compile_s.append(compiled - begin)
        path_s.append(time.perf_counter() - compiled)
        size.append(sum(values.nbytes for values in rows_of(paths, trajectories).values()))
    count = sum(len(group.paths) for group in groups)
    seconds = float(np.mean(compile_s)) * len(groups) + float(np.mean(path_s)) * count / jax.device_count()
    # Rows are stored as they finish, and once more on the swept axes.
    return seconds, 2 * float(np.mean(size)) * count / 1e6
