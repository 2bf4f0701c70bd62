"""A config, executed and recorded in a run folder."""

import contextlib
import pathlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np

from dynamics.config import config_hash
from dynamics.laws import Flow, Law
from dynamics.probes import coordinates, dimensions
from dynamics.runs.experiment import Experiment
from dynamics.runs.programs import programs, solve
from dynamics.runs.record import Arrays, Record, Recorder, provenance
from dynamics.runs.tracking import Tracker
from dynamics.trajectory import COMPLETED, REASONS, Trajectory, classification_time, joined

__all__ = ["described", "execute", "summary_of", "training_set"]

IMAGES_PER_LAW = 8
# Dimensions of what a model holds fixed and of what a task draws before its samples.
OTHERS = {"a": ("neuron",), "width": (), "transitions": ("word", "next_word")}


class _Clock:
    """Seconds by what they were spent on."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - begin


def execute(
    config: Mapping[str, Any],
    workdir: pathlib.Path,
    name: str,
    report: Callable[[str, Trajectory, float], None] = lambda *_: None,
    draw: Callable[[Record], list[pathlib.Path]] = lambda _: [],
) -> Record:
    """Integrate the laws of a config one after another and record them in workdir/name.

    A law that fails is recorded up to its failure, and the others go on. After Ctrl-C what was integrated is recorded.

    Args:
        config: plain values; see dynamics.config.base.
        workdir: where run folders are.
        name: of the new run folder.
        report: called with (law, part of its trajectory, fraction of its time) after every part.
        draw: makes the figures of the finished record; their pictures are mirrored to wandb.

    Returns:
        The record; its status says "done", "failed" or "interrupted".

    Raises:
        ConfigError: for a mistake in the config or a name that exists; nothing is written.
    """
    begin, clock = time.perf_counter(), _Clock()
    found = Experiment.from_config(config)
    compiled = programs(found)
    recorder = Recorder(workdir, name, config, {**provenance(found.model.dtype), "config": config_hash(config)})
    data = training_set(found)
    with clock("record"):
        recorder.group("data", data, {"sample": range(found.task.samples)}, {})
    with clock("tracking"):
        tracker = Tracker(config["wandb"], recorder.path, config)
    laws: dict[str, dict[str, Any]] = {}
    for law in found.laws:
        laws[law] = _follow(found, law, compiled[law], recorder, tracker, clock, report)
        if laws[law]["state"] == "interrupted":
            break
    with clock("record"):
        recorder.close()
    states = [summary["state"] for summary in laws.values()]
    state = next((bad for bad in ("interrupted", "failed") if bad in states), "done")
    reason = "; ".join(f"{law}: {summary['reason']}" for law, summary in laws.items() if summary["state"] != "done")
    recorder.status(state=state, reason=reason, laws=laws, seconds=clock.seconds)
    record = Record(recorder.path)
    if state != "interrupted":
        with clock("figures"):
            tracker.figures([path for path in draw(record) if path.suffix in (".png", ".gif")])
    with clock("tracking"):
        tracker.finish(_flat(laws), state != "done")
    clock.seconds["total"] = time.perf_counter() - begin
    recorder.status(state=state, reason=reason, laws=laws, seconds=clock.seconds)
    return record


def _flat(laws: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{law}/{key}": value for law, summary in laws.items() for key, value in summary.items()}


def _follow(
    found: Experiment,
    law: str,
    compiled: Future,
    recorder: Recorder,
    tracker: Tracker,
    clock: _Clock,
    report: Callable[[str, Trajectory, float], None],
) -> dict[str, Any]:
    """Integrate one law, mirror it while it runs, record it; its summary."""
    start, objective, _ = found.start_of(law)
    labels = coordinates(found.task, found.words, objective.model)
    images = set(np.geomspace(1, len(found.times), IMAGES_PER_LAW).astype(int) - 1)
    parts: list[Trajectory] = []
    compile_s, solve_s, interrupted, rows = 0.0, 0.0, False, 0
    try:
        program, compile_s = compiled.result()
        with clock("record"):
            recorder.checkpoint(law, 0.0, start)
        for part, seconds in solve(found, law, program):
            parts.append(part)
            solve_s += seconds
            report(law, part, float(part.end / found.times[-1]))
            if part.outcome == COMPLETED:
                with clock("record"):
                    recorder.checkpoint(law, float(part.t[-1]), part.params)
            with clock("tracking"):
                drawn = [i for i in range(len(part.t)) if rows + i in images]
                tracker.trajectory(law, part.t, _arrays(found, part), labels, drawn)
            rows += len(part.t)
    except KeyboardInterrupt:
        interrupted = True
    if not parts:
        return {"state": "interrupted", "reason": "interrupted before the first checkpoint"}
    trajectory = joined(parts)
    summary = {**summary_of(found.laws[law], trajectory, interrupted), "compile_s": compile_s, "solve_s": solve_s}
    if found.certify and isinstance(found.laws[law], Flow) and summary["state"] == "done":
        with clock("certify"):
            reference = joined([part for part, _ in solve(found.tighter(law), law, program)])
        errors = _errors(trajectory, reference)
        summary["error"] = {probe: float(np.max(error)) for probe, error in errors.items()}
        arrays: Arrays = {probe: (("t",), error) for probe, error in errors.items()}
        with clock("record"):
            recorder.group(f"{law}_error", arrays, {"t": trajectory.t}, described(found.tighter(law).laws[law]))
    with clock("record"):
        attributes = {**summary, **described(found.laws[law])}
        recorder.group(law, _arrays(found, trajectory), {"t": trajectory.t, **labels}, attributes)
    return summary


def _errors(found: Trajectory, reference: Trajectory) -> dict[str, np.ndarray]:
    """Max |p − p_ref| / max |p_ref| over the entries of every probe p, by time; large where a probe crosses zero."""

    def error(values: Any, exact: Any) -> np.ndarray:
        axes = tuple(range(1, exact.ndim))
        return np.max(np.abs(values - exact), axis=axes) / np.max(np.abs(exact), axis=axes)

    rows = len(reference.t)
    # The drift of the reference is nearly zero: nothing to compare with.
    return {
        name: error(found.probes[name][:rows], exact) for name, exact in reference.probes.items() if name != "drift"
    }


def described(law: Law) -> dict[str, Any]:
    """{"law": its class, and its settings by name}."""
    return {"law": type(law).__name__, **vars(law)}


def _arrays(found: Experiment, trajectory: Trajectory) -> Arrays:
    return {name: (("t", *dimensions(name, found.model)), values) for name, values in trajectory.probes.items()}


def training_set(found: Experiment) -> Arrays:
    """The group "data" of a record: the samples, and what was drawn or is held fixed beside them."""
    _, objective = found.start
    batch = objective.batch
    types = np.array(found.task.types)[np.asarray(batch.type)]
    others = {**objective.constants, **(batch.source or {})}
    return {
        "tokens": (("sample", "position"), batch.tokens),
        "label": (("sample", "position")[: batch.label.ndim], batch.label),
        "type": (("sample",), types),
        **{name: (OTHERS[name], values) for name, values in others.items()},
    }


def summary_of(law: Law, trajectory: Trajectory, interrupted: bool = False) -> dict[str, Any]:
    """State, reason and the numbers that matter of a law."""
    end, outcome = float(trajectory.end), int(trajectory.outcome)
    summary: dict[str, Any] = {"state": "done", "reason": f"{REASONS[outcome]}, t = {end:.6g}"}
    if interrupted:
        summary = {"state": "interrupted", "reason": f"interrupted after t = {end:.6g}"}
    elif outcome != COMPLETED:
        summary = {"state": "failed", "reason": f"{REASONS[outcome]} at t = {end:.6g}"}
    if isinstance(law, Flow):
        summary["rtol"] = law.rtol
    summary |= {"end": end, "steps": int(trajectory.steps)}
    probes = trajectory.probes
    if len(trajectory.t):
        if "loss" in probes:
            summary["loss"] = float(probes["loss"][-1])
        if "margin" in probes:
            summary["T1"] = classification_time(trajectory.t, probes["margin"])
        if "drift" in probes:
            summary["drift"] = float(np.max(probes["drift"]))
    return summary
