"""The time of the paper's experiment (configs/cooccurrence/figure1.py) on this machine, on the CPU and in float64.

    python -m experiments.speed.benchmark

Prints every measurement beside its target (bar), and asserts nothing about time. Compile time is excluded. The time
of training is t = eta*k.
"""

import dataclasses
import functools
import math
import os
import pathlib
import runpy
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import dynamics
from dynamics.runs.engine import MOST_PATHS, Program, integrate, trajectories
from dynamics.runs.experiment import Experiment
from dynamics.runs.path import Path
from dynamics.trajectory import COMPLETED, REASONS, Trajectory, joined

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "figure1.py"
ETA = 0.01
ROUNDS = 3
PRODUCTS_PER_EVALUATION = 4  # C_K M, M C_Q, A Mᵀ, Aᵀ M; 2 d³ flop each
PRODUCTS_PER_STEP = 3  # W_Kᵀ W_Q forward, and its two adjoints backward; 2 m d² flop each
DRAWS, DRAWN_STEPS, BATCH_SIZE = 256, 2000, 6


def main() -> None:
    """Measure everything, one row after another."""
    jax.config.update("jax_platforms", "cpu")
    show("what", "measured", "bar", "ratio")
    load()
    floor_s = floor(paper()["model"]["width"], paper()["task"]["vocabulary"])
    descent(floor_s)
    flow()
    accuracy()
    evaluation()
    widths()
    draws()
    recording()
    load()


def load() -> None:
    """Show the load of the machine: above one per core, other work slows the measurements."""
    show(f"load average of the last minute on {os.cpu_count()} cores", f"{os.getloadavg()[0]:.1f}")


def show(what: str, measured: str, bar: str = "", ratio: str = "") -> None:
    """Print one row of the table."""
    print(f"{what:<70} {measured:>14}  {bar:>10}  {ratio}".rstrip(), flush=True)


def paper() -> dict[str, Any]:
    """The paper's config as plain values."""
    return runpy.run_path(str(CONFIG))["get_config"]().to_dict()


def variation(law: dict[str, Any], times: dict[str, Any], probes: Sequence[str] = ("loss",)) -> Experiment:
    """The paper's experiment with one law, called "law", and with no checkpoint before the end: one program."""
    config = {**paper(), "laws": {"law": law}, "probes": tuple(probes), "checkpoints": 1}
    return Experiment.from_config({**config, "times": {**config["times"], **times}})


def integrated(experiment: Experiment, rounds: int = 1) -> tuple[Trajectory, list[float]]:
    """The trajectory of a `variation`, and the seconds of every round."""
    path = Path(experiment, "law")
    program = Program(path, size=1)
    rounds_of_parts = [list(integrate(program, [path])) for _ in range(rounds)]
    trajectory = joined([part.of_path(0, experiment) for part in rounds_of_parts[0]])
    if trajectory.outcome != COMPLETED:
        reason = f"{REASONS[int(trajectory.outcome)]} at t = {float(trajectory.end):g}"
        raise SystemExit(f"{experiment.laws['law']}: {reason}")
    return trajectory, [sum(part.seconds for part in parts) for parts in rounds_of_parts]


def floor(m: int, d: int) -> float:
    """Show the time of matrix products; return the time of those in a GD step, its lower bound, in seconds."""
    seconds = math.nan
    for rows in (d, m):
        seconds = product_seconds(rows, d)
        rate = f"{2e-9 * rows * d * d / seconds:.3g} Gflop/s"
        show(f"product of {rows}x{d} by {d}x{d} in a fori_loop", f"{1e6 * seconds:.1f} µs", ratio=rate)
    step = PRODUCTS_PER_STEP * seconds
    show(f"floor of a GD step, {PRODUCTS_PER_STEP} products of 2*{m}*{d}*{d} flop", f"{1e3 * step:.4f} ms")
    return step


def product_seconds(rows: int, d: int, count: int = 10_000) -> float:
    """Seconds per product [rows, d] by [d, d] in a chain of `count`, best of `ROUNDS`."""
    random = np.random.default_rng(0)
    right = np.linalg.qr(random.normal(size=(d, d)))[0]  # orthogonal: the chain neither grows nor vanishes

    @jax.jit
    def chain(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, x: x @ right, left)

    inputs = jax.device_put((random.normal(size=(rows, d)), right))
    chain(*inputs).block_until_ready()
    return min(seconds_of(lambda: chain(*inputs).block_until_ready()) for _ in range(ROUNDS)) / count


