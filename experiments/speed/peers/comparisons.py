"""Ours and theirs in turn, into one record.

    python -m experiments.speed.peers.comparisons PYTHON [PROBLEM ...]

PYTHON is the interpreter of the peers' environment. If problems are named, only they are measured again in the record.

Every side is a process, and all have the same number of cores and threads. In a round each side does the work once
while the others wait; five rounds give five ratios. Compiling is done before. Flows are compared at equal measured
accuracy: each side has the loosest tolerance for which the largest relative error of the loss over the saved times is
at most the target.
"""

import importlib.metadata
import json
import math
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
from typing import Any, NamedTuple

import numpy as np

from experiments.speed.peers.side import ROOT, Side

RECORD = ROOT / "experiments" / "speed" / "records" / "peers.json"
OURS = "ours"
ROUNDS = 5
TARGET = 1e-6  # of the error of flows
TRIES = 10  # tolerances


class Comparison(NamedTuple):
    """A problem and its peers.

    Attributes:
        what: is compared, in words.
        peers: methods of `theirs`.
        threads: of every side.
        is_flow: whether the accuracy has to be made equal.
    """

    what: str
    peers: tuple[str, ...]
    threads: int
    is_flow: bool = False


EAGER, COMPILED = "PyTorch eager", "PyTorch compiled"
SOLVERS = ("torchdiffeq dopri5", "torchdiffeq dopri5, compiled", "scipy RK45", "scipy DOP853")
IN_WEIGHTS = "torchdiffeq dopri5, in weights"
COMPARISONS = {
    "descent": Comparison("GD, first paper, d = 64", (EAGER, COMPILED, f"{COMPILED}, by tables"), 1),
    "flow": Comparison("flow in weights, d = 64, to t = 300", SOLVERS, 1, is_flow=True),
    "gram_flow": Comparison("flow in Gram variables, d = 64, to t = 300", (IN_WEIGHTS, *SOLVERS), 1, is_flow=True),
    "transformer": Comparison("AdamW, 4-layer transformer, float32", (EAGER, COMPILED), 2),
    "transformer64": Comparison("AdamW, 4-layer transformer, float64", (EAGER, COMPILED), 2),
    "large_minibatches": Comparison("SGD, L = 64, d = 10 000, m = 1024, minibatches of 256", (EAGER, COMPILED), 2),
    "large": Comparison("GD, n = 9996, L = 64, d = 10 000, m = 1024", (EAGER, COMPILED), 2),
}


def compare(problem: str, python: str) -> dict[str, Any]:
    """Measure all sides of one problem in turn; returns what the record says about it."""
    comparison = COMPARISONS[problem]
    left_out = {} if shutil.which("g++") else {peer: "no g++" for peer in comparison.peers if "compiled" in peer}
    sides: dict[str, Side] = {}
    with tempfile.TemporaryDirectory() as folder:
        sides[OURS] = Side(sys.executable, "ours", [problem, folder], comparison.threads)
        sides[OURS].ask()  # the problem is written down
        for peer in comparison.peers:
            if peer not in left_out:
                sides[peer] = Side(python, "theirs", [peer, folder], comparison.threads)
        try:
            requests: dict[str, dict[str, Any]] = {name: {} for name in sides}
            exact: list[float] = []
            if comparison.is_flow:
                exact = sides[OURS].ask(exact=True)["losses"]
                requests = {name: {"rtol": tolerance(side, exact, name)} for name, side in sides.items()}
            answers: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
            for turn in range(ROUNDS + 1):
                for name, side in sides.items():
                    answer = side.ask(**requests[name])
                    if turn:  # the first one only warms up
                        answers[name].append(answer)
        finally:
            for side in sides.values():
                side.close()
    found = {name: summary(of_side, answers[OURS], exact) | requests[name] for name, of_side in answers.items()}
    for name, one in found.items():
        print(problem, name, {key: value for key, value in one.items() if key != "seconds"}, flush=True)
    about = {"what": comparison.what, "threads": comparison.threads}
    return {**about, "sides": found, "left_out": left_out}


def summary(of_side: list[dict[str, Any]], ours: list[dict[str, Any]], exact: list[float]) -> dict[str, Any]:
    """Seconds of all rounds, ratios to ours of the same round, and how far the losses are from exact ones or ours."""
    seconds = [answer["seconds"] for answer in of_side]
    ratios = [mine / one["seconds"] for mine, one in zip(seconds, ours, strict=True)]
    last = of_side[-1]
    kept: dict[str, Any] = {key: last[key] for key in ("steps", "evaluations") if key in last}
    name = "error" if exact else "difference"
    return {
        "seconds": seconds,
        "ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "largest_ratio": max(ratios),
        name: error(last["losses"], exact or ours[-1]["losses"]),
        "peak_mb": max(answer["peak_mb"] for answer in of_side),
        **kept,
    }


def error(losses: list[float], exact: list[float]) -> float:
    """The largest relative error of the losses."""
    return float(np.max(np.abs(np.array(losses) / np.array(exact) - 1)))


def tolerance(side: Side, exact: list[float], name: str) -> float:
    """The loosest tolerance whose error is within the target, by bisection in its logarithm."""
    loose, tight, best = -3.0, -11.0, math.nan
    for _ in range(TRIES):
        middle = (loose + tight) / 2
        found = error(side.ask(rtol=10**middle)["losses"], exact)
        if not found <= TARGET:  # or not a number
            loose = middle
            continue
        tight, best = middle, 10**middle
        if found > TARGET / 1.25:
            break
    if math.isnan(best):
        raise SystemExit(f"{name}: no tolerance was found at which the error of the loss is at most {TARGET:g}")
    return best


def main(python: str, *problems: str) -> None:
    """Measure, and write the record after every problem."""
    record = json.loads(RECORD.read_text()) if problems and RECORD.is_file() else {}
    record |= {"machine": f"{os.cpu_count()} cores", "target": TARGET}
    record["versions"] = {"jax": importlib.metadata.version("jax"), **pinned()}
    for problem in problems or COMPARISONS:
        record.setdefault("problems", {})[problem] = compare(problem, python)
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def pinned() -> dict[str, str]:
    """{library: version} of the peers."""
    lines = (pathlib.Path(__file__).parent / "requirements.txt").read_text().split()
    return dict(line.split("==") for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
