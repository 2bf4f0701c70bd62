"""What a sweep found, as labelled arrays.

    SWEEP/sweep.json    the base config and the members      SWEEP/results.zarr   a group per law over the swept axes
    SWEEP/parts/*.npz   rows of members, as they finished    SWEEP/members.csv    a line per member

The store and the table are made of the parts when a launch ends; until then a reader is given the parts themselves.
"""

import csv
import functools
import io
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from dynamics.probes import PROBES, coordinates, dimensions
from dynamics.runs.experiment import Experiment
from dynamics.runs.record import Arrays, consolidate, load_run, write_group, write_text
from dynamics.runs.tracking import Shown
from dynamics.sweeps.ledger import Entry, Ledger
from dynamics.sweeps.sweep import Axes, Sweep, read_sweep

__all__ = ["Rows", "SweepRecord", "load", "read_rows", "write_rows"]

Rows = dict[str, np.ndarray]  # {name: [member, ...]}
STORE, TABLE = "results.zarr", "members.csv"
ENDS = ("classification_time", "end", "steps", "loss", "drift")  # numbers of a law that a journal has


def write_rows(path: pathlib.Path, rows: Rows) -> None:
    """Write rows, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.savez(file, **rows)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_rows(path: pathlib.Path, names: Sequence[str] | None = None) -> Rows:
    """All rows of a file, or those of some names."""
    with np.load(path) as file:
        return {name: file[name] for name in (file.files if names is None else names)}


class SweepRecord:
    """A sweep folder, read.

    `record["flow"]` is an xarray Dataset of the law's probes over the swept axes and t. Beside the probes it has
    `status` and `id` of every member, `end`, the last time reached, `steps` and, with a margin,
    `classification_time`; members that are not there yet are nan. Where members were seen at different times t (steps
    that do not divide one another), t is what was asked for and `time` what they were seen at, at most half a step
    away.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path

    @functools.cached_property
    def sweep(self) -> Sweep:
        """Its members."""
        return read_sweep(self.path)

    @property
    def entries(self) -> dict[str, Entry]:
        """What the ledger says of every member, by its id."""
        return Ledger(self.path).entries(member.id for member in self.sweep.members)

    @functools.cached_property
    def config(self) -> ml_collections.ConfigDict:
        """The resolved base config."""
        return ml_collections.ConfigDict(self.sweep.config)

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, commit, device, dtype and command of the last launch."""
        return json.loads((self.path / "provenance.json").read_text())

    @property
    def laws(self) -> list[str]:
        """Of the base config, and so of every member: a sweep sets values, no groups."""
        return list(self.sweep.config["laws"])

    def groups(self) -> set[str]:
        """The names of what is recorded."""
        return set(self.laws)

    @functools.cached_property
    def dims(self) -> dict[str, str]:
        """{swept key: its short name}, the names of the swept axes."""
        return _short(list(self.sweep.axes.labels))

    def __getitem__(self, law: str) -> Any:
        """The xarray Dataset of a law.

        Raises:
            KeyError: for a law that is not recorded.
        """
        import xarray

        if law not in self.laws:
            raise KeyError(f"{law!r} is not a law of {self.path}; there is: {', '.join(self.laws)}")
        if self._is_current():
            data = xarray.open_zarr(self.path / STORE, group=law)
        else:
            arrays, labels, attributes = _Assembly(self).group(law)
            used = {dim for dims, _ in arrays.values() for dim in dims}
            data = xarray.Dataset(arrays, {dim: label for dim, label in labels.items() if dim in used}, attributes)
        # What is no measurement is a coordinate: data.where(data.status == "done") leaves it alone.
        return data.set_coords([name for name in ("status", "id", *self.dims.values()) if name in data])

    def _signature(self) -> str:
        """Another one when there is more to read."""
        return f"{Ledger(self.path).size()} {(self.path / 'sweep.json').stat().st_mtime_ns}"

    def _is_current(self) -> bool:
        root = self.path / STORE / "zarr.json"
        return root.is_file() and json.loads(root.read_text())["attributes"].get("signature") == self._signature()

    def consolidate(self) -> None:
        """Write the store and the table, when there is more than they have."""
        if self._is_current():
            return
        signature, assembly = self._signature(), _Assembly(self)
        beside, old = (self.path / f".{STORE}.{what}-{os.getpid()}" for what in ("partial", "old"))
        try:
            write_group(beside, {}, {}, {"signature": signature})
            for law in self.laws:
                write_group(beside / law, *assembly.group(law))
            consolidate(beside)
            if (self.path / STORE).exists():
                (self.path / STORE).rename(old)
            beside.rename(self.path / STORE)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        write_text(self.path / TABLE, assembly.table())

    def mirrored(self, line: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Of a line of the journal: the member's config, {law: what it shows}, and its summary."""
        (member,) = [member for member in self.sweep.members if member.id == line["id"]]
        config = self.sweep.config_of(member)
        summary = {f"{law}/{key}": value for law, numbers in line["laws"].items() for key, value in numbers.items()}
        summary |= {"state": line["state"], "reason": line["reason"], "seconds": line["seconds"]}
        found, rows = Experiment.from_config(config), read_rows(self.path / "parts" / line["part"])
        laws = {}
        for law in found.laws:
            model = found.abstract_start_of(law)[1].model
            arrays = {p: (("t", *dimensions(p, model)), rows[f"{law}/{p}"][line["row"]]) for p in found.probes}
            labels = coordinates(found.task, model, found.words)
            laws[law] = Shown(rows[f"{law}/t"][line["row"]], arrays, labels, found.task.named_words)
        return config, laws, summary

    def table(self) -> list[dict[str, Any]]:
        """A row for every member: id, what the sweep sets, state, reason, seconds, host, and numbers of its laws."""
        return list(csv.DictReader(io.StringIO(_Assembly(self).table())))