def seconds_of(work: Callable[[], Any]) -> float:
    """The wall time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def descent(floor_s: float) -> None:
    """Gradient descent to t = 300, 30000 steps."""
    experiment = variation({"name": "gd", "learning_rate": ETA}, {"spacing": "linear", "stop": 300.0, "count": 200})
    trajectory, seconds = integrated(experiment, ROUNDS)
    best, steps = min(seconds), int(trajectory.steps)
    what = f"GD, {steps} steps at eta = {ETA}, loss at 200 times, best of {ROUNDS}"
    show(what, f"{best:.2f} s", "6 s", f"{best / 6:.2f} of the bar, median {statistics.median(seconds) / 6:.2f}")
    show("    one step", f"{1e3 * best / steps:.4f} ms", ratio=f"{best / steps / floor_s:.2f} x the floor")


def flow() -> None:
    """Gradient flow to t = 300 at the tolerances of the bar."""
    experiment = variation(
        {"name": "flow", "solver": "auto", "rtol": 1e-6, "atol": 1e-8}, {"stop": 300.0, "count": 200}
    )
    trajectory, seconds = integrated(experiment, ROUNDS)
    what = f"flow to t = 300, rtol 1e-6, loss at 200 times, best of {ROUNDS}"
    ratio = f"{min(seconds) / 0.5:.2f} of the bar, {int(trajectory.steps)} accepted steps"
    show(what, f"{min(seconds):.3f} s", "0.5 s", ratio)


def accuracy() -> None:
    """The error of the config's flow against a solver of order 8 at tight tolerances."""
    given = np.union1d(np.geomspace(0.01, 300.0, 400).round(9), np.linspace(0.0, 300.0, 201)[1:].round(9))
    times = {"spacing": "given", "given": tuple(given.tolist())}
    law = paper()["laws"]["flow"]
    runs = {}
    for name, settings in (("config", law), ("reference", {**law, "solver": "dopri8", "rtol": 1e-11, "atol": 1e-13})):
        runs[name], seconds = integrated(variation(settings, times, ("loss", "drift")))
        what = f"flow, {settings['solver']}, rtol {settings['rtol']:g}, atol {settings['atol']:g}"
        show(what, f"{seconds[0]:.3f} s", ratio=f"{int(runs[name].steps)} accepted steps")
    loss, exact = (runs[name].probes["loss"] for name in ("config", "reference"))
    error = np.abs(loss / exact - 1)
    where = f"{error.max() / 1e-5:.2g} of the bar, at t = {runs['config'].t[error.argmax()]:.3g}"
    show(f"    max relative error of the loss over {len(error)} times", f"{error.max():.2e}", "1e-5", where)
    show("    max drift of what the flow conserves", f"{runs['config'].probes['drift'].max():.2e}")
    show("    the same, of the reference", f"{runs['reference'].probes['drift'].max():.2e}")


def evaluation(count: int = 2000) -> None:
    """One right-hand side of the flow in Gram variables against the four products that it needs at least."""
    params, objective, _ = variation({"name": "gram_flow"}, {}).start_of("law")

    @jax.jit
    def repeated(objective: dynamics.Objective, params: Any) -> Any:
        def step(_: Any, params: Any) -> Any:
            return jax.tree.map(lambda p, v: p + 1e-12 * v, params, objective.velocity(params))

        return jax.lax.fori_loop(0, count, step, params)

    jax.block_until_ready(repeated(objective, params))
    seconds = min(seconds_of(lambda: jax.block_until_ready(repeated(objective, params))) for _ in range(2 * ROUNDS))
    bare = PRODUCTS_PER_EVALUATION * product_seconds(*2 * (paper()["task"]["vocabulary"],))
    ratio = f"{seconds / count / bare:.2f} x {PRODUCTS_PER_EVALUATION} products"
    show("one right-hand side in Gram variables", f"{1e6 * seconds / count:.0f} µs", "2 x", ratio)


