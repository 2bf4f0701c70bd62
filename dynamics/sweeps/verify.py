"""Is a sweep what was recorded? Every byte against manifest and journals, and random paths integrated again."""

import os
import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

from dynamics.runs.engine import integrate
from dynamics.runs.identity import changed
from dynamics.runs.manifest import GROWING, ROWS, Findings, check_files, read_chained
from dynamics.runs.origin import numerics, provenance
from dynamics.runs.replay import Agreement
from dynamics.runs.storage import read_rows
from dynamics.runs.verify import choose, say
from dynamics.sweeps.ledger import FINISHED, Ledger
from dynamics.sweeps.paths import Group, plan
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.rows import rows_of
from dynamics.sweeps.worker import strategy_of
from dynamics.trajectory import joined

LONG_S = 5.0  # of a path that took longer, only what precedes its first checkpoint is integrated again


def check_sweep(folder: pathlib.Path) -> Findings:
    """Compare every byte of the folder of a sweep, a comparison or claims with manifest and journals; executes nothing.

    The results of a path are listed in the line of a journal that says how it ended.
    """
    lines: list[dict[str, Any]] = []
    damaged: list[str] = []
    for file in sorted((folder / GROWING).iterdir() if (folder / GROWING).is_dir() else ()):
        more, wrong, _ = read_chained(file, f"{GROWING}/{file.name}")
        lines += more
        damaged += wrong
    listed: dict[str, Sequence[Any]] = {}
    gone: set[str] = set()
    for line in lines:
        if {"id", "attempt", "worker", "state"} <= line.keys():
            listed |= line.get("files", {})
            gone.add(f"checkpoints/{line['id']}.npz")
            claim = folder / "claims" / f"{line['id']}.{line['attempt']}"
            if not os.path.lexists(claim):
                damaged.append(f"claims/{claim.name}: is missing")
            elif not claim.is_symlink() or os.readlink(claim) != line["worker"]:
                damaged.append(f"claims/{claim.name}: was changed")
    found = check_files(folder, _is_current(folder), listed, gone)
    damaged += found.damaged
    # Rows that no journal speaks of may be those of a journal that is damaged.
    doubted = any(line.startswith(f"{GROWING}/") for line in damaged)
    rows = [note for note in found.notes if doubted and note.startswith(f"{ROWS}/")]
    return Findings([*damaged, *rows], [note for note in found.notes if note not in rows])


def _is_current(folder: pathlib.Path) -> bool:
    """Whether a launch came to its end after the last path, and so wrote the manifest to its end."""
    try:
        return SweepRecord(folder).is_current()
    except (OSError, ValueError, KeyError):
        return True


def integrate_again(record: SweepRecord, chance: random.Random) -> Findings:
    """Integrate random paths again, by programs of the same size and strategy, and compare them with what was recorded.

    Args:
        record: of a sweep, whose bytes are those that were written.
        chance: chooses the paths.

    Raises:
        ConfigError: for a config whose parts are not registered.
    """
    planned = plan(record.cases)
    groups = planned.with_strategy(strategy_of(record.path, planned.groups)).groups
    group_of = {path: group for group in groups for path in group.paths}
    entries = Ledger(record.path).entries(record.members.ids)
    ended = [i for i, entry in entries.items() if entry.state in FINISHED and "part" in entry.line]
    known = [path for path in ended if path in group_of]
    findings = Findings([], [])
    if len(known) < len(ended):
        names = ", ".join(changed(record.provenance["code"], planned.code)) or "a user"
        line = (
            f"{len(ended) - len(known)} of {len(ended)} paths are not integrated again: the code of {names} has changed"
        )
        findings.notes.append(line)
    for path in choose(known, chance):
        _again(record.path, group_of[path], path, entries[path].line, findings)
    return findings


def _again(folder: pathlib.Path, group: Group, name: str, line: Mapping[str, Any], findings: Findings) -> None:
    """Integrate a path again, all of it or what precedes its first checkpoint."""
    path = group.paths[name]
    whole, parts = line["seconds"] < LONG_S, []
    for stretched in integrate(group.program(line["size"]), [path]):
        parts.append(stretched.of_path(0, path.experiment))
        if stretched.state.segment > 0 and not whole:
            break
    again = joined(parts)
    rows = {key: values[line["row"]] for key, values in read_rows(folder / "parts" / line["part"]).items()}
    now = {key: values[0] for key, values in rows_of([path], [again]).items()}
    if not whole:
        reached = len(again.t)
        ends = {key: 2 if key.startswith("checkpoints/") else reached for key in now}
        rows, now = ({key: values[: ends[key]] for key, values in of.items()} for of in (rows, now))
    here = numerics(provenance("", "", {}))
    differs = () if line["numerics"] == here else ("versions, device, machine or commit",)
    agreement = Agreement(differs, str(path.experiment.model.dtype))
    what = f"path {name}, t = 0 to {float(again.end):g}"
    say(findings, what, agreement, path.experiment.laws[path.law], (rows, now))
