"""Trajectories, and what time is.

Time is t = η·k always, with η the step (learning rate) and k the number of steps; the flow's own time is the same t.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from dynamics.config import ConfigError, require

Values = Array | np.ndarray  # in a solve, and on the host

MOST_TIMES = 1_000_000  # that a grid may have

COMPLETED, NON_FINITE, OUT_OF_STEPS, HANDED_OVER, PAUSED = 0, 1, 2, 3, 4
# What the solver of a flow notes at every saved time: the evaluations of the velocity so far, whether the step there is
# one of the stabilised method, and the spectral radius of the Jacobian, which explicit steps do not know (nan).
SOLVER_NOTES = ("evaluations", "stabilised", "spectral_radius")
# A descent with a learning-rate schedule notes the time t_k that it really reached for every saved time.
NOTES = (*SOLVER_NOTES, "reached")
REASONS = {
    COMPLETED: "reached the last time",
    NON_FINITE: "the loss stopped being finite",
    OUT_OF_STEPS: "the solver could not meet the tolerance within max_steps or at the smallest step",
}


class Trajectory(NamedTuple):
    """Probes over time; what every law returns.

    Attributes:
        t: the times asked for, the first one that of the starting parameters.
        probes: {name: [time, ...]}; rows that are not `valid` mean nothing.
        valid: whether the law reached that time now, with a finite loss.
        params: the parameters at `end`.
        steps: accepted steps of the law.
        outcome: COMPLETED, NON_FINITE or OUT_OF_STEPS; HANDED_OVER where another turn of the law goes on; PAUSED where
            the law itself goes on.
        end: the last time reached; after a failure the time at which it happened.
        memory: what the law needs beside the parameters to go on from a checkpoint.
        state: what it needs beside both to go on from a pause.
        at_checkpoints: {name: [checkpoint, ...]}, large probes, which are recorded at checkpoints only.
        notes: what the solver of a flow did, or the times that a descent with a schedule reached, {name in NOTES:
            [time]}; other laws have none.
    """

    t: Float[Values, " T"]
    probes: dict[str, Float[Values, "T ..."]]
    valid: Bool[Values, " T"]
    params: PyTree
    steps: Int[Values, ""]
    outcome: Int[Values, ""]
    end: Float[Values, ""]
    memory: PyTree = None
    state: PyTree = None
    at_checkpoints: dict[str, Float[Values, "C ..."]] = {}  # noqa: RUF012  (never changed)
    notes: dict[str, Float[Values, " T"]] = {}  # noqa: RUF012


def joined(parts: Sequence[Trajectory]) -> Trajectory:
    """One trajectory from consecutive ones on the host (numpy leaves)."""
    last = parts[-1]
    return Trajectory(
        t=np.concatenate([part.t for part in parts]),
        probes={name: np.concatenate([part.probes[name] for part in parts]) for name in last.probes},
        notes={name: np.concatenate([part.notes[name] for part in parts]) for name in last.notes},
        valid=np.concatenate([part.valid for part in parts]),
        params=last.params,
        steps=np.sum([part.steps for part in parts]),
        outcome=last.outcome,
        end=last.end,
        memory=last.memory,
        state=last.state,
        at_checkpoints={
            name: np.concatenate([part.at_checkpoints[name] for part in parts]) for name in last.at_checkpoints
        },
    )


@dataclass(frozen=True)
class Times:
    """The times at which probes are saved; t = 0 is always the first.

    Attributes:
        spacing: "linear" (count equal intervals of [0, stop]), "logarithmic" (count times from start to stop, equally
            spaced in log t) or "given".
        start: the first time after 0; logarithmic only.
        stop: the last time; linear and logarithmic.
        count: how many times after 0; linear and logarithmic.
        given: increasing times after 0; "given" only.
        multiple_of: what every time is a multiple of; if not given, the largest step of the laws that share the grid.
    """

    spacing: Literal["linear", "logarithmic", "given"] = "logarithmic"
    start: float = 0.01
    stop: float = 300.0
    count: int = 200
    given: tuple[float, ...] = ()
    multiple_of: float | None = None

    def __post_init__(self):
        positive = self.multiple_of is None or self.multiple_of > 0
        require(positive, "multiple_of", self.multiple_of, "must be positive")
        if self.spacing == "given":
            increasing = all(a < b for a, b in zip((0.0, *self.given), self.given, strict=False))
            require(bool(self.given) and increasing, "given", self.given, "must be positive and increasing")
            return
        require(2 <= self.count <= MOST_TIMES, "count", self.count, f"must be 2 to {MOST_TIMES}")
        require(self.stop > 0, "stop", self.stop, "must be positive")
        if self.spacing == "logarithmic":
            require(0 < self.start < self.stop, "start", self.start, f"must lie between 0 and stop = {self.stop}")

    @functools.cached_property
    def _ideal(self) -> np.ndarray:
        """The times after 0, before they become multiples of a step."""
        if self.spacing == "given":
            return np.array(self.given)
        if self.spacing == "linear":
            return np.linspace(0.0, self.stop, self.count + 1)[1:]
        return np.geomspace(self.start, self.stop, self.count)

    def grid(self, step: float | None = None) -> np.ndarray:
        """The times, 0 first, strictly increasing.

        Args:
            step: when given, every time is a distinct multiple of it, η·k with the largest η of the laws that
                share the grid, so that flow and descent are seen at exactly the same times.

        Raises:
            ConfigError: when the multiples of `step` cannot hold the grid.
        """
        ideal = self._ideal
        if step is None:
            return np.concatenate([[0.0], ideal])
        allowed = f"must be less than 2^53 steps of the learning rate {step}"
        require(float(ideal[-1]) < 2**53 * step, "stop", float(ideal[-1]), allowed)
        k = np.rint(ideal / step).astype(np.int64)
        if self.spacing == "given":
            off = np.abs(k * step - ideal) > 1e-9 * ideal
            if off.any():
                raise ConfigError("given", float(ideal[off][0]), f"must be multiples of the learning rate {step}")
        last = int(k[-1])
        allowed = f"must leave room for distinct multiples of the learning rate {step} up to {last * step}"
        places = np.arange(len(k))
        k = np.maximum.accumulate(np.maximum(k - places, 1)) + places  # distinct, and the first at least 1
        require(int(k[-1]) == max(last, 1), "count", len(k), allowed)
        return np.concatenate([[0], k]) * step
