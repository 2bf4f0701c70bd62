"""The time that a sweep adds to that of its members, and the fastest strategy here: reduced flow, d = 64, t = 300.

    python -m experiments.speed.sweeps

Prints every measurement beside its target (bar), and asserts nothing about time.
"""

import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import dynamics
from dynamics.config import build
from dynamics.runs.engine import MOST_PATHS, Program
from dynamics.runs.path import Path
from dynamics.runs.programs import STRATEGIES, Strategy
from dynamics.sweeps import results, worker
from dynamics.sweeps.launch import Launch, Resources, attempts, prepare
from dynamics.sweeps.ledger import Ledger, Worker
from dynamics.sweeps.overrides import Override, grid, seeds
from dynamics.sweeps.paths import integrated, plan
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.sweep import Sweep
from experiments.speed.benchmark import CONFIG, load, paper, seconds_of, show

MEMBERS, LISTED = 1000, 10_000
SINGLE = 50  # single solves, before and after the sweep


def main() -> None:
    """Measure everything, one row after another."""
    show("what", "measured", "bar", "ratio")
    load()
    resolving()
    thousand()
    strategies()
    status()
    load()


def members(count: int) -> Sweep:
    """The paper's experiment in Gram variables, rtol 1e-6, at 20 times, from `count` seeds."""
    config = dynamics.base()
    config.update({key: value for key, value in paper().items() if key in ("task", "model")})
    config.laws = {"flow": {"name": "gram_flow", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000}}
    config.times.update(stop=300.0, count=20)
    config.update(checkpoints=1, probes=("loss", "margin", "scores", "drift"))
    config.wandb.mode = "disabled"
    return Sweep.of("speed", config, seeds(count))


