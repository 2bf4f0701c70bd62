"""The evidence for claims: a sweep for each case, all in one folder, and arrays that functions compute.

A module of claims, experiments/PAPER/claims.py or any other that `dynamics claims --module=MODULE` names, defines

    CASES     {case: Case or Measured}, in which claims are judged
    TABLES    {key: (title, [(case, Claim), ...])}; exit code 1 if a claim of the first table should pass and does not
    FIGURES   the name of a module with draw(record, folder) for the ClaimsRecord; may be left out
    COMPANION (heading, {case: another case}): a column with the verdicts in that other case; may be left out

It imports the modules that register its own tasks, models, ... by their full names: jobs execute a copy of the file.
What it leaves is a folder:

    CLAIMS/sweep.json, ...        a sweep folder; its cases are configs with overrides
    CLAIMS/measured.zarr/CASE     what a function computed
"""

import functools
import json
import os
import pathlib
import shutil
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_collections

from dynamics.config import ConfigError, require
from dynamics.files import load_config
from dynamics.runs.identity import changed, code
from dynamics.runs.manifest import Manifest
from dynamics.runs.storage import Arrays, folder_beside, write_group
from dynamics.studies.claims import Claim
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.results import load as load_sweep
from dynamics.sweeps.sweep import Sweep

STORE = "measured.zarr"
TABLE = "(title, [(case, Claim), ...])"

Evidence = tuple[Arrays, dict[str, Any], dict[str, Any]]  # arrays, labels of their dimensions, attributes


@dataclass(frozen=True)
class Case:
    """A case whose evidence is a sweep.

    Attributes:
        config: returns the base config, which has one law.
        members: overrides, made with grid, seeds, ... of dynamics.sweeps.sweep; the Dataset has the swept axes.
    """

    config: Callable[[], ml_collections.ConfigDict]
    members: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Measured:
    """A case whose evidence is computed by a function.

    Attributes:
        settings: keyword arguments of the function; plain values.
        measure: the function.
    """

    settings: Mapping[str, Any]
    measure: Callable[..., Evidence]


def case_config(
    file: pathlib.Path, variant: str | None = None, law: str | None = None, **changes: Mapping[str, Any]
) -> Callable[[], ml_collections.ConfigDict]:
    """What a Case takes as its config: a variant of a config file, changed.

    Args:
        file: the config file.
        variant: its default if not given.
        law: the only law that stays; all of them if not given.
        changes: {group: {key: value}}.
    """

    def config() -> ml_collections.ConfigDict:
        config = load_config(file, variant)
        if law:
            config.laws = {law: config.laws[law]}
        for group, values in changes.items():
            config[group].update(values)
        return config

    return config


def check(module: types.ModuleType) -> None:
    """Refuse CASES and TABLES of a module that cannot be judged, before anything is integrated.

    Raises:
        ConfigError: naming the case or the table.
    """
    cases: Any = module.CASES
    allowed = "must be {case: Case or Measured}, with one Case at least"
    require(isinstance(cases, Mapping), "CASES", cases, allowed)
    for name, case in cases.items():
        require(isinstance(case, (Case, Measured)), f"CASES[{name!r}]", case, "must be a Case or Measured")
    require(any(isinstance(case, Case) for case in cases.values()), "CASES", list(cases), allowed)
    among = f"must be among the cases: {', '.join(cases)}"
    require(isinstance(module.TABLES, Mapping), "TABLES", module.TABLES, f"must be {{key: {TABLE}}}")
    for key, table in module.TABLES.items():
        try:
            pairs = [(case, claim) for _, claims in [table] for case, claim in claims if claim.controls is not None]
        except (AttributeError, TypeError, ValueError):
            raise ConfigError(f"TABLES[{key!r}]", table, f"must be {TABLE}") from None
        for name in (name for case, claim in pairs for name in _named(case, claim)):
            require(name in cases, f"TABLES[{key!r}]", name, among)
    _, companions = companion_of(module)
    for name in (name for pair in companions.items() for name in pair):
        require(name in cases, "COMPANION", name, among)


