"""The paths of a sweep, put where they belong on the axes that their law depends on."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dynamics.laws import Flow
from dynamics.probes import PROBES, coordinates, dimensions
from dynamics.runs.experiment import Experiment
from dynamics.runs.storage import Arrays, read_rows
from dynamics.sweeps.ledger import Ledger, read_members
from dynamics.sweeps.members import Member
from dynamics.sweeps.sweep import Axes, Sweep

WITHOUT_PROBE = ("classification_time", "end", "steps")  # numbers of a path that no probe has


Places = list[tuple[tuple[int, ...], int]]  # of paths: the index on the axes of their law, and the row in their part


class Assembly:
    """The paths of a sweep, put where they belong."""

    def __init__(self, folder: pathlib.Path, sweep: Sweep, names: Mapping[str, str]):
        """Read the ledger.

        Args:
            folder: of the sweep.
            sweep: its members.
            names: {swept key: the name of its axis}.
        """
        self._folder, self._sweep, self._names = folder, sweep, names
        self._axes: Axes = sweep.axes
        self._members = read_members(folder)
        ids = [self._members.id_of(member.id, law) for member in sweep.members for law in sweep.config["laws"]]
        self._entries = Ledger(folder).entries(dict.fromkeys(ids))

    @functools.cached_property
    def _examples(self) -> dict[tuple[str, str], Experiment]:
        """{(part, law): one of its members}; the paths of a part are all of one form."""
        members: dict[tuple[str, str], Member] = {}
        for law in self._sweep.config["laws"]:
            for member in self._sweep.members:
                line = self._entries[self._members.id_of(member.id, law)].line
                if "part" in line:
                    members[line["part"], law] = member
        experiments = {m.id: Experiment.from_config(self._sweep.config_of(m)) for m in members.values()}
        return {key: experiments[member.id] for key, member in members.items()}

    def _ids(self, law: str) -> tuple[dict[str, int], Any]:
        """The axes on which a law depends, with their lengths, and the ids of its paths; "" where there is none."""
        ids = np.full(tuple(self._axes.dims.values()), "", object)
        for member, place in zip(self._sweep.members, self._axes.places, strict=True):
            ids[place] = str(self._members.id_of(member.id, law))
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
        names = self._names
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
        of_ledger, parts = self._of_ledger(dims, ids)
        arrays |= of_ledger
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
        example = next(iter(examples.values())).laws[law]
        tolerance = {"rtol": float(example.rtol)} if isinstance(example, Flow) else {}
        return arrays, labels, {"law": type(example).__name__, **tolerance}

    def _of_ledger(self, dims: tuple[str, ...], ids: Any) -> tuple[Arrays, dict[str, Places]]:
        """Status, id, seconds and numbers of paths, "none" and nan at places that have none; {part: its paths}."""
        status, seconds = np.full(ids.shape, "none", "U12"), np.full(ids.shape, np.nan)
        arrays: Arrays = {"status": (dims, status), "id": (dims, ids.astype("U12")), "seconds": (dims, seconds)}
        parts: dict[str, Places] = {}
        for index in np.ndindex(*ids.shape):
            if ids[index]:
                entry = self._entries[ids[index]]
                line = entry.line
                status[index], seconds[index] = entry.state, line.get("seconds", np.nan)
                if "part" in line:
                    parts.setdefault(line["part"], []).append((index, line["row"]))
                for key in WITHOUT_PROBE:
                    if key in line.get("numbers", {}):
                        arrays.setdefault(key, (dims, np.full(ids.shape, np.nan)))[1][index] = line["numbers"][key]
        return arrays, parts

    def _of_probes(
        self, law: str, dims: tuple[str, ...], shape: tuple[int, ...], parts: Mapping[str, Places]
    ) -> Arrays:
        """Probes over the swept axes, and t.

        A dimension that some members do not have, the heads of a model with one, has the size 1 in them; where sizes
        differ, the smaller ones end with nan.
        """
        models = {part: self._examples[part, law].abstract_start(law)[1].model for part in parts}
        contents = {part: read_rows(self._folder / "parts" / part) for part in parts}
        arrays: Arrays = {}
        for name in dict.fromkeys(name for content in contents.values() for name in content):
            kind, _, probe = name.rpartition("/")
            first = "checkpoint" if kind == "checkpoints" else "t"
            is_probe = kind in ("probes", "checkpoints")
            of_part = {
                part: (first, *(dimensions(probe, model) if is_probe else ()))
                for part, model in models.items()
                if name in contents[part]
            }
            every = [
                dim
                for dim in (first, *(PROBES[probe].dims if is_probe else ()))
                if any(dim in d for d in of_part.values())
            ]
            rows = {}
            for part, own in of_part.items():
                missing = [axis + 1 for axis, dim in enumerate(every) if dim not in own]
                rows[part] = np.expand_dims(contents[part][name], missing)
            sizes = tuple(np.max([values.shape[1:] for values in rows.values()], axis=0).tolist())
            placed: Any = np.full((*shape, *sizes), np.nan)
            for part, values in rows.items():
                inside = tuple(slice(size) for size in values.shape[1:])
                for index, row in parts[part]:
                    placed[(*index, *inside)] = values[row]
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