def resolving() -> None:
    """The seconds before the first of LISTED members runs: all configs resolved and checked, all paths known."""
    config = dynamics.base()
    config.update({key: value for key, value in paper().items() if key in ("task", "model", "laws", "times", "probes")})
    rates = np.geomspace(0.001, 0.01, LISTED).tolist()
    swept: dict[str, list[Override]] = {
        "seeds at four widths": grid({"model.width": (16, 32, 64, 128)}, seeds(LISTED // 4)),
        "all with tolerances of their own": [{"laws.flow.rtol": rate} for rate in rates],
        "all with seeds and learning rates of their own": [
            {"seed": i, "laws.gd.learning_rate": rate} for i, rate in enumerate(rates)
        ],
    }

    def resolved(overrides: list[Override]) -> None:
        plan({"": Sweep.of("speed", config, overrides)})

    for what, overrides in swept.items():
        seconds = seconds_of(functools.partial(resolved, overrides))
        show(f"{LISTED} members resolved, {what}", f"{seconds:.2f} s", "3 s")


def single(paths: Sequence[Path]) -> Callable[[], float]:
    """A function that measures the median seconds of a compiled solve, its start included."""
    program = Program(paths[0], size=1)

    def measured() -> float:
        return statistics.median(seconds_of(functools.partial(integrated, program, [path])) for path in paths)

    measured()
    return measured


def strategies() -> None:
    """The same members by each strategy, compiled, in one process and in one process per core."""
    one = single(list(plan({"": members(SINGLE)}).groups[0].paths.values()))()
    show(f"one solve by itself, median of {SINGLE}", f"{one:.3f} s")
    count = 2 * MOST_PATHS
    for strategy in STRATEGIES:
        each_s = calls(strategy) / count
        what = f"{count} members, {MOST_PATHS} a call, {strategy} on each of {jax.device_count()} devices, per member"
        show(what, f"{each_s:.3f} s", "", f"{each_s / one:.2f} of one by itself")
    cores = sorted(os.sched_getaffinity(0))
    begin = time.perf_counter()
    seconds = _on_every_core(cores)
    each_s = max(seconds) / (count * len(cores))
    what = f"as many in each of {len(cores)} processes, one after another on a core and a device each, per member"
    show(what, f"{each_s:.3f} s", "", f"{each_s / one:.2f} of one by itself")
    show("    beside it starting and compiling", f"{time.perf_counter() - begin - max(seconds):.1f} s")


def calls(strategy: Strategy) -> float:
    """The seconds of two calls of a warm program, MOST_PATHS members each."""
    (group,) = plan({"": members(2 * MOST_PATHS)}).with_strategy(strategy).groups
    paths, program = list(group.paths.values()), group.program()
    halves = paths[:MOST_PATHS], paths[MOST_PATHS:]
    integrated(program, halves[0])
    return sum(seconds_of(functools.partial(integrated, program, half)) for half in halves)


def _on_every_core(cores: list[int]) -> list[float]:
    """The seconds of `calls` in simultaneous processes, each on one core with one device."""
    command = [sys.executable, "-c", "from experiments.speed.sweeps import calls; print(calls('sequential'))"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    start = functools.partial(subprocess.Popen, command, stdout=subprocess.PIPE, text=True, env=environment)
    running = []
    for core in cores:
        os.sched_setaffinity(0, {core})  # which the process inherits
        running.append(start())
    os.sched_setaffinity(0, cores)
    return [float(process.communicate()[0]) for process in running]


def thousand() -> None:
    """A thousand members as `dynamics sweep` runs them."""
    begin = time.perf_counter()
    sweep = members(MEMBERS)
    planned = plan({"": sweep})
    planning = time.perf_counter() - begin
    one = single(list(planned.groups[0].paths.values())[:SINGLE])
    before = one()
    spent = _timed((Worker, "claim"), (Worker, "commit"), (worker, "write_rows"), (results, "write_group"))
    compilations: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            compilations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    with tempfile.TemporaryDirectory() as workdir:
        folder = pathlib.Path(workdir) / "thousand"
        begin = time.perf_counter()
        prepare(folder, "sweep", CONFIG, planned)
        prepared = time.perf_counter() - begin
        record = SweepRecord(folder)
        wanted = attempts(Ledger(folder).entries(record.members.ids), retry_failed=False)
        resources = build(Resources, sweep.config["launch"], "launch.")
        worker.work(Launch(folder, planned, wanted, resources, None))
        ran = time.perf_counter() - begin
        record.consolidate()
        wall = time.perf_counter() - begin + planning
        stored = wall - planning - ran
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        done = sum(entry.state == "done" for entry in record.entries.values())
    alone = statistics.median([before, one()])
    written = prepared + stored + sum(spent[name] for name in ("claim", "commit", "write_rows"))
    show(f"one solve by itself, median of {SINGLE} before and {SINGLE} after", f"{alone:.3f} s")
    show(
        f"{done} members of {MEMBERS}, the whole sweep",
        f"{wall:.1f} s",
        "0.5",
        f"{wall / MEMBERS / alone:.2f} of one each",
    )
    show("    of it compiling", f"{sum(compilations):.1f} s", "3", f"{len(compilations)} compilations")
    show("    of it resolving and checking the members", f"{planning:.1f} s", "", f"{100 * planning / wall:.1f} %")
    show(
        "    of it ledger and storage", f"{written:.2f} s", "10 %", f"{100 * written / wall:.1f} %, {size / 1e6:.0f} MB"
    )


def _timed(*places: tuple[Any, str]) -> dict[str, float]:
    """{name: seconds} spent in functions from now on; the dict is updated by every call."""
    seconds: dict[str, float] = defaultdict(float)

    def counting(function: Any, name: str) -> Any:
        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += time.perf_counter() - begin

        return counted

    for owner, name in places:
        setattr(owner, name, counting(getattr(owner, name), name))
    return seconds


def status() -> None:
    """The status of a sweep of ten thousand members, a tenth of them failed, from the command line."""
    ids = [f"{i:012x}" for i in range(LISTED)]
    sets = [{"seed": i, "model.width": 64} for i in range(LISTED)]
    listed = [{"id": i, "overrides": one, "changes": one} for i, one in zip(ids, sets, strict=True)]
    sweep = {"name": "many", "config": paper(), "members": listed}
    content = {"kind": "sweep", "file": str(CONFIG), "sweeps": {"": sweep}, "refused": {}}
    content["paths"] = {i: {"flow": i} for i in ids}
    numbers = {"rtol": 1e-6, "end": 300.0, "steps": 68, "loss": 1e-5, "classification_time": 0.1, "drift": 1e-8}
    with tempfile.TemporaryDirectory() as workdir:
        folder = pathlib.Path(workdir)
        ledger = Ledger(folder)
        ledger.create()
        (folder / "sweep.json").write_text(json.dumps(content))
        with Worker(ledger) as writer:
            lines = []
            for i, path in enumerate(ids):
                writer.claim(path, 1)
                state = "failed" if i % 10 == 0 else "done"
                line = {"id": path, "attempt": 1, "state": state, "reason": "no" * (state == "failed")}
                lines.append({**line, "numbers": numbers, "seconds": 0.1, "part": "x.npz", "row": 0})
            writer.commit(lines)
        command = [sys.executable, "-m", "dynamics", "sweep", "status", str(folder)]
        run = functools.partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
        seconds = statistics.median(seconds_of(run) for _ in range(3))
        entries = statistics.median(seconds_of(lambda: ledger.entries(ids)) for _ in range(3))
    show(f"dynamics sweep status of {LISTED} members, median of 3", f"{seconds:.2f} s", "2 s")
    show("    of it the ledger", f"{np.round(entries, 3)} s")


if __name__ == "__main__":
    main()
