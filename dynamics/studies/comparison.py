"""Laws from common starts: distances between their trajectories over t.

Every law is integrated at every step η of a grid (the time between updates; once when it knows of none), from every
seed (of data and start), and a random one draws times. How far a law is from a reference in a probe p is

    |p − p_ref| (t) / max_{s ≤ t} |p_ref| (s),    Euclidean over the entries of p; of a random law p is the mean.
"""

import pathlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dynamics.analysis.events import classification_time
from dynamics.config import build, config_hash, require
from dynamics.laws import Law
from dynamics.probes import coordinates, dimensions
from dynamics.runs.ensemble import Ensemble
from dynamics.runs.experiment import Experiment, common_times
from dynamics.runs.record import Arrays, Record, Recorder, provenance
from dynamics.runs.run import described
from dynamics.trajectory import COMPLETED, REASONS, Times

__all__ = ["Comparison", "Settings", "compare"]

AXES = ("seed", "step", "draw")
# Of a random law they are not followed: draws × times × parameters do not fit into memory.
LARGE = ("parameters",)
Probes = dict[str, np.ndarray]  # [seed, step, draw, t, ...]; an axis that a law does not have is of length 1


@dataclass(frozen=True)
class Settings:
    """The group `compare` of a config.

    Attributes:
        pairs: (law, reference) to be compared; without, every law with the one called flow.
        steps: η; without, every law has its own.
        seeds: this many, from the config's on.
        draws: of a random law from every start.
        tolerance: the distance beyond which a law has left its reference.
        claims: the module with the claims on such a record, or empty.
    """

    pairs: tuple[tuple[str, ...], ...]
    steps: tuple[float, ...]
    seeds: int
    draws: int
    tolerance: float
    claims: str

    def __post_init__(self):
        for pair in self.pairs:
            require(len(pair) == 2, "pairs", pair, "must be (law, reference)")
        increasing = len(set(self.steps)) == len(self.steps) and all(step > 0 for step in self.steps)
        require(increasing, "steps", self.steps, "must be positive and different")
        require(self.seeds >= 1, "seeds", self.seeds, "must be at least 1")
        require(self.draws >= 1, "draws", self.draws, "must be at least 1")
        require(self.tolerance > 0, "tolerance", self.tolerance, "must be positive")


@dataclass(frozen=True)
class Comparison:
    """A config with its meaning checked, as the members of a comparison.

    Attributes:
        settings: of the comparison.
        pairs: (law, reference).
        steps: of every law, references first; empty when the grid says nothing to it.
        members: of every law, its steps running fastest, then seeds.
    """

    settings: Settings
    pairs: list[tuple[str, str]]
    steps: dict[str, tuple[float, ...]]
    members: dict[str, list[Experiment]]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Comparison":
        """Check a config and give it its meaning; nothing is computed and nothing written.

        Raises:
            ConfigError: naming the key, the value found and what is allowed.
        """
        found = Experiment.from_config(config)
        settings = build(Settings, config["compare"], "compare.")
        random = [name for name, law in found.laws.items() if law.random]
        allowed = f"must be at least 2, since laws.{random[0]} is random: one draw has no variance" if random else ""
        require(settings.draws >= 2 or not random, "compare.draws", settings.draws, allowed)
        names = list(found.laws)
        pairs = [(law, reference) for law, reference in settings.pairs]
        if not pairs:
            allowed = f"must be (law, reference), ..., when none of the laws, {', '.join(names)}, is called flow"
            require("flow" in names, "compare.pairs", settings.pairs, allowed)
            pairs = [(name, "flow") for name in names if name != "flow"]
        for name in (name for pair in pairs for name in pair):
            require(name in names, "compare.pairs", name, f"must be among the laws, {', '.join(names)}")
        steps, at_steps, keys = {}, {}, []
        for name in dict.fromkeys([*(reference for _, reference in pairs), *names]):
            law = found.laws[name]
            steps[name] = settings.steps if law.at_step(1.0) is not law else ()
            at_steps[name] = [law.at_step(step) for step in steps[name]] or [law]
            key = "compare.steps" if steps[name] else f"laws.{name}.learning_rate"
            keys += [(key, law.step) for law in at_steps[name] if law.step is not None]
        found = replace(found, times=common_times(build(Times, config["times"], "times."), keys))

        def member(name: str, law: Law, seed: int) -> Experiment:
            probes = tuple(probe for probe in found.probes if not (law.random and probe in LARGE))
            return replace(found, laws={name: law}, seed=seed, probes=probes)

        seeds = range(found.seed, found.seed + settings.seeds)
        members = {name: [member(name, law, seed) for seed in seeds for law in laws] for name, laws in at_steps.items()}
        return cls(settings, pairs, steps, members)

    def draws(self, name: str) -> int:
        """Paths of a law from every start."""
        return self.settings.draws if self.members[name][0].laws[name].random else 1

    def axes(self, name: str) -> dict[str, Any]:
        """The labels of the axes that the record of a law has before those of its probes."""
        start = self.members[name][0].seed
        axes: dict[str, Any] = {"seed": range(start, start + self.settings.seeds)}
        if self.steps[name]:
            axes["step"] = self.steps[name]
        if self.draws(name) > 1:
            axes["draw"] = range(self.draws(name))
        return axes


