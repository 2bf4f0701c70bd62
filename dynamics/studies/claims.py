"""Statements of a paper as checks: what is measured, its bound, and controls that must fail."""

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from dynamics.analysis.fits import Fit
from dynamics.config import config_hash, require
from dynamics.probes import coordinates, dimensions
from dynamics.runs.ensemble import PATHS, Ensemble
from dynamics.runs.experiment import Experiment
from dynamics.runs.record import Arrays, Record, Recorder, provenance

__all__ = [
    "FAIL",
    "INCONCLUSIVE",
    "PASS",
    "Case",
    "Claim",
    "Evidence",
    "Finding",
    "Measured",
    "Verdict",
    "all_of",
    "gather",
    "judge",
    "markdown",
    "within",
]

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"


class Finding(NamedTuple):
    """What a claim measured.

    Attributes:
        holds: whether the bound holds; None when the evidence cannot tell.
        measured: the numbers, as a reader wants them.
    """

    holds: bool | None
    measured: str


def within(fit: Fit, low: float, high: float) -> bool | None:
    """Whether the whole interval lies in [low, high]: False when all of it lies outside, None when it straddles."""
    if low <= fit.low and fit.high <= high:
        return True
    # A fit of values that are not positive is none: what was to be there is not.
    return False if np.isnan(fit.slope) or fit.high < low or fit.low > high else None


def all_of(*findings: Finding) -> Finding:
    """The conjunction."""
    held = [finding.holds for finding in findings]
    holds = False if False in held else None if None in held else True
    return Finding(holds, "; ".join(finding.measured for finding in findings))


Evidence = tuple[Arrays, dict[str, Any], dict[str, Any]]  # arrays, labels of their dimensions, attributes


Begin = Callable[[], Callable[[], Evidence]]
AHEAD = 2  # cases whose programs compile while one integrates; all of them at once would be in its way


@runtime_checkable
class Source(Protocol):
    """Where the evidence of a case comes from."""

    def described(self) -> dict[str, Any]:
        """Plain values, for the record."""
        ...

    def prepared(self) -> tuple[int, Begin]:
        """How many runs or samples, and what begins to compile what makes them; everything is checked by now."""
        ...


@dataclass(frozen=True)
class Measured:
    """Evidence that a function computes.

    Attributes:
        settings: what it is called with.
        measure: makes the evidence.
        size: how many samples it takes.
    """

    settings: Mapping[str, Any]
    measure: Callable[..., Evidence]
    size: int

    def described(self) -> dict[str, Any]:
        """The settings."""
        return dict(self.settings)

    def prepared(self) -> tuple[int, Begin]:
        """The function."""
        return self.size, lambda: functools.partial(self.measure, **self.settings)


@dataclass(frozen=True)
class Case:
    """A set-up over widths and seeds.

    Beside the probes its evidence has, for a law in Gram variables, `score_change` [width, seed, any_key, any_query]:
    W_Kᵀ W_Q at the end minus at t = 0 over the whole vocabulary.

    Attributes:
        config: of one member, width and seed apart.
        widths: m.
        seeds: how many members of each width; all members have their own seed.
        law: the one that is looked at.
        first: the first seed.
    """

    config: Callable[[], Any]
    widths: tuple[int, ...]
    seeds: int
    law: str = "flow"
    first: int = 0

    def members(self) -> list[dict[str, Any]]:
        """Resolved configs, seeds running fastest."""
        configs = []
        for number, (width, _) in enumerate(itertools.product(self.widths, range(self.seeds))):
            config = self.config()
            config.model.width, config.seed = width, self.first + number
            configs.append(config.to_dict())
        return configs

    def described(self) -> dict[str, Any]:
        """The config of the first member."""
        return self.members()[0]

    def prepared(self) -> tuple[int, Begin]:
        """The members, integrated together."""
        members = [Experiment.from_config(config) for config in self.members()]
        for found in members:
            require(self.law in found.laws, "laws", list(found.laws), f"must have {self.law!r}")
        # Of one size, so that cases with the same shapes share their programs.
        return len(members), lambda: functools.partial(
            _evidence, self, members, Ensemble(members, self.law, size=PATHS)
        )


Data = Mapping[str, Any]  # the xarray Dataset of every case


@dataclass(frozen=True)
class Claim:
    """One statement as code.

    Attributes:
        source: where the paper states it.
        statement: in its own symbols.
        bound: on the statistic, set before it is measured.
        measure: (datasets, name of a case) -> what that case shows.
        controls: cases in which the statement must not hold; a check that passes there proves nothing.
        elsewhere: {where: the same statistic there, in the judged case}, where it must not hold either.
        fails: why it fails in a case where it is known to.
    """

    source: str
    statement: str
    bound: str
    measure: Callable[[Data, str], Finding]
    controls: tuple[str, ...] = ()
    elsewhere: Mapping[str, Callable[[Data, str], Finding]] = field(default_factory=dict)
    fails: Mapping[str, str] = field(default_factory=dict)


