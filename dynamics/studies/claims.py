"""Statements of a paper as checks: a measured statistic, its bound, and controls that must fail.

One logic decides all of them. That a quantity is what is stated (equivalence) holds when its whole confidence interval
lies inside the bound (`inside`). That it differs (difference) holds when the interval excludes the null (`above`). An
interval that straddles decides nothing: INCONCLUSIVE. Nor does a quantity that does not exist, because nothing moved.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dynamics.analysis.fits import Fit, Interval
from dynamics.analysis.invariants import allowed_drift

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"
WORDS = {True: PASS, False: FAIL, None: INCONCLUSIVE}


class Finding(NamedTuple):
    """The result of a measurement.

    Attributes:
        holds: whether the bound holds; None when the evidence cannot tell.
        measured: the measured numbers as a text, and why the evidence cannot tell.
        parts: whether each part of a conjunction holds, by name.
    """

    holds: bool | None
    measured: str
    parts: Mapping[str, bool | None] = {}


def inside(estimate: Interval | Fit, low: float, high: float) -> bool | None:
    """Equivalence: True if the interval lies in [low, high], False if it lies outside, None if it straddles an end.

    None, too, for an estimate that does not exist (nan).

    Args:
        estimate: with a confidence interval.
        low: the smallest value that the statement allows.
        high: the largest one.
    """
    if low <= estimate.low and estimate.high <= high:
        return True
    return False if estimate.high < low or estimate.low > high else None


def above(estimate: Interval | Fit, null: float = 0.0) -> bool | None:
    """Difference: True if the interval lies above the null, False if it lies below, None if it straddles or is nan."""
    return True if estimate.low > null else False if estimate.high < null else None


def all_of(parts: Mapping[str, Finding]) -> Finding:
    """A finding that holds if all parts hold. Each part must be refuted by some control of the claim."""
    held = {name: finding.holds for name, finding in parts.items()}
    holds = False if False in held.values() else None if None in held.values() else True
    return Finding(holds, "; ".join(finding.measured for finding in parts.values()), held)


def all_inside(parts: Mapping[str, tuple[Interval, float, float]]) -> Finding:
    """The finding that all intervals lie within their bounds, {name: (interval, low, high)}; see all_of and inside."""
    return all_of(
        {name: Finding(inside(found, *bounds), f"{name} {found}") for name, (found, *bounds) in parts.items()}
    )


Data = Mapping[str, Any]  # the xarray Dataset of every case
Measure = Callable[[Data, str], Finding]


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
        repairs: {case: {what is changed: a case or a measure}}, for cases in which the claim is known to fail. Each
            change is judged as well; the failure counts as explained when the claim holds after one of them.
        post_hoc: what was set after a look at the numbers; empty if nothing was.
    """

    source: str
    statement: str
    bound: str
    measure: Measure
    controls: tuple[str, ...] = ()
    elsewhere: Mapping[str, Measure] = field(default_factory=dict)
    repairs: Mapping[str, Mapping[str, str | Measure]] = field(default_factory=dict)
    post_hoc: str = ""


class Judged(NamedTuple):
    """The verdict on one measurement, and its measured numbers as a text."""

    verdict: str
    measured: str


