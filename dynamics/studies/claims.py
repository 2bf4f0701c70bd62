"""Statements of a paper as checks: a measured statistic, its bound, and controls that must fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dynamics.analysis.fits import Fit

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"


class Finding(NamedTuple):
    """The result of a measurement.

    Attributes:
        holds: whether the bound holds; None when the evidence cannot tell.
        measured: the measured numbers as a text.
    """

    holds: bool | None
    measured: str


def within(fit: Fit, low: float, high: float) -> bool | None:
    """Whether the confidence interval lies in [low, high]: False if it lies outside, None if it overlaps an end."""
    if low <= fit.low and fit.high <= high:
        return True
    # Values that are not positive have no fit (nan): the claimed power law is not there.
    return False if np.isnan(fit.slope) or fit.high < low or fit.low > high else None


def all_of(*findings: Finding) -> Finding:
    """One finding that holds if all of these hold."""
    held = [finding.holds for finding in findings]
    holds = False if False in held else None if None in held else True
    return Finding(holds, "; ".join(finding.measured for finding in findings))


Data = Mapping[str, Any]  # the xarray Dataset of every case


@dataclass(frozen=True)
class Claim:
    """One statement as code.

    Attributes:
        source: the place in the paper.
        statement: the statement, in the symbols of its source.
        bound: the bound on the statistic, set before measuring.
        measure: (datasets, name of a case) -> Finding.
        controls: cases in which the statement must fail; if it holds there too, the check proves nothing.
        elsewhere: {name: measure} of further controls, which measure the judged case in a place where it must fail.
        fails: {case: the reason}, for cases in which the claim is known to fail.
    """

    source: str
    statement: str
    bound: str
    measure: Callable[[Data, str], Finding]
    controls: tuple[str, ...] = ()
    elsewhere: Mapping[str, Callable[[Data, str], Finding]] = field(default_factory=dict)
    fails: Mapping[str, str] = field(default_factory=dict)


class Verdict(NamedTuple):
    """The verdict on a claim in one case.

    Attributes:
        claim: the claim.
        case: the name of the case.
        verdict: PASS, FAIL or INCONCLUSIVE (also when a control passes).
        measured: the measured numbers as a text.
        controls: {control: (its verdict, its measured numbers)}.
        known: the reason why the claim is known to fail in this case, or empty.
    """

    claim: Claim
    case: str
    verdict: str
    measured: str
    controls: dict[str, tuple[str, str]]
    known: str

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain values."""
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
    """A table of verdicts, with a column for the case if there are several."""
    several = len({v.case for v in verdicts}) > 1
    columns = ["case"] * several + ["source", "statement", "bound", "measured", "controls (all must fail)", "verdict"]
    lines = [f"## {title}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for v in verdicts:
        controls = "; ".join(f"{name}: {word} ({measured})" for name, (word, measured) in v.controls.items())
        verdict = f"**{v.verdict}**" + (f": {v.known}" if v.known and v.verdict != PASS else "")
        cells = [v.case] * several + [v.claim.source, v.claim.statement, v.claim.bound, v.measured, controls, verdict]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