def _named(case: str, claim: Claim) -> list[str]:
    """The cases that a claim is judged in."""
    return [
        case,
        *claim.controls,
        *(repair for repair in claim.repairs.get(case, {}).values() if isinstance(repair, str)),
    ]


def companion_of(module: types.ModuleType) -> tuple[str, Mapping[str, str]]:
    """The heading and the cases of COMPANION; no cases if the module has none."""
    return vars(module).get("COMPANION", ("", {}))


def sweeps_of(module: types.ModuleType) -> dict[str, Sweep]:
    """{case: sweep} for every Case of a module of claims.

    Raises:
        ConfigError: for a mistake in a config or its overrides.
    """
    sweeps = {}
    for name, case in module.CASES.items():
        if isinstance(case, Case):
            config = case.config()
            require(len(config.laws) == 1, "laws", list(config.laws), f"must be one law in the case {name!r}")
            sweeps[name] = Sweep.of(name, config, [dict(override) for override in case.members])
    return sweeps


def measure(module: types.ModuleType, folder: pathlib.Path, report: Callable[[str], None]) -> None:
    """Compute the Measured cases of a module that the folder does not have yet with the same settings and code."""
    (folder / STORE).mkdir(exist_ok=True)
    for name, case in module.CASES.items():
        if isinstance(case, Measured):
            settings, made_of = json.dumps(case.settings, sort_keys=True), dict(code((case.measure,)))
            path, again = folder / STORE / name, ""
            if path.exists() and (before := _attributes(path)).get("settings") == settings:
                names = ", ".join(changed(before.get("code", {}), made_of))
                if not names:
                    continue
                again = f" again, since the code of {names} has changed"
            arrays, labels, attributes = case.measure(**case.settings)
            partial = folder_beside(folder / name)
            write_group(partial, arrays, labels, {**attributes, "settings": settings, "code": made_of})
            with Manifest(folder).writing(f"{STORE}/{name}"):
                shutil.rmtree(path, ignore_errors=True)
                partial.rename(path)
            report(f"{name}: measured{again}")


def _attributes(path: pathlib.Path) -> dict[str, Any]:
    return json.loads((path / "zarr.json").read_text())["attributes"]


class ClaimsRecord:
    """The content of a folder of claims: `record["CASE"]` is the xarray Dataset of a case."""

    laws: Sequence[str] = ()  # each case has its own law

    def __init__(self, path: pathlib.Path):
        """Open the folder of `dynamics claims`; its cases are read when they are asked for."""
        self.path = path

    @functools.cached_property
    def _sweeps(self) -> SweepRecord:
        return SweepRecord(self.path)

    @property
    def cases(self) -> list[str]:
        """The names of all cases."""
        measured = self.path / STORE
        return [*self._sweeps.cases, *(sorted(p.name for p in measured.iterdir()) if measured.exists() else ())]

    @property
    def swept(self) -> list[str]:
        """The names of the cases whose evidence is a sweep."""
        return list(self._sweeps.cases)

    def case(self, name: str) -> SweepRecord:
        """The sweep of a case."""
        return SweepRecord(self.path, name)

    @property
    def config(self) -> ml_collections.ConfigDict:
        """A config with one key, `figures`, the module that draws the figures of these claims."""
        return ml_collections.ConfigDict({"figures": json.loads((self.path / "claims.json").read_text())["figures"]})

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, commit, device, dtype and command of the last launch."""
        return self._sweeps.provenance

    def __getitem__(self, case: str) -> Any:
        """The Dataset of a case."""
        import xarray

        if case in self._sweeps.cases:
            record = self.case(case)
            return record[record.laws[0]]
        return xarray.open_zarr(self.path / STORE / case, consolidated=False, zarr_format=3)


def load(path: str | os.PathLike[str]) -> Any:
    """Open the folder of a run (Record), of a sweep or a comparison (SweepRecord), or of claims (ClaimsRecord).

    Raises:
        ConfigError: when it is none of them.
    """
    record = load_sweep(path)
    return ClaimsRecord(record.path) if isinstance(record, SweepRecord) and record.kind == "claims" else record
