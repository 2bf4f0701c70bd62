"""One side of a comparison, seen from both ends: a process that reads requests and answers with what it measured.

Requests and answers are JSON, one a line. Nothing is imported here that one of the two environments lacks.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

LEAST_S = 0.3  # that a measurement takes; short work is repeated for as long
ROOT = pathlib.Path(__file__).parents[3]


class Side:
    """A process that measures, seen by who asks."""

    def __init__(self, python: str, module: str, arguments: list[str], threads: int):
        """Start it on as many cores as it has threads."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        environment["SIDE_THREADS"] = str(threads)
        self._name = " ".join([module, *arguments])
        command = [python, "-W", "ignore", "-m", f"experiments.speed.peers.{module}", *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            SystemExit: if the process ended instead; it has said why.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._name}: ended with {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def threads() -> int:
    """The number of threads of this side; limits it to as many cores, so call it before importing jax or torch."""
    count = int(os.environ["SIDE_THREADS"])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    return count


def serve(measure: Callable[..., dict[str, Any]]) -> None:
    """Answer requests until there are no more, and add to each the largest memory of the process so far, in MB."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what others print is no answer
    for line in sys.stdin:
        answer = measure(**json.loads(line))
        answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps(answer), file=answers, flush=True)


def repeated(work: Callable[[], tuple[float, Any]]) -> tuple[float, Any]:
    """Repeat work that returns (seconds, result), for LEAST_S at least; returns mean seconds and the last result."""
    seconds: list[float] = []
    while sum(seconds) < LEAST_S:
        one, result = work()
        seconds.append(one)
    return sum(seconds) / len(seconds), result


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The wall seconds that one call of a function took, and its result."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def write_problem(folder: pathlib.Path, settings: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Store what the peers solve."""
    (folder / "problem.json").write_text(json.dumps(settings))
    np.savez(folder / "problem.npz", **arrays)


def read_problem(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The settings and the arrays of a problem."""
    return json.loads((folder / "problem.json").read_text()), dict(np.load(folder / "problem.npz"))
