"""Ask a run for a probe that it did not record: what it would have recorded, by integrating again from its checkpoints.

The program is that of the recorded config with the probe added, so that the values have the bits that they would have
had in the record. They are kept in RUN/probes/LAW/NAME, a zarr group.
"""

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynamics.config import require
from dynamics.laws import Law
from dynamics.probes import PROBES, coordinates, dimensions
from dynamics.runs.identity import code
from dynamics.runs.manifest import LATER, Manifest
from dynamics.runs.parts import named
from dynamics.runs.record import Record
from dynamics.runs.replay import Again, Agreement, Replay
from dynamics.runs.storage import folder_beside, write_group


def ask(record: Record, name: str, law: str, t: float | Sequence[float] | None = None) -> Any:
    """The values of a probe along a law, as an xarray DataArray over t; what it does is described at Record.probe."""
    require(name in PROBES, "probe", name, f"must be among {', '.join(PROBES)}")
    require(law in record.config.laws, "law", law, f"must be among {', '.join(record.config.laws)}")
    made_of = dict(code(named([name])))
    kept = _kept(record, name, law, made_of)
    wanted = None if t is None else np.atleast_1d(np.asarray(t, float))
    if kept is not None and (kept.attrs["whole"] if wanted is None else np.array_equal(kept.t.values, wanted)):
        return kept
    values = _Asked(record, name, law).values(wanted)
    values.attrs |= {"law": law, "code": made_of, "whole": wanted is None}
    return values


def keep(record: Record, values: Any) -> None:
    """Write what `ask` gave, for later figures."""
    name, law = str(values.name), values.attrs["law"]
    path = f"{LATER}/{law}/{name}"
    partial = folder_beside(record.path / f"{law}.{name}")
    labels = {str(dim): label.values for dim, label in values.coords.items()}
    write_group(partial, {name: (values.dims, values.values)}, labels, values.attrs)
    with Manifest(record.path).writing(path):
        shutil.rmtree(record.path / path, ignore_errors=True)
        (record.path / path).parent.mkdir(parents=True, exist_ok=True)
        partial.rename(record.path / path)


def _kept(record: Record, name: str, law: str, made_of: Mapping[str, str]) -> Any:
    """What is kept of a probe, unless its code has changed since."""
    import xarray

    path = record.path / LATER / law / name
    if not path.is_dir() or json.loads((path / "zarr.json").read_text())["attributes"]["code"] != made_of:
        return None
    data = xarray.open_zarr(path, consolidated=False)
    return data[name].load().assign_attrs(data.attrs)


class _Asked:
    """One probe of one law of a run."""

    def __init__(self, record: Record, name: str, law: str):
        self._record, self._name, self._law = record, name, law
        self._large = PROBES[name].large
        self._replay = Replay(record, law, [name])
        experiment = self._replay.experiment
        fits = f"must be a probe that the law {law!r} can have here"
        require(name in experiment.probes_of(law), "probe", name, fits)
        times = record[law].t.values if law in record.groups() else np.array(record.checkpoints(law))
        require(len(times) > 0, "law", law, "has no checkpoint yet")
        self._end = float(times[-1])
        self._agreement = Agreement.of(record.provenance, record.config.to_dict())
        self._off = 0.0  # the largest difference between a stored checkpoint and the end of what was integrated

    def values(self, wanted: np.ndarray | None) -> Any:
        """The values at these times; if none are given, at all that are saved, or at checkpoints for a large probe."""
        import xarray

        experiment = self._replay.experiment
        saved = experiment.checkpoint_times if self._large else experiment.times
        times = saved[saved <= self._end] if wanted is None else self._checked(wanted)
        rows: dict[float, Any] = {}
        for number, segment in enumerate(experiment.segments):
            first, last = experiment.times[[segment.start, segment.stop - 1]]
            inside = [t for t in times if first < t <= last or (number == 0 and t == 0.0)]
            at = [t for t in inside if t in saved]
            if at:
                rows |= self._of_segment(number)
            rows |= self._between(number, [t for t in inside if t not in saved])
        model = experiment.abstract_start(self._law)[1].model
        dims = ("t", *dimensions(self._name, model))
        labels = {**coordinates(experiment.task, model, experiment.words), "t": times}
        used = {dim: label for dim, label in labels.items() if dim in dims}
        values = xarray.DataArray(np.stack([rows[t] for t in times.tolist()]), used, dims, self._name)
        return values.assign_attrs(checkpoints_differ_by=self._off)

    def _checked(self, wanted: np.ndarray) -> np.ndarray:
        """The wanted times, checked; a time that equals a saved one up to rounding becomes exactly the saved one."""
        experiment = self._replay.experiment
        grid, step = experiment.times, self._replay.law.step
        times = []
        for t in wanted.tolist():
            require(0 <= t <= self._end * (1 + 1e-9), "t", t, f"must lie between 0 and {self._end:g}")
            near = grid[np.argmin(np.abs(grid - t))]
            if not np.isclose(t, near, rtol=1e-9, atol=0.0):
                near = t if step is None else round(t / step) * step
                is_multiple = bool(np.isclose(t, near, rtol=1e-9, atol=0.0))
                require(is_multiple, "t", t, f"must be a multiple of the step {step}")
            times.append(float(near))
        return np.array(times)

    def _of_segment(self, number: int) -> dict[float, Any]:
        """{t: value} at the saved times of a segment."""
        segment = self._replay.segment(number)
        self._compare(segment)
        part = segment.trajectory
        if not self._large:
            return dict(zip(part.t.tolist(), part.probes[self._name], strict=True))
        ends = self._replay.experiment.checkpoint_times[number + (number > 0) : number + 2]
        return dict(zip(ends.tolist(), part.at_checkpoints[self._name], strict=False))

    def _compare(self, segment: Again) -> None:
        """Say where a segment does not end as it did."""
        stored, again = self._replay.ends(segment)
        law: Law = self._replay.law
        name, off = self._agreement.disagreement(law, stored, again)
        self._off = max(self._off, off)
        if name:
            t = self._replay.experiment.checkpoint_times[segment.number + 1]
            line = f"{self._law}: {name} stored at t = {t:g} differs from what is integrated again by {off:.1e} of it"
            warnings.warn(line, stacklevel=2)

    def _between(self, number: int, times: Sequence[float]) -> dict[float, Any]:
        """{t: value} at times that are not saved, of one segment."""
        grid = self._replay.experiment.times[self._replay.experiment.segments[number]]
        if self._large:  # is measured where an integration ends
            return {t: self._ending_at(number, t, grid) for t in times}
        if not times:
            return {}
        part = self._replay.stretch(number, np.union1d(grid, times))
        values = dict(zip(part.t.tolist(), part.probes[self._name], strict=True))
        return {t: values[t] for t in times}

    def _ending_at(self, number: int, t: float, grid: np.ndarray) -> Any:
        part = self._replay.stretch(number, np.append(grid[grid < t], t))
        return part.at_checkpoints[self._name][-1]
