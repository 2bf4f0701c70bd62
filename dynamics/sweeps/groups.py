"""Members of a sweep that share their programs, integrated together: all laws, from checkpoint to checkpoint."""

import functools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from dynamics.config import ConfigError
from dynamics.runs.ensemble import PATHS, Program, Strategy
from dynamics.runs.experiment import Experiment
from dynamics.runs.programs import form
from dynamics.runs.run import summary_of
from dynamics.sweeps.results import Rows
from dynamics.sweeps.sweep import Sweep
from dynamics.trajectory import COMPLETED, NON_FINITE, Trajectory

__all__ = ["Group", "ended", "groups", "integrated", "one_line"]


@dataclass
class Group:
    """Members that share their programs.

    Attributes:
        members: {their number in the sweep: what they are}.
        strategy: see Program.
    """

    members: dict[int, Experiment] = field(default_factory=dict)
    strategy: Strategy | None = None

    @property
    def size(self) -> int:
        """The largest number of members of a call."""
        return min(len(self.members), PATHS)

    def programs(self, size: int | None = None) -> dict[str, Program]:
        """A program for every law, compiling in the background."""
        first = next(iter(self.members.values()))
        inputs = (first.segment(0), size or self.size, 1, self.strategy)
        return {law: Program(first, law, *inputs) for law in first.laws}


def groups(sweep: Sweep, strategy: Strategy | None = None) -> tuple[list[Group], dict[int, str]]:
    """The groups of all members, and {number of a member: why it can be in none}."""
    of_form: dict[Hashable, Group] = {}
    refused: dict[int, str] = {}
    for number, member in enumerate(sweep.members):
        try:
            found = Experiment.from_config(sweep.config_of(member))
            forms = tuple((law, form(found, law)) for law in found.laws)
            group = of_form.setdefault((forms, len(found.times), len(found.segments)), Group(strategy=strategy))
            group.members[number] = found
        except Exception as error:  # whatever a task, a model or a law of a user's own may raise
            refused[number] = one_line(error)
    return list(of_form.values()), refused


def integrated(
    programs: Mapping[str, Program],
    members: Sequence[Experiment],
    stored: Sequence[Rows] = (),
    checkpoint_s: float = np.inf,
    keep: Callable[[Rows], None] = lambda _: None,
) -> Rows:
    """Integrate all laws of members of one form.

    Args:
        programs: of the laws.
        members: what they are.
        stored: what `keep` was given for each of them, when they are to go on from there.
        checkpoint_s: seconds between calls of `keep`.
        keep: called with all that is needed to go on.

    Returns:
        {"LAW/PROBE": [member, t, ...], nan where the law did not come} and, for every law, its times "LAW/t"
        [member, t] and how it ended, "LAW/end", "LAW/steps" and "LAW/outcome" [member].
    """
    rows: Rows = {name: np.concatenate([one[name] for one in stored]) for name in (stored[0] if stored else ())}
    at_law, at_segment = rows.pop("at")[0].tolist() if rows else (0, 0)
    segments = len(members[0].segments)
    kept = time.perf_counter()
    for number, (law, program) in enumerate(programs.items()):
        if number < at_law:
            continue
        cohort = program.begin(members, [found.segment(0) for found in members])
        places = program.places(len(members))
        begin = at_segment if number == at_law else 0
        if begin:
            state: Any = (cohort.params, cohort.memory)
            leaves = [_with(leaf, places, rows[f"state/{i}"]) for i, leaf in enumerate(jax.tree.leaves(state))]
            state = jax.tree.unflatten(jax.tree.structure(state), leaves)
            outcome = _with(cohort.outcome, places, rows[f"{law}/outcome"])
            cohort = program.onwards(cohort, [found.segment(begin) for found in members], outcome, state)
        for segment in range(begin, segments):
            reached = program(cohort)
            _add(rows, law, members, segment, jax.tree.map(functools.partial(_rows_at, places), reached))
            goes_on = segment + 1 < segments
            state = (reached.params, reached.memory) if goes_on else ()
            if goes_on:
                outcome = _with(reached.outcome, places, rows[f"{law}/outcome"])
                cohort = program.onwards(cohort, [found.segment(segment + 1) for found in members], outcome, state)
            if time.perf_counter() - kept > checkpoint_s:
                now = {f"state/{i}": leaf[places] for i, leaf in enumerate(jax.tree.leaves(state))}
                position = (number, segment + 1) if goes_on else (number + 1, 0)
                keep({**rows, **now, "at": np.tile(position, (len(members), 1))})
                kept = time.perf_counter()
    return {name: values for name, values in rows.items() if not name.startswith("state/")}


def _rows_at(places: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    return leaf[places]


def _with(leaf: Any, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    changed = leaf.copy()
    changed[places] = values
    return changed


def _add(rows: Rows, law: str, members: Sequence[Experiment], segment: int, reached: Trajectory) -> None:
    """Add what members found in a segment; its first row is the last one of the segment before."""
    count = len(members)
    if segment == 0:
        rows[f"{law}/t"] = np.stack([found.times for found in members])
        rows |= {f"{law}/{key}": np.zeros(count) for key in ("end", "steps", "outcome")}
        for probe, values in reached.probes.items():
            rows[f"{law}/{probe}"] = np.full((count, len(members[0].times), *values.shape[2:]), np.nan)
    part = members[0].segments[segment]
    new = slice(int(segment > 0), part.stop - part.start)
    goes_on = rows[f"{law}/outcome"] == COMPLETED
    for probe, values in reached.probes.items():
        valid = (reached.valid & goes_on[:, None])[:, new].reshape(count, -1, *(1,) * (values.ndim - 2))
        rows[f"{law}/{probe}"][:, part.start + new.start : part.stop] = np.where(valid, values[:, new], np.nan)
    rows[f"{law}/steps"] += np.where(goes_on, reached.steps, 0)
    rows[f"{law}/end"] = np.where(goes_on, reached.end, rows[f"{law}/end"])
    rows[f"{law}/outcome"] = np.where(goes_on, reached.outcome, rows[f"{law}/outcome"])


def ended(found: Experiment, rows: Rows, i: int) -> dict[str, Any]:
    """State, reason and numbers of the member in row i, as the journal has them."""
    laws, states, reasons = {}, [], []
    for law in found.laws:
        values = {
            name.removeprefix(f"{law}/"): column[i] for name, column in rows.items() if name.startswith(f"{law}/")
        }
        outcome = int(values.pop("outcome"))
        end, steps, t = values.pop("end"), values.pop("steps"), values.pop("t")
        known = np.ones(len(t), bool) if outcome == COMPLETED else t < end
        probes = {name: column[known] for name, column in values.items()}
        trajectory = Trajectory(t[known], probes, known, None, *map(np.asarray, (int(steps), outcome, float(end))))
        summary = summary_of(found.laws[law], trajectory)
        if "margin" in probes:
            summary.setdefault("classification_time", float("nan"))
        state = "diverged" if outcome == NON_FINITE else summary.pop("state")
        states.append(state)
        reasons += [f"{law}: {summary['reason']}"] if state != "done" else []
        laws[law] = {key: value for key, value in summary.items() if key not in ("state", "reason")}
    worst = next((state for state in ("failed", "diverged") if state in states), "done")
    return {"state": worst, "reason": "; ".join(reasons), "laws": laws}


def one_line(error: Exception) -> str:
    """What an exception says, as the reason of a member."""
    kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())[:300]
