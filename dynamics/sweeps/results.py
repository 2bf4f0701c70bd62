"""The results of sweeps, as labelled arrays.

    SWEEP/sweep.json    base configs, members, paths         SWEEP/results.zarr   a group per law over the swept axes
    SWEEP/parts/*.npz   rows of paths, as they finished      SWEEP/members.csv    a line per member

The store and the table are made of the parts when a launch ends; until then a reader is given the parts themselves.
"""

import csv
import functools
import io
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from dynamics.probes import PROBES, coordinates, dimensions
from dynamics.runs.experiment import Experiment
from dynamics.runs.record import Arrays, consolidate, load_run, write_group, write_text
from dynamics.runs.tracking import Shown
from dynamics.sweeps.ledger import Entry, Ledger, Members, read_members
from dynamics.sweeps.rows import read_rows
from dynamics.sweeps.sweep import Axes, Member, Sweep, read_kind, read_sweeps

STORE, TABLE = "results.zarr", "members.csv"
ENDS = ("classification_time", "end", "steps", "loss", "drift")  # numbers of a path that the journal has
WITHOUT_PROBE = ("classification_time", "end", "steps")  # those that no probe has


class SweepRecord:
    """A sweep folder, read.

    `record["flow"]` is an xarray Dataset of the law's probes over the swept axes and t. An axis on which a law does not
    depend is left out. Beside the probes it has `status` and `id` of every path, `end`, the last time reached, `steps`
    and, where there is a margin, `classification_time`; paths that have not ended are nan. Where paths were seen at
    different times t (steps that do not divide one another), t is what was asked for and `time` what they were seen at,
    at most half a step away. Large probes have the dimension `checkpoint` instead of t.
    """

    def __init__(self, path: pathlib.Path, case: str = ""):
        """Open a folder, and of a folder with several cases one of them."""
        self.path, self.case = path, case

    @functools.cached_property
    def cases(self) -> dict[str, Sweep]:
        """The sweeps of the folder; the only one of a folder without cases is called ""."""
        return read_sweeps(self.path)

    @property
    def kind(self) -> str:
        """The command that made it: "sweep", "compare" or "claims"."""
        return read_kind(self.path)

    @functools.cached_property
    def sweep(self) -> Sweep:
        """The members of this case."""
        return self.cases[self.case]

    @functools.cached_property
    def members(self) -> Members:
        """Which paths the members need."""
        return read_members(self.path)

    @property
    def entries(self) -> dict[str, Entry]:
        """What the ledger says of every member of this case, by its id."""
        entries = self.members.entries(Ledger(self.path).entries(self.members.ids))
        return {member.id: entries[member.id] for member in self.sweep.members}

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

    @functools.cached_property
    def dims(self) -> dict[str, str]:
        """{swept key: its short name}, the names of the swept axes."""
        return _short(list(self.sweep.axes.labels))

    def attach(self, name: str, content: str) -> pathlib.Path:
        """Add a text to the folder."""
        write_text(self.path / name, content)
        return self.path / name

    def __getitem__(self, law: str) -> Any:
        """The xarray Dataset of a law.

        Raises:
            KeyError: for a law that is not recorded.
        """
        import xarray

        if law not in self.laws:
            raise KeyError(f"{law!r} is not a law of {self.path}; there is: {', '.join(self.laws)}")
        if self._is_current():
            data = xarray.open_zarr(self.path / STORE, group=self._group(law))
        else:
            arrays, labels, attributes = _Assembly(self).group(law)
            used = {dim for dims, _ in arrays.values() for dim in dims}
            data = xarray.Dataset(arrays, {dim: label for dim, label in labels.items() if dim in used}, attributes)
        # What is no measurement is a coordinate: data.where(data.status == "done") leaves it alone.
        return data.set_coords([name for name in ("status", "id", *self.dims.values()) if name in data])

    def _group(self, law: str) -> str:
        return f"{self.case}/{law}" if self.case else law

    def _signature(self) -> str:
        """Another one when there is more to read."""
        return f"{Ledger(self.path).size()} {(self.path / 'sweep.json').stat().st_mtime_ns}"

    def _is_current(self) -> bool:
        root = self.path / STORE / "zarr.json"
        return root.is_file() and json.loads(root.read_text())["attributes"].get("signature") == self._signature()

    def consolidate(self) -> None:
        """Write the store and the table of all cases, when there is more than they have."""
        if self._is_current():
            return
        signature = self._signature()
        beside, old = (self.path / f".{STORE}.{what}-{os.getpid()}" for what in ("partial", "old"))
        try:
            write_group(beside, {}, {}, {"signature": signature})
            for case in self.cases:
                record = SweepRecord(self.path, case)
                assembly = _Assembly(record)
                if case:
                    write_group(beside / case, {}, {}, {})
                for law in record.laws:
                    write_group(beside / record._group(law), *assembly.group(law))
            consolidate(beside)
            if (self.path / STORE).exists():
                (self.path / STORE).rename(old)
            beside.rename(self.path / STORE)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        write_text(
            self.path / TABLE, _csv([row for case in self.cases for row in SweepRecord(self.path, case).table()])
        )

    def mirrored(self, member: Member) -> tuple[dict[str, Any], dict[str, Shown], dict[str, Any]]:
        """Of a member that has ended: its config, what to show of each law, and its summary."""
        config, entry = self.sweep.config_of(member), self.entries[member.id]
        summary = {
            f"{law}/{key}": x for law, numbers in entry.line.get("laws", {}).items() for key, x in numbers.items()
        }
        summary |= {"state": entry.state, "reason": entry.reason, "seconds": entry.line.get("seconds")}
        laws: dict[str, Shown] = {}
        if entry.line.get("laws"):
            experiment = Experiment.from_config(config)
            lines = Ledger(self.path).entries(self.members.ids_of(member.id))
            for law in experiment.laws:
                line = lines[self.members.id_of(member.id, law)].line
                if "part" in line:
                    laws[law] = _seen(self.path, line, experiment, law)
        return config, laws, summary

    def table(self) -> list[dict[str, Any]]:
        """A row for every member: id, what the sweep sets, state, reason, seconds, host, and numbers of its laws."""
        entries, rows = self.entries, []
        for member in self.sweep.members:
            entry = entries[member.id]
            row = {"case": self.case} if self.case else {}
            row |= {"id": member.id, **{self.dims[key]: value for key, value in member.overrides.items()}}
            row |= {"state": entry.state, "reason": entry.reason}
            row |= {"seconds": entry.line.get("seconds", ""), "host": entry.line.get("host", "")}
            for law, numbers in entry.line.get("laws", {}).items():
                row |= {f"{law}.{key}": numbers[key] for key in ENDS if key in numbers}
            rows.append(row)
        return rows


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _seen(folder: pathlib.Path, line: Mapping[str, Any], experiment: Experiment, law: str) -> Shown:
    """What to show of a path that has ended."""
    rows = read_rows(folder / "parts" / line["part"])
    model = experiment.abstract_start(law)[1].model
    arrays: Arrays = {
        name.removeprefix("probes/"): (("t", *dimensions(name.removeprefix("probes/"), model)), values[line["row"]])
        for name, values in rows.items()
        if name.startswith("probes/")
    }
    labels = coordinates(experiment.task, model, experiment.words)
    return Shown(rows["t"][line["row"]], arrays, labels, experiment.task.named_words)