class _Assembly:
    """The members of a sweep, put where they belong."""

    def __init__(self, record: SweepRecord):
        self._record, self._sweep = record, record.sweep
        self._axes: Axes = record.sweep.axes
        self._entries = record.entries
        self._shape = tuple(self._axes.dims.values())

    def _lines(self) -> Iterator[tuple[tuple[int, ...], Mapping[str, Any]]]:
        """The place and the line of every member that has rows."""
        for member, place in zip(self._sweep.members, self._axes.places, strict=True):
            line = self._entries[member.id].line
            if "part" in line:
                yield place, line

    @functools.cached_property
    def _examples(self) -> dict[str, Experiment]:
        """{part: one of its members, which are all of one form}."""
        members = {line["part"]: m for m in self._sweep.members if "part" in (line := self._entries[m.id].line)}
        return {part: Experiment.from_config(self._sweep.config_of(member)) for part, member in members.items()}

    def group(self, law: str) -> tuple[Arrays, dict[str, Any], dict[str, Any]]:
        """Arrays, labels of their dimensions, and attributes of a law."""
        names = self._record.dims
        dims = tuple(names[key] for key in self._axes.dims) if "member" not in self._axes.dims else ("member",)
        arrays: Arrays = {}
        labels: dict[str, Any] = {}
        for key, (leader, along) in self._axes.labels.items():
            dim = None if leader is None else names.get(leader, leader)
            if dim == names[key]:
                labels[names[key]] = along
            elif names[key] not in labels:
                arrays[names[key]] = ((), along[0]) if dim is None else ((dim,), along)
        if "member" in self._axes.dims:
            labels["member"] = list(range(len(self._sweep.members)))
        arrays |= self._of_ledger(dims)
        parts: dict[str, list[tuple[tuple[int, ...], int]]] = {}
        for place, line in self._lines():
            parts.setdefault(line["part"], []).append((place, line["row"]))
            for key in ENDS[:3]:
                if key in line["laws"][law]:
                    arrays.setdefault(key, (dims, np.full(self._shape, np.nan)))[1][place] = line["laws"][law][key]
        if not parts:
            return arrays, labels, {}
        models = {part: found.abstract_start_of(law)[1].model for part, found in self._examples.items()}
        # A dimension that some members do not have, the heads of a model with one, has the size 1 in them.
        of_probe: dict[str, dict[str, tuple[str, ...]]] = {"t": dict.fromkeys(models, ("t",))}
        for part, found in self._examples.items():
            for probe in found.probes:
                of_probe.setdefault(probe, {})[part] = ("t", *dimensions(probe, models[part]))
        for probe, kept in of_probe.items():
            all_dims = ("t", *(PROBES[probe].dims if probe != "t" else ()))
            every = [dim for dim in all_dims if any(dim in of_part for of_part in kept.values())]
            missing = {part: [i for i, dim in enumerate(every) if dim not in of_part] for part, of_part in kept.items()}
            arrays[probe] = ((*dims, *every), self._placed(f"{law}/{probe}", parts, missing))
        labels |= self._times(arrays)
        sizes = {
            dim: size for found, values in arrays.values() for dim, size in zip(found, np.shape(values), strict=True)
        }
        for part, found in self._examples.items():
            known = coordinates(found.task, models[part], found.words)
            labels |= {dim: label for dim, label in known.items() if sizes.get(dim) == len(label)}
        return arrays, labels, {"law": type(next(iter(self._examples.values())).laws[law]).__name__}

    def _of_ledger(self, dims: tuple[str, ...]) -> Arrays:
        """Status and id; a place that has no member is "none"."""
        status, ids = np.full(self._shape, "none", "U12"), np.full(self._shape, "", "U12")
        seconds = np.full(self._shape, np.nan)
        for member, place in zip(self._sweep.members, self._axes.places, strict=True):
            entry = self._entries[member.id]
            status[place], ids[place] = entry.state, member.id
            seconds[place] = entry.line.get("seconds", np.nan)
        return {"status": (dims, status), "id": (dims, ids), "seconds": (dims, seconds)}

    def _placed(
        self,
        name: str,
        parts: Mapping[str, Sequence[tuple[tuple[int, ...], int]]],
        missing: Mapping[str, Sequence[int]],
    ) -> np.ndarray:
        """The rows of all members, with the missing axes after the row's; where shapes differ, smaller end with nan."""
        found = []
        for part, rows in parts.items():
            if part in missing:
                values = read_rows(self._record.path / "parts" / part, [name])[name]
                found.append((np.expand_dims(values, [axis + 1 for axis in missing[part]]), rows))
        trailing = tuple(np.max([values.shape[1:] for values, _ in found], axis=0).tolist())
        placed: Any = np.full((*self._shape, *trailing), np.nan)
        for values, rows in found:
            inside = tuple(slice(size) for size in values.shape[1:])
            for place, row in rows:
                placed[(*place, *inside)] = values[row]
        return placed

    def _times(self, arrays: Arrays) -> dict[str, Any]:
        """The labels of t; `time` where members differ."""
        _, times = arrays.pop("t")
        flat = times.reshape(-1, times.shape[-1])
        seen = flat[~np.isnan(flat).all(axis=1)]
        if (seen == seen[0]).all():
            return {"t": seen[0]}
        arrays["time"] = (next(dims for dims, values in arrays.values() if np.shape(values) == times.shape), times)
        return {"t": np.nanmedian(seen, axis=0)}

    def table(self) -> str:
        """The table as CSV."""
        names = self._record.dims
        rows = []
        for member in self._sweep.members:
            entry = self._entries[member.id]
            row = {"id": member.id, **{names[key]: value for key, value in member.overrides.items()}}
            row |= {"state": entry.state, "reason": entry.reason}
            row |= {"seconds": entry.line.get("seconds", ""), "host": entry.line.get("host", "")}
            for law, numbers in entry.line.get("laws", {}).items():
                row |= {f"{law}.{key}": numbers[key] for key in ENDS if key in numbers}
            rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def _short(keys: Sequence[str]) -> dict[str, str]:
    """{dotted key: its last part where that is free}, a dimension's or a variable's name otherwise."""
    taken = {"t", "time", "status", "id", "seconds", "member", *ENDS, *PROBES}
    taken |= {dim for probe in PROBES.values() for dim in probe.dims}
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: part if last.count(part) == 1 and part not in taken else key for key, part in zip(keys, last, strict=True)
    }


def load(path: str | os.PathLike[str]) -> Any:
    """Open a run folder (Record) or a sweep folder (SweepRecord).

    Raises:
        ConfigError: when it is neither.
    """
    folder = pathlib.Path(path)
    return SweepRecord(folder) if (folder / "sweep.json").is_file() else load_run(folder)
