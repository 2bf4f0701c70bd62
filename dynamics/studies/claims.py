"""Statements of a paper as checks: what is measured, its bound, and controls that must fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dynamics.analysis.fits import Fit

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
        finding = claim.measure(data, case)
        controls = {name: claim.measure(data, name) for name in claim.controls}
        controls |= {name: measure(data, case) for name, measure in claim.elsewhere.items()}
        verdict = _word(finding)
        if verdict == PASS and any(_word(control) != FAIL for control in controls.values()):
            verdict = INCONCLUSIVE
        shown = {name: (_word(control), control.measured) for name, control in controls.items()}
        verdicts.append(Verdict(claim, case, verdict, finding.measured, shown, claim.fails.get(case, "")))
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