def compare(
    config: Mapping[str, Any],
    workdir: pathlib.Path,
    name: str,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> Record:
    """Integrate all members and record them.

    The record has a group for every law, with dimensions seed, step (when the grid says something to the law), draw
    (of a random law) and those of the probes, and beside the probes `end`, the last time reached, and
    `classification_time`. For every law A and reference B of the same variables it has a group "A to B": of every
    probe p the distance, and of a random law also p_error, the standard error of its mean in the unit of the distance,
    and p_variance, the variance summed over the entries of p in the square of that unit.

    Args:
        config: plain values; see Settings.
        workdir: where run folders are.
        name: of the new run folder.
        report: called with (law, members done, members) while it goes on.

    Raises:
        ConfigError: for a mistake in the config or a name that exists; nothing is written.
    """
    begin = time.perf_counter()
    found = Comparison.from_config(config)
    ensembles = {law: Ensemble(members, law, found.draws(law)) for law, members in found.members.items()}
    first = next(iter(found.members.values()))[0]
    recorder = Recorder(workdir, name, config, {**provenance(first.model.dtype), "config": config_hash(config)})
    seconds: dict[str, float] = {}
    laws: dict[str, dict[str, Any]] = {}
    waiting = list(found.pairs)
    held: dict[str, Probes] = {}
    state, reason = "done", ""
    try:
        for law in found.members:
            started = time.perf_counter()
            held[law], ended = _followed(found, law, ensembles[law], report)
            laws[law] = _summary(found, law, ended)
            recorder.group(law, *_group(found, law, held[law], ended))
            for pair in [pair for pair in waiting if set(pair) <= set(held)]:
                recorder.group(" to ".join(pair), *_between(found, *pair, held))
                waiting.remove(pair)
            held = {name: probes for name, probes in held.items() if any(name in pair for pair in waiting)}
            seconds[law] = time.perf_counter() - started
    except KeyboardInterrupt:
        state, reason = "interrupted", f"interrupted in {law}; the laws before it are recorded"
    recorder.close()
    seconds["total"] = time.perf_counter() - begin
    recorder.status(state=state, reason=reason, laws=laws, seconds=seconds)
    return Record(recorder.path)


def _group(
    found: Comparison, law: str, probes: Probes, ended: Mapping[str, np.ndarray]
) -> tuple[Arrays, dict[str, Any], dict[str, Any]]:
    """The group of a law."""
    first, axes = found.members[law][0], found.axes(law)
    model = first.abstract_start_of(law)[1].model
    arrays = {
        probe: _labelled(values, axes, ("t", *dimensions(probe, model)))
        for probe, values in probes.items()
        if probe not in LARGE
    }
    ends = {key: _labelled(values, axes, ()) for key, values in ended.items()}
    labels = {**coordinates(first.task, model, first.words), **axes, "t": first.times}
    return {**arrays, **ends}, labels, described(first.laws[law])


def _between(
    found: Comparison, law: str, reference: str, held: Mapping[str, Probes]
) -> tuple[Arrays, dict[str, Any], dict[str, Any]]:
    """The group "A to B"."""
    axes = {"seed": found.axes(law)["seed"], "step": found.steps[law] or found.steps[reference]}
    axes = {axis: labels for axis, labels in axes.items() if len(labels)}
    distances = _distances(held[law], held[reference])
    arrays = {probe: _labelled(values[:, :, None], axes, ("t",)) for probe, values in distances.items()}
    return arrays, {**axes, "t": found.members[law][0].times}, {}


def _followed(
    found: Comparison, law: str, ensemble: Ensemble, report: Callable[[str, int, int], None]
) -> tuple[Probes, dict[str, np.ndarray]]:
    """All probes of a law, and the time of classification, the last time reached and the outcome of every path."""
    members = found.members[law]
    shape = (found.settings.seeds, len(members) // found.settings.seeds, found.draws(law))
    probes: Probes = {}
    ended = {key: np.full(shape, np.nan) for key in ("classification_time", "end", "outcome")}
    for i, _, trajectory in ensemble:
        place = divmod(i, shape[1])
        for name, values in trajectory.probes.items():
            rows = values if shape[2] > 1 else values[None]
            probes.setdefault(name, np.full((*shape, *rows.shape[1:]), np.nan))[place] = rows
        ended["end"][place], ended["outcome"][place] = trajectory.end, trajectory.outcome
        if "margin" in probes:
            ended["classification_time"][place] = [
                classification_time(trajectory.t, margin) for margin in probes["margin"][place]
            ]
        report(law, i + 1, len(members))
    return probes, ended


def _summary(found: Comparison, law: str, ended: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """State and reason of a law: how many of its paths did not reach the last time, and the first of them."""
    outcome = ended["outcome"]
    failed = np.argwhere(outcome != COMPLETED)
    summary = {"state": "done", "reason": f"all {outcome.size} paths reached the last time"}
    if len(failed):
        seed, step, _ = place = tuple(failed[0])
        at = f"step {found.steps[law][step]:g}, " if found.steps[law] else ""
        which = f"{at}seed {found.members[law][0].seed + seed}, t = {ended['end'][place]:.4g}"
        reason = f"{len(failed)} of {outcome.size} paths failed; the first ({which}): {REASONS[int(outcome[place])]}"
        summary = {"state": "failed", "reason": reason}
    return {**summary, "end": float(np.min(ended["end"]))}


def _labelled(values: np.ndarray, axes: Mapping[str, Any], dims: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """(dimension names, values) from values [seed, step, draw, *dims], without the axes that there are not."""
    kept = tuple(slice(None) if axis in axes else 0 for axis in AXES)
    return (*(axis for axis in AXES if axis in axes), *dims), values[kept]


def _distances(probes: Probes, exact: Probes) -> Probes:
    """What a group "A to B" holds [seed, step, t]."""
    found = {}
    for name in probes.keys() & exact.keys():
        values, reference = probes[name], exact[name]
        if values.shape[4:] != reference.shape[4:]:
            continue  # weights and Gram variables
        entries = tuple(range(3, values.ndim - 1))
        mean, centre = values.mean(axis=2), reference.mean(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.maximum.accumulate(np.sqrt(np.sum(centre**2, axis=entries)), axis=2)
            found[name] = np.sqrt(np.sum((mean - centre) ** 2, axis=entries)) / size
            draws = values.shape[2]
            if draws > 1:
                variance = np.sum(np.var(values, axis=2, ddof=1), axis=entries) / size**2
                # The reference may be random as well.
                of_reference = (
                    np.sum(np.var(reference, axis=2), axis=entries) / max(reference.shape[2] - 1, 1) / size**2
                )
                found[f"{name}_variance"] = variance
                found[f"{name}_error"] = np.sqrt(variance / draws + of_reference)
    return found
