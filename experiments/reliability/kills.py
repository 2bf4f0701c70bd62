"""Kill runs, comparisons and sweeps at any moment, start them again, and compare with what was not disturbed.

    python -m experiments.reliability.kills --kills=500 --terms=50

A process is killed with SIGKILL at a random time, or at one of the POINTS: at the n-th call of a function, up to 20 ms
after the call began. After every kill the record must be readable; at the end it must have the bits of a record that
was not disturbed, and pass its manifest. SIGTERM is timed until the record says that it was interrupted.
"""

import argparse
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from experiments.reliability.trials import KINDS, POINTS, SMALL, Kill, Trial, apart, draw_once

FIGURE1 = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "figure1.py"
KILLS_OF_A_RECORD = (2, 8)
SLACK_S = 0.02  # after a call began
LATEST = 0.8  # of the time that a record takes, for kills at a random time


def _kills(kind: str, count: int, seconds: float, chance: random.Random) -> Iterator[tuple[Kill, str]]:
    """Kills of records of a kind, in turn at a time and at a point, and the mode of wandb."""
    points = [name for name, (_, _, kinds, _) in POINTS.items() if kind in kinds]
    for i in range(count):
        if i % 2:
            yield Kill("", 0, chance.uniform(0, seconds)), "disabled"
        else:
            point = points[i // 2 % len(points)]
            yield Kill(point, int(2 ** chance.uniform(0, 2)), chance.uniform(0, SLACK_S)), POINTS[point][3]


class Counts(NamedTuple):
    """What was tried, and what went wrong.

    Attributes:
        kills: processes that were killed, by the point; "" for a time.
        records: that were done at the end.
        lost: lines of records that could not be read after a kill.
        wrong: lines of records that did not go on, or not to the same bits.
    """

    kills: Counter[str]
    records: Counter[str]
    lost: list[str]
    wrong: list[str]


def kill_at_any_moment(count: int, chance: random.Random, say: Callable[[str], None] = lambda _: None) -> Counts:
    """Kill `count` times; every record is killed several times and then finished."""
    counts = Counts(Counter(), Counter(), [], [])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for place, kind in enumerate(KINDS):
            of_kind = count * (place + 1) // len(KINDS) - count * place // len(KINDS)
            undisturbed, seconds = _undisturbed(kind, pathlib.Path(folder))
            # A record that goes on is sooner done.
            plans = _kills(kind, 100 * of_kind, LATEST * seconds, chance)
            while sum(counts.kills.values()) < of_kind + count * place // len(KINDS):
                trial = Trial(kind, pathlib.Path(tempfile.mkdtemp(dir=folder)))
                _disturb(trial, chance.randint(*KILLS_OF_A_RECORD), plans, counts)
                # The command again, for a run that has ended, would say so and end with 2.
                code = 0 if kind == "run" and trial.state == "done" else trial.whole()
                finding = f"exit code {code}: {trial.tail()}" if code else apart(trial.finding, undisturbed)
                counts.records[kind] += 1
                if finding:
                    counts.wrong.append(f"{kind}: {finding}")
                say(f"{kind}: {sum(counts.kills.values())} kills, {len(counts.lost)} lost, {len(counts.wrong)} wrong")
    return counts


def _undisturbed(
    kind: str, folder: pathlib.Path, *changes: str, config: pathlib.Path = SMALL
) -> tuple[dict[str, Any], float]:
    """The content of a record that nothing disturbed, and the seconds that it took with warm programs."""
    for place in ("first", "second"):
        trial = Trial(kind, folder / f"{kind}-{place}", *changes, config=config)
        trial.folder.mkdir()
        begin = time.perf_counter()
        if trial.whole():
            raise SystemExit(trial.tail())
    seconds = time.perf_counter() - begin
    return apart(trial.content), seconds


def _disturb(trial: Trial, times: int, plans: Iterator[tuple[Kill, str]], counts: Counts) -> None:
    for _ in range(times):
        kill, mode = next(plans)
        trial = Trial(trial.kind, trial.folder, f"--config.wandb.mode={mode}")
        if trial.disturbed(kill) != -signal.SIGKILL:
            return  # it was done before
        counts.kills[kill.point] += 1
        if problem := apart(trial.readable):
            counts.lost.append(f"{trial.kind}, {kill}: {problem}")


def seconds_to_save(count: int, chance: random.Random, config: pathlib.Path = SMALL) -> list[float]:
    """The seconds from SIGTERM until the record of a run says that it was interrupted, or until the process ends.

    Afterwards, the small run goes on to its end, and must have the bits of one that was not disturbed.
    """
    seconds: list[float] = []
    changes = () if config == SMALL else ("--config.figures=",)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        undisturbed, whole = _undisturbed("run", pathlib.Path(folder), *changes, config=config)
        while len(seconds) < count:
            trial = Trial("run", pathlib.Path(tempfile.mkdtemp(dir=folder)), *changes, config=config)
            with trial.started() as process:
                process.join(chance.uniform(0, whole))
                begun = trial.path.exists()
                begin = time.perf_counter()
                if process.is_alive():
                    os.kill(process.pid, signal.SIGTERM)
                while process.is_alive() and not (begun and trial.state != "running"):
                    time.sleep(0.002)
                saved = time.perf_counter() - begin
            if trial.state == "done":
                continue
            seconds.append(saved)
            if config == SMALL:
                code = trial.whole()
                if finding := f"exit code {code}: {trial.tail()}" if code else apart(trial.finding, undisturbed):
                    raise SystemExit(f"after SIGTERM: {finding}")
    return seconds


def main() -> None:
    """Print the counts; exit with 1 if a record was lost or a resumed one is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--terms", type=int, default=10)
    parser.add_argument("--terms-of-figure1", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    draw_once()
    counts = kill_at_any_moment(arguments.kills, chance, lambda line: print(line, file=sys.stderr, flush=True))
    for line in (*counts.lost, *counts.wrong):
        print(line)
    at = ", ".join(f"{point or 'at a random time'} {number}" for point, number in sorted(counts.kills.items()))
    kills, records = sum(counts.kills.values()), sum(counts.records.values())
    print(f"kills tried {kills} ({at}); records {records} ({dict(counts.records)})")
    print(f"records lost {len(counts.lost)}; wrong resumes, those with other bits included, {len(counts.wrong)}")
    terms = ((SMALL, arguments.terms, ""), (FIGURE1, arguments.terms_of_figure1, ", the first figure's run"))
    for config, count, what in terms:
        if count:
            seconds = seconds_to_save(count, chance, config)
            worst = f"worst of {len(seconds)} {max(seconds):.2f}, median {np.median(seconds):.2f}"
            print(f"seconds from SIGTERM to saved{what}: {worst}")
    sys.exit(int(bool(counts.lost or counts.wrong)))


if __name__ == "__main__":
    main()