class _Place(NamedTuple):
    """Where the row of a path belongs on the axes of its law."""

    at: tuple[int, ...]
    row: int


class _Assembly:
    """The paths of a sweep, put where they belong."""

    def __init__(self, record: SweepRecord):
        self._record, self._sweep = record, record.sweep
        self._axes: Axes = record.sweep.axes
        ids = [record.members.id_of(member.id, law) for member in self._sweep.members for law in record.laws]
        self._entries = Ledger(record.path).entries(dict.fromkeys(ids))

    @functools.cached_property
    def _examples(self) -> dict[tuple[str, str], Experiment]:
        """{(part, law): one of its members}; the paths of a part are all of one form."""
        members: dict[tuple[str, str], Member] = {}
        for law in self._record.laws:
            for member in self._sweep.members:
                line = self._entries[self._record.members.id_of(member.id, law)].line
                if "part" in line:
                    members[line["part"], law] = member
        experiments = {m.id: Experiment.from_config(self._sweep.config_of(m)) for m in members.values()}
        return {key: experiments[member.id] for key, member in members.items()}

    def _ids(self, law: str) -> tuple[dict[str, int], Any]:
        """The axes on which a law depends, with their lengths, and the ids of its paths; "" where there is none."""
        ids = np.full(tuple(self._axes.dims.values()), "", object)
        for member, place in zip(self._sweep.members, self._axes.places, strict=True):
            ids[place] = str(self._record.members.id_of(member.id, law))
        dims = dict(self._axes.dims)
        for axis, dim in reversed(list(enumerate(self._axes.dims))):
            # The first path along the axis; where there is none at its first place, another one's.
            first = np.take_along_axis(ids, np.expand_dims(np.argmax(ids != "", axis=axis), axis), axis)
            if dim != "member" and ((ids == first) | (ids == "")).all():
                ids = first.squeeze(axis)
                del dims[dim]
        return dims, ids

    def group(self, law: str) -> tuple[Arrays, dict[str, Any], dict[str, Any]]:
        """Arrays, labels of their dimensions, and attributes of a law."""
        names = self._record.dims
        kept, ids = self._ids(law)
        dims = tuple(names.get(key, key) for key in kept)
        arrays: Arrays = {}
        labels: dict[str, Any] = {}
        for key, (leader, along) in self._axes.labels.items():
            dim = None if leader is None else names.get(leader, leader)
            if dim is not None and dim not in dims:
                continue
            if dim == names[key]:
                labels[names[key]] = along
            elif names[key] not in labels:
                arrays[names[key]] = ((), along[0]) if dim is None else ((dim,), along)
        if "member" in kept:
            labels["member"] = list(range(len(self._sweep.members)))
        arrays |= self._of_ledger(dims, ids)
        parts: dict[str, list[_Place]] = {}
        for index in np.ndindex(*ids.shape):
            line = self._entries[ids[index]].line if ids[index] else {}
            if "part" in line:
                parts.setdefault(line["part"], []).append(_Place(index, line["row"]))
            for key in WITHOUT_PROBE:
                if key in line.get("numbers", {}):
                    arrays.setdefault(key, (dims, np.full(ids.shape, np.nan)))[1][index] = line["numbers"][key]
        if not parts:
            return arrays, labels, {}
        examples = {part: self._examples[part, law] for part in parts}
        arrays |= self._of_probes(law, dims, ids.shape, parts)
        labels |= self._times(arrays)
        sizes = {dim: n for used, values in arrays.values() for dim, n in zip(used, np.shape(values), strict=True)}
        for experiment in examples.values():
            known = coordinates(experiment.task, experiment.abstract_start(law)[1].model, experiment.words)
            known["checkpoint"] = experiment.checkpoint_times.tolist()
            labels |= {dim: label for dim, label in known.items() if sizes.get(dim) == len(label)}
        example = next(iter(examples.values()))
        return arrays, labels, {"law": type(example.laws[law]).__name__}

    def _of_ledger(self, dims: tuple[str, ...], ids: Any) -> Arrays:
        """Status, id and seconds; a place that has no member is "none"."""
        status, seconds = np.full(ids.shape, "none", "U12"), np.full(ids.shape, np.nan)
        for index in np.ndindex(*ids.shape):
            if ids[index]:
                entry = self._entries[ids[index]]
                status[index], seconds[index] = entry.state, entry.line.get("seconds", np.nan)
        return {"status": (dims, status), "id": (dims, ids.astype("U12")), "seconds": (dims, seconds)}

    def _of_probes(
        self, law: str, dims: tuple[str, ...], shape: tuple[int, ...], parts: Mapping[str, Sequence[_Place]]
    ) -> Arrays:
        """Probes over the swept axes, and t.

        A dimension that some members do not have, the heads of a model with one, has the size 1 in them; where sizes
        differ, the smaller ones end with nan.
        """
        models = {part: self._examples[part, law].abstract_start(law)[1].model for part in parts}
        contents = {part: read_rows(self._record.path / "parts" / part) for part in parts}
        arrays: Arrays = {}
        for name in dict.fromkeys(name for content in contents.values() for name in content):
            kind, _, probe = name.rpartition("/")
            first = "checkpoint" if kind == "checkpoints" else "t"
            of_part = {
                part: (first, *(dimensions(probe, model) if kind else ()))
                for part, model in models.items()
                if name in contents[part]
            }
            every = [
                dim for dim in (first, *(PROBES[probe].dims if kind else ())) if any(dim in d for d in of_part.values())
            ]
            rows = {}
            for part, own in of_part.items():
                missing = [axis + 1 for axis, dim in enumerate(every) if dim not in own]
                rows[part] = np.expand_dims(contents[part][name], missing)
            sizes = tuple(np.max([values.shape[1:] for values in rows.values()], axis=0).tolist())
            placed: Any = np.full((*shape, *sizes), np.nan)
            for part, values in rows.items():
                inside = tuple(slice(size) for size in values.shape[1:])
                for place in parts[part]:
                    placed[(*place.at, *inside)] = values[place.row]
            arrays[probe] = ((*dims, *every), placed)
        return arrays

    def _times(self, arrays: Arrays) -> dict[str, Any]:
        """The labels of t; `time` where members differ."""
        dims, times = arrays.pop("t")
        flat = times.reshape(-1, times.shape[-1])
        seen = flat[~np.isnan(flat).all(axis=1)]
        if (seen == seen[0]).all():
            return {"t": seen[0]}
        arrays["time"] = (dims, times)
        return {"t": np.nanmedian(seen, axis=0)}


def _short(keys: Sequence[str]) -> dict[str, str]:
    """{dotted key: its last part where that is free}, a dimension's or a variable's name otherwise."""
    taken = {"t", "time", "status", "id", "seconds", "member", "checkpoint", *ENDS, *PROBES}
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
