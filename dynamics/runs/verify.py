"""Is a run what was recorded? Every byte against the manifest, and random stretches integrated again."""

import json
import pathlib
import random
from collections.abc import Sequence
from typing import Any

from dynamics.runs.content import recorded
from dynamics.runs.manifest import Findings, check_files, not_replaced
from dynamics.runs.record import Record
from dynamics.runs.replay import Agreement, Replay

STRETCHES = 3  # that are integrated again


def check_run(folder: pathlib.Path) -> Findings:
    """Compare every byte of a run folder with its manifest; executes nothing."""
    try:
        status = json.loads((folder / "status.json").read_text())
        ended = status["state"] != "running" and "manifest" not in status
    except (OSError, ValueError, TypeError, KeyError):
        ended = True
    before = not_replaced(folder, "status.json", begun=not ended)
    findings = check_files(folder, ended, before)
    notes = [f"{name}: its process ended before it was replaced" for name in before]
    return Findings(findings.damaged, [*findings.notes, *notes])


def integrate_again(record: Record, chance: random.Random) -> Findings:
    """Integrate random stretches between two checkpoints again, and compare them with what was recorded.

    Args:
        record: of a run, whose bytes are those that were written.
        chance: chooses the stretches.

    Raises:
        ConfigError: for a config whose parts are not registered.
    """
    agreement = Agreement.of(record.provenance, record.config.to_dict())
    stretches = [(law, number) for law in record.config.laws for number in range(_recorded_stretches(record, law))]
    findings = Findings([], [])
    replays: dict[str, Replay] = {}
    for law, number in choose(stretches, chance):
        if law not in replays:
            replays[law] = Replay(record, law)
        replay = replays[law]
        first, last = replay.experiment.checkpoint_times[[number, number + 1]]
        before, again = _both(replay, number)
        say(findings, f"{law}, t = {first:g} to {last:g}", agreement, replay.law, (before, again))
    return findings


def choose(items: Sequence[Any], chance: random.Random) -> list[Any]:
    """At most STRETCHES of these, by chance, in their order."""
    return [items[i] for i in sorted(chance.sample(range(len(items)), min(STRETCHES, len(items))))]


def say(
    findings: Findings, what: str, agreement: Agreement, law: Any, arrays: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """Add a line: whether what was recorded and what was integrated again agree."""
    name, off = agreement.disagreement(law, *arrays)
    allowed = agreement.tolerance(law)
    other = ", ".join(agreement.differs)
    rule = f"{allowed:.0e} is allowed, since it has changed: {other}" if other else "it must be the same bits"
    if name:
        findings.damaged.append(f"{what}: {name} differs from what is integrated again by {off:.1e} of it; {rule}")
    else:
        same = "the same bits" if off == 0 else f"differs by {off:.1e} at most; {rule}"
        findings.notes.append(f"{what}: integrated again, {same}")


def _recorded_stretches(record: Record, law: str) -> int:
    """The stretches of a law that begin at a stored checkpoint and have something to be compared with."""
    stored = len(record.checkpoints(law))
    ended = law in record.groups() and record[law].attrs["state"] == "failed"
    return min(stored - 1 + ended, int(record.config.checkpoints))


def _both(replay: Replay, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """{name: array} of a stretch as it was recorded, and the same integrated again."""
    record, law = replay.record, replay.path.law
    segment = replay.segment(number)
    before, again = replay.ends(segment)
    if law in record.groups():
        part, data = segment.trajectory, record[law].load()
        of_segment = replay.experiment.segments[number]
        rows = {"t": slice(of_segment.start + (number > 0), of_segment.stop)}
        rows["checkpoint"] = slice(number + (number > 0), number + 2)
        for name, (dims, values) in recorded(replay.path, part)[0].items():
            before[name], again[name] = data[name].values[rows[dims[0]]], values
        before["t"], again["t"] = data.t.values[rows["t"]], part.t
    return before, again
