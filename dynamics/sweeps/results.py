"""The results of sweeps, as labelled arrays.

    SWEEP/sweep.json    base configs, members, paths         SWEEP/results.zarr   a group per law over the swept axes
    SWEEP/parts/*.npz   rows of paths, as they finished      SWEEP/members.csv    a line per member

The store and the table are made of the parts when a launch ends; until then a reader is given the parts themselves.
"""

import collections
import csv
import functools
import hashlib
import io
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from dynamics.files import read_json
from dynamics.notebook import Plots, table
from dynamics.probes import PROBES, coordinates, dimensions
from dynamics.probes.probe import NUMBERS
from dynamics.runs.experiment import Experiment
from dynamics.runs.manifest import GROWING, Manifest
from dynamics.runs.record import load_run
from dynamics.runs.storage import Arrays, consolidate, folder_beside, read_rows, write_group, write_text
from dynamics.runs.tracking import Shown
from dynamics.sweeps.assembly import Assembly
from dynamics.sweeps.ledger import STATES, Entry, Ledger, Members, read_members
from dynamics.sweeps.members import Member
from dynamics.sweeps.sweep import Sweep, read_kind, read_sweeps

STORE, TABLE = "results.zarr", "members.csv"
ENDS = ("classification_time", "end", "steps", "loss", "drift")  # numbers of a path that the journal has


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

    def __repr__(self) -> str:
        states = collections.Counter(entry.state for entry in self.entries.values())
        counts = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
        lines = [
            f"SweepRecord of {self.path}{self.case and f', case {self.case}'}: {len(self.entries)} members, {counts}"
        ]
        for law in self.laws:
            data = self[law]
            shape = " × ".join(f"{dim} {size}" for dim, size in data.status.sizes.items())
            t = f"; t = {float(data.t[0]):g} to {float(data.t[-1]):g}" if "t" in data else "; nothing yet"
            lines.append(f"  {law}: {shape or 'one path'}{t}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The states of the members and the laws as a table, for notebooks."""
        head, *laws = repr(self).split("\n")
        rows = [line.strip().split(": ", 1) for line in laws]
        return table(head, ("law", "axes and times"), rows)

    @property
    def plot(self) -> Plots:
        """Plots of the probes, a line for every member, such as `record.plot.loss()`; see dynamics.notebook.Plots."""
        laws = {law: functools.partial(self.__getitem__, law) for law in self.laws}
        return Plots(laws, {"member", *self.dims.values()})

    @functools.cached_property
    def cases(self) -> dict[str, Sweep]:
        """{name of the case: its sweep}; a folder with one sweep that has no name has the single key ""."""
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
        """The entry in the ledger of every member of this case, by its id."""
        entries = self.members.entries(Ledger(self.path).entries(self.members.ids))
        return {member.id: entries[member.id] for member in self.sweep.members}

    @functools.cached_property
    def config(self) -> ml_collections.ConfigDict:
        """The resolved base config."""
        return ml_collections.ConfigDict(self.sweep.config)

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, commit, device, dtype and command of the last launch."""
        return read_json(self.path / "provenance.json")

    @property
    def laws(self) -> list[str]:
        """Of the base config, and so of every member: a sweep sets values, no groups."""
        return list(self.sweep.config["laws"])

    @functools.cached_property
    def dims(self) -> dict[str, str]:
        """{swept key of the config: the short name of its axis in the Datasets}."""
        return _short(list(self.sweep.axes.labels))

    def __getitem__(self, law: str) -> Any:
        """The xarray Dataset of a law.

        Raises:
            KeyError: for a law that is not recorded.
        """
        import xarray

        if law not in self.laws:
            raise KeyError(f"{law!r} is not a law of {self.path}; there is: {', '.join(self.laws)}")
        if self.is_current():
            data = xarray.open_zarr(self.path / STORE, group=self._group(law), zarr_format=3)
        else:
            arrays, labels, attributes = self._assembly.group(law)
            used = {dim for dims, _ in arrays.values() for dim in dims}
            data = xarray.Dataset(arrays, {dim: label for dim, label in labels.items() if dim in used}, attributes)
        # What is no measurement is a coordinate: data.where(data.status == "done") leaves it alone.
        return data.set_coords([name for name in ("status", "id", *self.dims.values()) if name in data])

    @property
    def _assembly(self) -> Assembly:
        return Assembly(self.path, self.sweep, self.dims)

    def _group(self, law: str) -> str:
        return f"{self.case}/{law}" if self.case else law

    def _signature(self) -> str:
        """Another one when there is more to read."""
        members = hashlib.sha256((self.path / "sweep.json").read_bytes()).hexdigest()  # the same in a copy
        return f"{Ledger(self.path).size()} {members}"

    def is_current(self) -> bool:
        """Whether the store has all that there is to read."""
        root = self.path / STORE / "zarr.json"
        return root.is_file() and read_json(root)["attributes"].get("signature") == self._signature()

    def consolidate(self) -> None:
        """Write the table and the store of all cases, when there is more than they have."""
        manifest = Manifest(self.path)
        manifest.settle()
        if self.is_current():
            return
        signature = self._signature()
        manifest.add(GROWING)
        rows = [row for case in self.cases for row in SweepRecord(self.path, case).table()]
        with manifest.writing(TABLE):
            write_text(self.path / TABLE, _csv(rows))
        # The store last, since it says what is current: a process may be killed at any line.
        beside, old = folder_beside(self.path / STORE), folder_beside(self.path / f"old-{STORE}")
        try:
            write_group(beside, {}, {}, {"signature": signature})
            for case in self.cases:
                record = SweepRecord(self.path, case)
                assembly = record._assembly
                if case:
                    write_group(beside / case, {}, {}, {})
                for law in record.laws:
                    write_group(beside / record._group(law), *assembly.group(law))
            consolidate(beside)
            with manifest.writing(STORE):
                if (self.path / STORE).exists():
                    (self.path / STORE).rename(old)
                beside.rename(self.path / STORE)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)

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
        """A row for every member: its id, the values that the sweep sets, how it ended, and results of its laws."""
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
    """The probes of a path that has ended, for the mirror."""
    rows = read_rows(folder / "parts" / line["part"])
    model = experiment.abstract_start(law)[1].model
    arrays: Arrays = {
        name.removeprefix("probes/"): (("t", *dimensions(name.removeprefix("probes/"), model)), values[line["row"]])
        for name, values in rows.items()
        if name.startswith("probes/")
    }
    labels = coordinates(experiment.task, model, experiment.words)
    return Shown(rows["t"][line["row"]], arrays, labels, experiment.task.named_words)


def _short(keys: Sequence[str]) -> dict[str, str]:
    """{dotted key: its last part where that is free}, a dimension's or a variable's name otherwise."""
    taken = {*NUMBERS, *PROBES}
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
