"""Parts of a recorded trajectory, integrated again from a stored checkpoint by the program of the recorded config."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from dynamics.config import ConfigError
from dynamics.laws import Flow, Law
from dynamics.runs.engine import Program, going_on
from dynamics.runs.experiment import Experiment
from dynamics.runs.identity import changed, code
from dynamics.runs.origin import NEEDED, provenance
from dynamics.runs.parts import named
from dynamics.runs.path import Path, State
from dynamics.runs.record import Record
from dynamics.trajectory import Trajectory, joined

# Elsewhere sums are taken in another order: errors of about 1e-16 and 1e-7, which a trajectory may amplify.
TOLERANCES = {"float64": 1e-6, "float32": 1e-2}
OF_FLOWS = 100  # times rtol: steps that begin apart by a bit end apart by about the tolerance


@dataclass(frozen=True)
class Agreement:
    """How nearly numbers must agree that are integrated again.

    Attributes:
        differs: what is not as it was when they were recorded; if nothing is, they must have the same bits.
        dtype: of the arrays.
    """

    differs: tuple[str, ...]
    dtype: str

    @classmethod
    def of(cls, before: Mapping[str, Any], config: Any) -> "Agreement":
        """Compare the provenance of a run with this process; `config` names the parts of a user."""
        made_of = code(named(config))
        here = provenance(before["dtype"], "", made_of)
        differs = [key for key in NEEDED if before[key] != here[key]]
        differs += [f"the code of {name}" for name in changed(before["code"], made_of)]
        if "commit" not in differs and here["commit"].endswith("+changes"):
            differs.append("perhaps the code at this commit, which has changes")
        return cls(tuple(differs), before["dtype"])

    def tolerance(self, law: Law) -> float:
        """The largest |difference| that is allowed, in units of the largest entry of an array."""
        if not self.differs:
            return 0.0
        least = TOLERANCES[self.dtype]
        return max(least, OF_FLOWS * float(law.rtol)) if isinstance(law, Flow) else least

    def disagreement(self, law: Law, recorded: Mapping[str, Any], again: Mapping[str, Any]) -> tuple[str, float]:
        """The first array that does not agree, "" if all do; and the largest difference of all arrays that do.

        Args:
            law: that moved.
            recorded: {name: array}.
            again: {name: array}, the same names.
        """
        largest = 0.0
        for name, values in recorded.items():
            off = difference(values, again[name])
            if off > self.tolerance(law):
                return name, off
            largest = max(largest, off)
        return "", largest


def difference(one: Any, other: Any) -> float:
    """Max |one − other| / max |one|, 0 for the same bits; infinite for other shapes, or where only one is finite."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes():
        return 0.0
    if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return np.inf
    finite = np.isfinite(one)
    off = np.abs(one[finite].astype(float) - other[finite].astype(float))
    # Without a difference, bits may still differ, as those of 0 and -0 do.
    scale = np.max(np.abs(one[finite].astype(float)), initial=np.finfo(float).tiny)
    return float(max(np.max(off, initial=0.0) / scale, np.finfo(float).tiny))


class Again(NamedTuple):
    """A segment that was integrated again.

    Attributes:
        number: of the segment.
        trajectory: what it adds to those before.
        state: after it.
    """

    number: int
    trajectory: Trajectory
    state: State


class Replay:
    """One law of a run, to be integrated again from any of its checkpoints."""

    def __init__(self, record: Record, law: str, more: Sequence[str] = ()):
        """Compile the program of the recorded config.

        Args:
            record: of the run.
            law: its name.
            more: probes that are added to those of the config.

        Raises:
            ConfigError: for a config whose parts are not registered, or probes that do not fit.
        """
        config = record.config.to_dict()
        config["probes"] = list(dict.fromkeys([*config["probes"], *more]))
        self.record, self.experiment = record, Experiment.from_config(config)
        self.path = Path(self.experiment, law)
        self.law = self.experiment.laws[law]

    @functools.cached_property
    def _begun(self) -> tuple[Program, Any, State]:
        program = Program(self.path, size=1)
        return program, *program.begin([self.path])

    def stored(self, number: int) -> State:
        """The state at the beginning of a segment, as it is stored."""
        _, _, start = self._begun
        like = jax.tree.map(lambda leaf: np.asarray(leaf[0]), (start.params, start.memory))
        t = float(self.experiment.checkpoint_times[number])
        try:
            stored = self.record.state_at(self.path.law, t, like)
        except ValueError:  # orbax prints all of both
            allowed = f"must have the parameters and the memory of the law {self.path.law!r}, as its code is now"
            raise ConfigError("checkpoint", t, allowed) from None
        params, memory = jax.tree.map(lambda leaf: np.asarray(leaf)[None], stored)
        return State.begin(number, params, memory, np.full(1, t, self.experiment.model.dtype))

    def segment(self, number: int) -> Again:
        """A segment again, from the checkpoint at which it began."""
        program, places, _ = self._begun
        return self._again(program, self.path, places, self.stored(number))

    def _again(self, program: Program, path: Path, places: Any, state: State) -> Again:
        number, parts = state.segment, []
        for stretched in going_on(program, [path], places, state):
            parts.append(stretched.of_path(0, path.experiment))
            if stretched.state.segment > number:
                break
        return Again(number, joined(parts), stretched.state)

    def stretch(self, number: int, times: np.ndarray) -> Trajectory:
        """The trajectory at other times, of which the first is that of the checkpoint at which a segment begins."""
        experiment = replace(self.experiment, times=times, checkpoints=1)
        path = Path(experiment, self.path.law)
        program = Program(path, size=1)
        places, _ = program.begin([path])
        return self._again(program, path, places, self.stored(number)._replace(segment=0)).trajectory

    def ends(self, segment: Again) -> tuple[dict[str, Any], dict[str, Any]]:
        """{name: array} of the checkpoint at the end of a segment: as it is stored, and as it was integrated again.

        Nothing, where none is stored.
        """
        number = segment.number + 1
        if number >= len(self.record.checkpoints(self.path.law)):
            return {}, {}
        stored = self.stored(number)
        reached = {"params": segment.state.params, "memory": segment.state.memory}
        here = jax.tree.leaves_with_path({"checkpoint": reached})
        names = [jax.tree_util.keystr(where, simple=True, separator="/") for where, _ in here]
        there = map(np.asarray, jax.tree.leaves({"params": stored.params, "memory": stored.memory}))
        again = (np.asarray(leaf) for _, leaf in here)
        return dict(zip(names, there, strict=True)), dict(zip(names, again, strict=True))
