"""What of a law, of its trajectory and of its training set goes into a record."""

import dataclasses
from typing import Any

import numpy as np

from dynamics.analysis.events import classification_time
from dynamics.analysis.invariants import largest_drift
from dynamics.laws import Flow, Law
from dynamics.models.model import by_name
from dynamics.probes import coordinates, dimensions
from dynamics.runs.experiment import Experiment
from dynamics.runs.path import Path
from dynamics.runs.storage import Arrays
from dynamics.trajectory import COMPLETED, REASONS, Trajectory


def described(law: Law) -> dict[str, Any]:
    """{"law": its class, and its settings by name, without those that are None}; a group of settings has its class."""

    def plain(value: Any) -> Any:
        part = dataclasses.is_dataclass(value) and not isinstance(value, type)
        return {"class": type(value).__name__, **dataclasses.asdict(value)} if part else value

    return {"law": type(law).__name__, **{key: plain(value) for key, value in vars(law).items() if value is not None}}


def recorded(path: Path, trajectory: Trajectory) -> tuple[Arrays, dict[str, Any]]:
    """Named arrays over t or over checkpoints, the probes of a path and the notes of its solver; their labels."""
    experiment = path.experiment
    model = experiment.abstract_start(path.law)[1].model
    arrays: Arrays = {name: (("t", *dimensions(name, model)), values) for name, values in trajectory.probes.items()} | {
        name: (("checkpoint", *dimensions(name, model)), values) for name, values in trajectory.at_checkpoints.items()
    }
    arrays |= {name: (("t",), values) for name, values in trajectory.notes.items()}
    reached = max((len(values) for values in trajectory.at_checkpoints.values()), default=0)
    labels = {**coordinates(experiment.task, model, experiment.words), "t": trajectory.t}
    return arrays, {**labels, "checkpoint": experiment.checkpoint_times[:reached]}


def training_set(experiment: Experiment) -> tuple[Arrays, dict[str, Any]]:
    """The group "data" of a record: the samples, and what was drawn or is held fixed beside them; labels."""
    task, (_, objective) = experiment.task, experiment.start
    batch, dims = objective.batch, {"targets": (), **objective.model.dims, **task.dims}
    of_samples = {**by_name(batch.inputs if isinstance(batch.inputs, dict) else {"inputs": batch.inputs})}
    of_samples["targets"] = batch.targets
    arrays: Arrays = {name: (("sample", *dims[name]), values) for name, values in of_samples.items()}
    if batch.type is not None:
        arrays["type"] = (("sample",), np.array(task.types)[np.asarray(batch.type)])
    arrays |= {name: (dims[name], values) for name, values in {**objective.constants, **(batch.source or {})}.items()}
    return arrays, {**task.coordinates, "sample": range(task.samples)}


def summary_of(law: Law, trajectory: Trajectory, interrupted: bool = False) -> dict[str, Any]:
    """State, reason and the numbers that matter of a law."""
    end, outcome = float(trajectory.end), int(trajectory.outcome)
    if interrupted:
        summary: dict[str, Any] = {"state": "interrupted", "reason": f"interrupted after t = {end:.6g}"}
    elif outcome == COMPLETED:
        summary = {"state": "done", "reason": f"{REASONS[outcome]}, t = {end:.6g}"}
    else:
        summary = {"state": "failed", "reason": f"{REASONS[outcome]} at t = {end:.6g}"}
    if isinstance(law, Flow):
        summary["rtol"] = law.rtol
        precision = np.finfo(np.asarray(trajectory.end).dtype)
        if law.rtol < precision.eps:
            resolved = f"{precision.dtype} can resolve ({precision.eps:.1e})"
            summary["warning"] = f"rtol = {law.rtol:g} is less than {resolved}: the error is not controlled"
    summary |= {"end": end, "steps": int(trajectory.steps)}
    probes = trajectory.probes
    if len(trajectory.t):
        if "evaluations" in trajectory.notes:
            summary["evaluations"] = int(trajectory.notes["evaluations"][-1])
            summary["stabilised"] = bool(np.any(trajectory.notes["stabilised"]))
        if "loss" in probes:
            summary["loss"] = float(probes["loss"][-1])
        if "margin" in probes:
            summary["classification_time"] = classification_time(trajectory.t, probes["margin"])
        if "drift" in probes and (drift := largest_drift(probes["drift"])) is not None:
            summary["drift"] = drift
    return summary
