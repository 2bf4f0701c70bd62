"""What a sweep costs beside its members, and which strategy is the fastest here: reduced flow, d = 64, t = 300.

    python -m experiments.speed.sweeps

Prints what was measured beside its bar, and asserts nothing about time.
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
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from dynamics.runs.ensemble import PATHS, STRATEGIES, Strategy
from dynamics.runs.programs import programs

import dynamics
from dynamics.sweeps import groups, jobs, launch, results
from dynamics.sweeps import worker as work
from dynamics.sweeps.ledger import Ledger, Worker
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.sweep import Sweep, seeds
from experiments.speed.benchmark import CONFIG, load, paper, seconds_of, show

MEMBERS, LISTED = 1000, 10_000
SINGLE = 50  # solves by themselves, before and after


def main() -> None:
    """Measure everything, one row after another."""
    show("what", "measured", "bar", "ratio")
    load()
    thousand()
    strategies()
    status()
    load()


def config() -> Any:
    """The paper's experiment in Gram variables, rtol 1e-6, at 20 times."""
    found = dynamics.base()
    found.update({key: value for key, value in paper().items() if key in ("task", "model")})
    found.laws = {"flow": {"name": "gram_flow", "rtol": 1e-6, "atol": 1e-9, "max_steps": 100_000}}
    found.times.update(stop=300.0, count=20)
    found.update(checkpoints=1, probes=("loss", "margin", "scores", "drift"))
    found.wandb.mode = "disabled"
    return found


def single(members: list[dynamics.Experiment]) -> Callable[[], float]:
    """The median seconds of one compiled solve, start and all."""
    program, _ = programs(members[0])["flow"].result()
    for found in members[:SINGLE]:
        found.start_of("flow")

    def measured() -> float:
        solves = [functools.partial(dynamics.solve, found, "flow", program) for found in members[:SINGLE]]
        return statistics.median(seconds_of(functools.partial(_all_of, solve)) for solve in solves)

    measured()
    return measured


def _all_of(solve: Callable[[], Any]) -> None:
    list(solve())


def strategies() -> None:
    """The same members by each strategy, warm, in one process and in one process on every core."""
    sweep = Sweep.of("strategies", config(), seeds(SINGLE))
    (group,), _ = groups.groups(sweep)
    one = single(list(group.members.values()))()
    show(f"one solve by itself, median of {SINGLE}", f"{one:.3f} s")
    for strategy in STRATEGIES:
        each_s = calls(strategy) / (2 * PATHS)
        what = f"{2 * PATHS} members, {PATHS} a call, {strategy} on each of {jax.device_count()} devices, per member"
        show(what, f"{each_s:.3f} s", "", f"{each_s / one:.2f} of one by itself")
    cores = sorted(os.sched_getaffinity(0))
    begin = time.perf_counter()
    seconds = _on_every_core(cores)
    each_s = max(seconds) / (2 * PATHS * len(cores))
    what = f"as many in each of {len(cores)} processes, one after another on a core and a device each, per member"
    show(what, f"{each_s:.3f} s", "", f"{each_s / one:.2f} of one by itself")
    show("    beside it starting and compiling", f"{time.perf_counter() - begin - max(seconds):.1f} s")


def calls(strategy: Strategy) -> float:
    """The seconds of two calls of a warm program, PATHS members each."""
    (group,), _ = groups.groups(Sweep.of("strategies", config(), seeds(2 * PATHS)), strategy)
    members = list(group.members.values())
    compiled = group.programs(PATHS)
    groups.integrated(compiled, members[:PATHS])
    return sum(seconds_of(functools.partial(groups.integrated, compiled, members[i : i + PATHS])) for i in (0, PATHS))


def _on_every_core(cores: list[int]) -> list[float]:
    """What `calls` takes in processes that each have one core and one device, side by side."""
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
    sweep = Sweep.of("thousand", config(), seeds(MEMBERS))
    found = launch.grouped(sweep)
    planned = time.perf_counter() - begin
    one = single(list(found[0][0].members.values()))
    before = one()
    spent = _timed((Worker, "claim"), (Worker, "commit"), (work, "write_rows"), (results, "write_group"))
    compilations: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            compilations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    with tempfile.TemporaryDirectory() as workdir:
        folder = pathlib.Path(workdir) / "thousand"
        begin = time.perf_counter()
        launch.prepare(folder, sweep, CONFIG)
        prepared = time.perf_counter() - begin
        ledger, ids = Ledger(folder), [member.id for member in sweep.members]
        wanted = launch.attempts(sweep, ledger.entries(ids), False)
        settings = jobs.Settings(**sweep.config["launch"])
        launch.launch(folder, sweep, found, "here", settings, wanted, lambda _: None, None)
        ran = time.perf_counter() - begin
        SweepRecord(folder).consolidate()
        wall = time.perf_counter() - begin + planned
        stored = wall - planned - ran
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        done = sum(entry.state == "done" for entry in ledger.entries(ids).values())
    alone = statistics.median([before, one()])
    written = prepared + stored + sum(spent[name] for name in ("claim", "commit", "write_rows"))
    show(f"one solve by itself, median of {SINGLE} before and {SINGLE} after", f"{alone:.3f} s")
    show(
        f"{done} members of {MEMBERS}, the whole sweep",
        f"{wall:.1f} s",
        "0.55",
        f"{wall / MEMBERS / alone:.2f} of one each",
    )
    show("    of it compiling", f"{sum(compilations):.1f} s", "3", f"{len(compilations)} compilations")
    show("    of it resolving and checking the members", f"{planned:.1f} s", "", f"{100 * planned / wall:.1f} %")
    show(
        "    of it ledger and storage", f"{written:.2f} s", "10 %", f"{100 * written / wall:.1f} %, {size / 1e6:.0f} MB"
    )


def _timed(*places: tuple[Any, str]) -> dict[str, float]:
    """Seconds spent in functions, by their names, from now on."""
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
    members = [{"id": i, "overrides": one, "changes": one} for i, one in zip(ids, sets, strict=True)]
    laws = {"flow": {"rtol": 1e-6, "end": 300.0, "steps": 68, "loss": 1e-5, "classification_time": 0.1, "drift": 1e-8}}
    with tempfile.TemporaryDirectory() as workdir:
        folder = pathlib.Path(workdir)
        ledger = Ledger(folder)
        ledger.create()
        (folder / "sweep.json").write_text(json.dumps({"name": "many", "config": paper(), "members": members}))
        with Worker(ledger) as worker:
            lines = []
            for i, member in enumerate(ids):
                worker.claim(member, 1)
                state = "failed" if i % 10 == 0 else "done"
                line = {"id": member, "attempt": 1, "state": state, "reason": "no" * (state == "failed")}
                lines.append({**line, "laws": laws, "seconds": 0.1, "part": "x.npz", "row": 0})
            worker.commit(lines)
        command = [sys.executable, "-m", "dynamics", "sweep", "status", str(folder)]
        run = functools.partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
        seconds = statistics.median(seconds_of(run) for _ in range(3))
        entries = statistics.median(seconds_of(lambda: ledger.entries(ids)) for _ in range(3))
    show(f"dynamics sweep status of {LISTED} members, median of 3", f"{seconds:.2f} s", "2 s")
    show("    of it the ledger", f"{np.round(entries, 3)} s")


if __name__ == "__main__":
    main()