def widths() -> None:
    """The flow in Gram variables at two widths, per accepted step; one program, so equal memory."""
    runs = {}
    for m in (128, 10**6):
        config = paper()
        config["model"]["width"] = m
        config["init"] = {"name": "normal", "std": 0.3 / math.sqrt(5 * m), "std_of": {"W": 0.3 / 16}, "draw": "gram"}
        config |= {"laws": {"law": {"name": "gram_flow"}}, "probes": ("loss",), "checkpoints": 1}
        runs[m] = Experiment.from_config(config)
    paths = {m: Path(experiment, "law") for m, experiment in runs.items()}
    if len({path.form for path in paths.values()}) > 1:
        raise SystemExit("the two widths do not share a program")
    program = Program(paths[128], size=1)
    per_step: dict[int, list[float]] = defaultdict(list)
    for m in [*runs] * (2 * ROUNDS):
        parts = list(integrate(program, [paths[m]]))
        taken = sum(int(part.of_path(0, runs[m]).steps) for part in parts)
        per_step[m].append(sum(part.seconds for part in parts) / taken)
    for m, steps in per_step.items():
        show(f"flow in Gram variables, m = {m}, one accepted step", f"{1e3 * min(steps):.3f} ms")
    show("    m = 10^6 against m = 128, one program", f"{min(per_step[10**6]) / min(per_step[128]):.2f}", "1.2")


def draws() -> None:
    """The time of 256 SGD runs in batches against single runs, and their agreement with three of these."""
    law = {"name": "sgd", "learning_rate": ETA, "batch_size": BATCH_SIZE}
    experiment = variation(law, {"spacing": "given", "given": (DRAWN_STEPS * ETA,)})
    paths = [Path(dataclasses.replace(experiment, draw=draw), "law") for draw in range(DRAWS)]
    program, of_many = Program(paths[0], size=1), Program(paths[0], MOST_PATHS)
    calls = [paths[first : first + MOST_PATHS] for first in range(0, DRAWS, MOST_PATHS)]

    def alone() -> list[Trajectory]:
        return [trajectory for path in paths[:ROUNDS] for trajectory in trajectories(program, [path])]

    alone(), trajectories(of_many, paths[:1])  # compiles
    before = seconds_of(alone)
    begin = time.perf_counter()
    together = [trajectory for call in calls for trajectory in trajectories(of_many, call)]
    whole = time.perf_counter() - begin
    one = (before + seconds_of(alone)) / (2 * ROUNDS)
    gaps = []
    for one_alone, among_many in zip(alone(), together, strict=False):
        pairs = zip(*(jax.tree.leaves(x.params) for x in (one_alone, among_many)), strict=True)
        gaps += [float(np.max(np.abs(x - y)) / np.max(np.abs(x))) for x, y in pairs]
    show(f"one SGD run of {DRAWN_STEPS} steps, minibatches of {BATCH_SIZE}, mean of {2 * ROUNDS}", f"{one:.3f} s")
    ratio = f"{whole / DRAWS / one:.2f} of one by itself"
    show(f"{DRAWS} of them, {MOST_PATHS} a call, per run", f"{whole / DRAWS:.3f} s", "0.7", ratio)
    show("    largest relative difference of their weights from single runs", f"{max(gaps):.1e}", "1e-12")


def recording() -> None:
    """A run as `dynamics run` records and tracks it, without its figures, against its bare integration."""
    config = {**paper(), "figures": ""}
    experiment = Experiment.from_config(config)
    programs = {law: Program(Path(experiment, law), size=1) for law in experiment.laws}
    more = "    what dynamics.execute takes more, by pairs"

    def bare() -> None:
        for law, program in programs.items():
            trajectories(program, [Path(experiment, law)])

    columns: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        execute = functools.partial(dynamics.execute, config, pathlib.Path(folder))
        execute("first")  # compiles, and imports wandb
        for i in range(ROUNDS):
            alone = seconds_of(bare)
            whole = seconds_of(functools.partial(execute, f"run-{i}"))
            status = dynamics.load(pathlib.Path(folder) / f"run-{i}").status
            own, solve_s = status["seconds"], sum(law["solve_s"] for law in status["laws"].values())
            row = {"all laws and probes, integrated": alone, "    dynamics.execute": whole, more: whole - alone}
            row |= {f"    status.json: {part}": own[part] for part in ("total", "record", "tracking")}
            row |= {"    status.json: solve_s": solve_s, "    status.json: total - solve_s": own["total"] - solve_s}
            for what, seconds in row.items():
                columns[what].append(seconds)
    medians = {what: statistics.median(values) for what, values in columns.items()}
    for what, seconds in medians.items():
        ratio = f"{100 * seconds / medians['    dynamics.execute']:.1f} % of the run"
        show(f"{what}, median of {ROUNDS}", f"{seconds:.3f} s", "1 s | 10 %" if what == more else "", ratio)


if __name__ == "__main__":
    main()