class Verdict(NamedTuple):
    """A claim, judged on a case.

    Attributes:
        claim: the claim.
        case: where it was judged.
        verdict: PASS, FAIL or INCONCLUSIVE (also when a control passes).
        measured: on the case.
        controls: {control: (verdict there, measured there)}.
        known: the reason why it is known to fail there, or empty.
    """

    claim: Claim
    case: str
    verdict: str
    measured: str
    controls: dict[str, tuple[str, str]]
    known: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        claim = self.claim
        stated = {"source": claim.source, "statement": claim.statement, "bound": claim.bound}
        return {**stated, **{key: value for key, value in self._asdict().items() if key != "claim"}}


def judge(stated: Sequence[tuple[str, Claim]], data: Data) -> list[Verdict]:
    """The verdict on every (case, claim)."""
    verdicts = []
    for case, claim in stated:
        found = claim.measure(data, case)
        controls = {name: claim.measure(data, name) for name in claim.controls}
        controls |= {name: measure(data, case) for name, measure in claim.elsewhere.items()}
        verdict = _word(found)
        if verdict == PASS and any(_word(control) != FAIL for control in controls.values()):
            verdict = INCONCLUSIVE
        shown = {name: (_word(control), control.measured) for name, control in controls.items()}
        verdicts.append(Verdict(claim, case, verdict, found.measured, shown, claim.fails.get(case, "")))
    return verdicts


def _word(finding: Finding) -> str:
    return {True: PASS, False: FAIL, None: INCONCLUSIVE}[finding.holds]


def markdown(title: str, verdicts: Sequence[Verdict]) -> str:
    """A table of verdicts; with a column for the case where there is more than one."""
    several = len({v.case for v in verdicts}) > 1
    columns = ["case"] * several + ["source", "statement", "bound", "measured", "controls (all must fail)", "verdict"]
    lines = [f"## {title}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for v in verdicts:
        controls = "; ".join(f"{name}: {word} ({measured})" for name, (word, measured) in v.controls.items())
        verdict = f"**{v.verdict}**" + (f": {v.known}" if v.known and v.verdict != PASS else "")
        cells = [v.case] * several + [v.claim.source, v.claim.statement, v.claim.bound, v.measured, controls, verdict]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def gather(
    cases: Mapping[str, Source],
    workdir: Any,
    name: str,
    figures: str = "",
    report: Callable[[str, int, float], None] = lambda *_: None,
) -> Record:
    """Gather the evidence of all cases; record a group per case.

    Args:
        cases: by name.
        workdir: where run folders are.
        name: of the new run folder.
        figures: the module that draws such a record, with draw(record, folder).
        report: called with (case, its runs or samples, seconds that they took).

    Raises:
        ConfigError: for a mistake in a config or a name that exists; nothing is written.
    """
    begin = time.perf_counter()
    prepared = {case: source.prepared() for case, source in cases.items()}
    config = {"figures": figures, "laws": {}, "cases": {case: source.described() for case, source in cases.items()}}
    recorder = Recorder(workdir, name, config, {**provenance("float64"), "config": config_hash(config)})
    begun: dict[str, Callable[[], Evidence]] = {}
    for number, (case, (size, _)) in enumerate(prepared.items()):
        started = time.perf_counter()
        for ahead, (_, start) in itertools.islice(prepared.items(), number, number + 1 + AHEAD):
            if ahead not in begun:
                begun[ahead] = start()
        recorder.group(case, *begun.pop(case)())
        report(case, size, time.perf_counter() - started)
    recorder.close()
    seconds = {"total": time.perf_counter() - begin}
    recorder.status(state="done", reason="", laws={}, seconds=seconds)
    return Record(recorder.path)


def _evidence(case: Case, members: Sequence[Experiment], ensemble: Ensemble) -> Evidence:
    """With dimensions width, seed and those of the probes."""
    solved = [(start, trajectory) for _, start, trajectory in ensemble]
    grid = (len(case.widths), case.seeds)
    one = members[0]
    model = one.abstract_start_of(case.law)[1].model

    def stacked(values: Sequence[Any]) -> np.ndarray:
        return np.reshape(np.stack(values), (*grid, *np.shape(values[0])))

    arrays: Arrays = {
        probe: (
            ("width", "seed", "t", *dimensions(probe, model)),
            stacked([trajectory.probes[probe] for _, trajectory in solved]),
        )
        for probe in one.probes
    }
    if "gram" in one.laws[case.law].needs:
        change = stacked([trajectory.params["A"][0] - start["A"][0] for start, trajectory in solved])
        arrays["score_change"] = (("width", "seed", "any_key", "any_query"), change)
    names = list(one.task.word_names)
    labels = {**coordinates(one.task, one.words, model), "any_key": names, "any_query": names, "t": one.times}
    labels |= {"width": list(case.widths), "seed": list(range(case.first, case.first + case.seeds))}
    return arrays, labels, {"task": vars(one.task)}