class Verdict(NamedTuple):
    """The verdict on a claim in one case.

    Attributes:
        claim: the claim.
        case: the name of the case.
        verdict: PASS, FAIL or INCONCLUSIVE.
        measured: the measured numbers as a text.
        why: why a measurement that holds does not pass.
        controls: {control: its verdict}.
        repairs: {what is changed: its verdict}.
        companion: the verdict in the companion of the case; None where it has none.
    """

    claim: Claim
    case: str
    verdict: str
    measured: str
    why: str
    controls: dict[str, Judged]
    repairs: dict[str, Judged]
    companion: Judged | None

    @property
    def explained(self) -> bool:
        """Whether the claim holds after a repair."""
        return any(repair.verdict == PASS for repair in self.repairs.values())

    @property
    def reason(self) -> str:
        """Why it does not pass, as far as the record says; empty if it passes."""
        if self.verdict == PASS:
            return ""
        outcomes: dict[str, list[str]] = {}
        for name, repair in self.repairs.items():
            outcomes.setdefault(repair.verdict, []).append(name)
        told = {PASS: "holds", INCONCLUSIVE: "undecided", FAIL: "fails too"}
        tried = "; ".join(f"{told[word]} {', '.join(outcomes[word])}" for word in told if word in outcomes)
        return "; ".join(filter(None, (self.why, tried)))

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain values."""
        claim = self.claim
        stated = {"source": claim.source, "statement": claim.statement, "bound": claim.bound, "case": self.case}
        seen = {"verdict": self.verdict, "measured": self.measured, "reason": self.reason, "post_hoc": claim.post_hoc}
        beside = {"controls": self.controls, "repairs": self.repairs, "companion": self.companion}
        return {**stated, **seen, "explained": self.explained, **beside}


def judge(
    stated: Sequence[tuple[str, Claim]], data: Data, companions: Mapping[str, str] | None = None
) -> list[Verdict]:
    """The verdict on every (case, claim).

    A claim passes when its bound holds, every control fails, and every part of it is refuted by some control. Where a
    drift is larger than a flow's tolerances allow, the measurement decides nothing.

    Args:
        stated: the claims and the cases in which they are judged.
        data: the Dataset of every case.
        companions: {case: another case}, in which every claim of the case is judged as well.
    """
    verdicts = []
    for case, claim in stated:
        finding = _trusted(claim.measure, data, case)
        refutations = {name: _trusted(claim.measure, data, name) for name in claim.controls}
        refutations |= {name: _trusted(measure, data, case) for name, measure in claim.elsewhere.items()}
        why = "; ".join(_doubts(finding, refutations)) if finding.holds else ""
        beside = (companions or {}).get(case)
        verdicts.append(
            Verdict(
                claim,
                case,
                INCONCLUSIVE if why else WORDS[finding.holds],
                finding.measured,
                why,
                {name: _judged(control) for name, control in refutations.items()},
                {name: _judged(_repaired(claim, repair, data, case)) for name, repair in _repairs(claim, case)},
                _judged(_trusted(claim.measure, data, beside)) if beside else None,
            )
        )
    return verdicts


def _doubts(finding: Finding, controls: Mapping[str, Finding]) -> Iterator[str]:
    """Why a measurement that holds proves nothing."""
    for name, control in controls.items():
        if control.holds is not False:
            yield f"the control {name} {'holds' if control.holds else 'is inconclusive'}"
    if controls:
        for part in finding.parts:
            if all(control.parts.get(part) is not False for control in controls.values()):
                yield f"no control refutes the part: {part}"


def _trusted(measure: Measure, data: Data, case: str) -> Finding:
    """The finding in a case, without a verdict where a drift is larger than allowed."""
    finding = measure(data, case)
    distrust = untrusted(data[case])
    return Finding(None, f"{distrust}: {finding.measured}") if distrust else finding


def untrusted(evidence: Any) -> str:
    """Why the flows of a Dataset are not to be trusted; empty if they are, or if there is no drift to tell it from."""
    import xarray

    if not isinstance(evidence, xarray.Dataset) or "rtol" not in evidence.attrs or "drift" not in evidence:
        return ""
    largest = float(evidence.drift.max())
    allowed, rule = allowed_drift(evidence.attrs["rtol"], bool((evidence.stabilised > 0).any()))
    return f"drift {largest:.1e} above its allowance {rule} = {allowed:.1e}" if largest > allowed else ""


def _repairs(claim: Claim, case: str) -> Sequence[tuple[str, str | Measure]]:
    return list(claim.repairs.get(case, {}).items())


def _repaired(claim: Claim, repair: str | Measure, data: Data, case: str) -> Finding:
    return _trusted(claim.measure, data, repair) if isinstance(repair, str) else _trusted(repair, data, case)


def _judged(finding: Finding) -> Judged:
    return Judged(WORDS[finding.holds], finding.measured)


def markdown(title: str, verdicts: Sequence[Verdict], companion: str = "") -> str:
    """A table of verdicts.

    Args:
        title: its heading.
        verdicts: its rows; where their cases differ, a column names them.
        companion: the heading of the verdicts in the companions of the cases.
    """
    several = len({v.case for v in verdicts}) > 1
    beside = any(v.companion for v in verdicts)
    columns = ["case"] * several + ["source", "statement", "bound", "measured"] + [companion] * beside
    columns += ["controls (all must fail)", "verdict"]
    lines = [f"## {title}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for v in verdicts:
        controls = "; ".join(f"{name}: {control.verdict} ({control.measured})" for name, control in v.controls.items())
        verdict = "; ".join(
            filter(None, (f"**{v.verdict}**", v.reason, v.claim.post_hoc and f"post hoc: {v.claim.post_hoc}"))
        )
        cells = [v.case] * several + [v.claim.source, v.claim.statement, v.claim.bound, v.measured]
        cells += [f"{v.companion.verdict} ({v.companion.measured})" if v.companion else ""] * beside
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in [*cells, controls, verdict]) + " |")
    return "\n".join(lines) + "\n"
