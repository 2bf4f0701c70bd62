"""Progress and results, as the commands print them."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dynamics.analysis.invariants import allowed_drift
from dynamics.cli.status import print_table
from dynamics.runs.checks import TIGHTER
from dynamics.runs.record import Record
from dynamics.studies.claims import Verdict
from dynamics.trajectory import PAUSED, Trajectory

LINE_S = 5.0  # seconds between lines of progress without a terminal
HEADINGS = {"classification_time": "classified"}


class _Bars:
    """Progress bars with a description, a text and the time left; they appear on a terminal only."""

    def __init__(self, description: str, text: str):
        columns = (TextColumn(description), BarColumn(), TextColumn(text), TimeElapsedColumn())
        self._console = Console(stderr=True)
        self._progress = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=self._console)

    def __enter__(self) -> Any:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()


class Report(_Bars):
    """Progress of a run: bars on a terminal, elsewhere a line at every checkpoint, and every LINE_S between them."""

    def __init__(self, laws: list[str]):
        super().__init__("{task.description:>8}", "t = {task.fields[t]:<8.4g} loss {task.fields[loss]:<10.4g}")
        self._last_line, self._loss = time.monotonic(), float("nan")
        if self._console.is_terminal:
            self._bars = {
                law: self._progress.add_task(law, total=1.0, start=False, t=0.0, loss=float("nan")) for law in laws
            }

    def __call__(self, law: str, part: Trajectory, fraction: float) -> None:
        """Show that a part of a trajectory is done."""
        if len(part.t):  # a part may lie between two saved times
            self._loss = float(part.probes["loss"][-1]) if "loss" in part.probes else float("nan")
        if self._console.is_terminal:
            self._progress.start_task(self._bars[law])
            self._progress.update(self._bars[law], completed=fraction, t=float(part.end), loss=self._loss)
        elif part.outcome != PAUSED or time.monotonic() - self._last_line > LINE_S:
            self._last_line = time.monotonic()
            print(f"{law:>8}  t = {float(part.end):<8.4g} loss {self._loss:.4g}", file=sys.stderr, flush=True)


class Paths(_Bars):
    """Progress of many paths: how many ended, how many of these failed or diverged, their rate and the time left."""

    def __init__(self, paths: int):
        super().__init__("paths", "{task.fields[text]}")
        self._paths, self._ended, self._failed = paths, 0, 0
        self._begin = self._last_line = time.monotonic()
        self._first = 0  # paths in the first report; the rate excludes them, since they waited for a compilation
        self._bar = self._progress.add_task("paths", total=paths, text="")

    def __call__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Show that paths have ended, given their lines of the journal."""
        if lines and not self._first:
            self._begin, self._first = time.monotonic(), len(lines)
        self._ended += len(lines)
        self._failed += sum(line["state"] in ("failed", "diverged") for line in lines)
        passed = time.monotonic() - self._begin
        rate = (self._ended - self._first) / passed if passed > 0 else 0.0
        text = f"{self._ended} of {self._paths}, {self._failed} failed or diverged, {rate:.3g} a second"
        if self._console.is_terminal:
            self._progress.update(self._bar, completed=self._ended, text=text)
        elif lines and (time.monotonic() - self._last_line > LINE_S or self._ended == self._paths):
            self._last_line = time.monotonic()
            left = f", {(self._paths - self._ended) / rate:.0f} s left" if rate else ""
            print(text + left, file=sys.stderr, flush=True)


def print_laws(record: Record) -> None:
    """Print a row for each law of a run."""
    laws = record.status["laws"]
    known = ("steps", "evaluations", "end", "loss", "classification_time", "drift", "compile_s", "solve_s")
    columns = [key for key in known if any(key in summary for summary in laws.values())]
    rows = [(law, *(number(of, key) for key in columns), of["reason"]) for law, of in laws.items()]
    print_table(("law", *(HEADINGS.get(key, key) for key in columns), "outcome"), rows)
    for law, of in laws.items():
        if "warning" in of:
            print(f"warning of {law}: {of['warning']}")


def certificate(law: str, summary: Mapping[str, Any]) -> str:
    """Whether the drift of a flow is small enough to trust it, and its errors if they were measured."""
    if "drift" not in summary:
        return f"certificate of {law}: none, the config has no probe drift, or the law moves nothing that is conserved"
    drift = summary["drift"]
    allowed, rule = allowed_drift(summary["rtol"], bool(summary.get("stabilised")))
    verdict = "kept" if drift <= allowed else "BROKEN, distrust it"
    line = f"certificate of {law}: drift {drift:.1e}, at most {rule} = {allowed:.1e} allowed: {verdict}"
    if "error" in summary:
        errors = ", ".join(f"{probe} {error:.1e}" for probe, error in summary["error"].items())
        line += f"\n    largest relative errors against {TIGHTER} times tighter tolerances: {errors}"
    return line


def number(summary: Mapping[str, Any], key: str) -> str:
    """A number of a summary in four digits, or - if it is missing."""
    value = summary.get(key)
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def print_verdicts(title: str, verdicts: Sequence[Verdict]) -> None:
    """Print a row for each verdict."""
    rows = []
    for verdict in verdicts:
        measured = verdict.measured + (f" ({verdict.reason})" if verdict.reason else "")
        rows.append((verdict.verdict, verdict.claim.source, verdict.claim.statement, measured))
    print_table(("verdict", "source", "statement", "measured"), rows, title)
