"""Solvers of other libraries on the flow in weights of a run of configs/speed/solvers.py.

    python -m experiments.speed.solver_peers RUN

scipy's solve_ivp gets our jitted velocity: RK45 and DOP853, and where a dense Jacobian fits into memory also LSODA and
BDF with a jitted Jacobian. After `make .venv-peers/ready`, torchdiffeq's dopri5 solves the one-layer model with the
gradient by PyTorch, on one thread. Writes peers.json into the folder of the run, whose figure reads it, and prints what
was left out and why.

A Jacobian counts as many evaluations of the velocity as it has columns. Seconds do not include compiling.
"""

import functools
import itertools
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from dynamics.environment import use_compile_cache
from dynamics.files import load_config
from dynamics.runs.experiment import Experiment
from dynamics.runs.record import load_run
from dynamics.runs.storage import write_json
from experiments.speed.benchmark import seconds_of
from experiments.speed.peers.problem import write
from experiments.speed.peers.side import ROOT, Side

PEERS = ROOT / ".venv-peers" / "bin" / "python"
CONFIG = ROOT / "configs" / "speed" / "solvers.py"
EXPLICIT, IMPLICIT = ("RK45", "DOP853"), ("LSODA", "BDF")
LARGEST = 3000  # unknowns with a dense Jacobian
TOLERANCES = (1e-3, 1e-5, 1e-7)
ONE = (1e-6,)  # on flows where an explicit solver takes longer than LONG_S
LONG_S, MOST_S = 8.0, 120.0  # a solve that takes longer than MOST_S is left out

Row = dict[str, float]
Rows = dict[str, list[Row]]


def main(run: str) -> None:
    """Measure all peers."""
    use_compile_cache()
    record = load_run(pathlib.Path(run))
    load_config(CONFIG, "smoke")  # registers the tasks
    experiment = Experiment.from_config(record.config.to_dict())
    exact = record["reference"].loss.values
    of_tsit5 = [law for law, settings in record.config.laws.items() if settings.solver == "tsit5"]
    evaluations = min(record.status["laws"][law]["evaluations"] for law in of_tsit5)
    rows: Rows = {}
    for solver, row in itertools.chain(
        scipy_rows(experiment, exact, evaluations), torch_rows(experiment, exact, evaluations)
    ):
        print(solver, "  ".join(f"{key} {value:.3g}" for key, value in row.items()), flush=True)
        rows.setdefault(solver, []).append(row)
        write_json(record.path / "peers.json", rows)


def tolerances(solver: str, velocity: Callable[[], Any], evaluations: float) -> tuple[float, ...]:
    """The tolerances to try with a solver: all of them, fewer if one solve is slow, and none if it is very slow."""
    velocity()
    expected = evaluations * min(seconds_of(velocity) for _ in range(5))
    if expected > MOST_S:
        print(
            f"{solver}: left out, since one solve takes {expected:.0f} s or more, {evaluations:g} evaluations",
            flush=True,
        )
        return ()
    return ONE if expected > LONG_S else TOLERANCES


def scipy_rows(experiment: Experiment, exact: Any, evaluations: float) -> Iterator[tuple[str, Row]]:
    """The solvers of scipy: (solver, one solve)."""
    params, objective = experiment.start
    start, restore = ravel_pytree(params)
    y0 = np.asarray(start)
    velocity = jax.jit(lambda t, y: ravel_pytree(objective.velocity(restore(y)))[0])
    jacobian = jax.jit(jax.jacfwd(velocity, argnums=1))
    losses = jax.jit(lambda ys: jax.lax.map(lambda y: objective.loss(restore(y)), ys))
    explicit = tolerances("scipy", lambda: velocity(0.0, y0).block_until_ready(), evaluations)
    methods = dict.fromkeys(EXPLICIT if explicit != ONE else EXPLICIT[:1], explicit)
    if explicit == ONE:
        print(f"scipy {EXPLICIT[1]}: left out, since one solve takes longer than that of {EXPLICIT[0]}")
    if y0.size <= LARGEST:
        methods |= dict.fromkeys(IMPLICIT, TOLERANCES)
        jacobian(0.0, y0).block_until_ready()
    else:
        print(f"scipy {', '.join(IMPLICIT)}: left out, since a dense Jacobian of {y0.size} unknowns is too large")
    for method, tried in methods.items():
        given: dict[str, Any] = {"jac": jacobian} if method in IMPLICIT else {}
        for rtol in tried:
            begin = time.perf_counter()
            try:
                found: Any = solve_ivp(
                    functools.partial(_until, begin + MOST_S, velocity),
                    (0.0, float(experiment.times[-1])),
                    y0,
                    method,
                    t_eval=experiment.times,
                    rtol=rtol,
                    atol=rtol / 1000,
                    **given,
                )
            except TimeoutError:
                print(f"scipy {method}, rtol {rtol:g}: left out, not done in {MOST_S:g} s", flush=True)
                break
            seconds = time.perf_counter() - begin
            if not found.success:
                print(f"scipy {method}, rtol {rtol:g}: failed, {found.message}")
                continue
            work = {"evaluations": float(found.nfev + y0.size * found.njev), "jacobians": float(found.njev)}
            yield f"scipy {method}", {"rtol": rtol, "seconds": seconds, **work, **errors(losses(found.y.T), exact)}


def _until(end: float, velocity: Callable[..., Any], t: Any, y: Any) -> Any:
    if time.perf_counter() > end:
        raise TimeoutError
    return velocity(t, y)


def torch_rows(experiment: Experiment, exact: Any, evaluations: float) -> Iterator[tuple[str, Row]]:
    """The solver dopri5 of torchdiffeq: (solver, one solve)."""
    solver = "torchdiffeq dopri5"
    if "gram" not in experiment.model.capabilities:
        print(f"{solver}: left out, since only the one-layer model is written in PyTorch")
        return
    if not PEERS.is_file():
        print(f"{solver}: not measured; make .venv-peers/ready, then run again")
        return
    with tempfile.TemporaryDirectory() as folder:
        write(experiment, {"name": "flow"}, pathlib.Path(folder))
        side = Side(str(PEERS), "theirs", [solver, folder], threads=1)
        for rtol in tolerances(solver, functools.partial(side.ask, rtol=None), evaluations):
            row = side.ask(rtol=rtol)
            work = {"seconds": row["seconds"], "evaluations": float(row["evaluations"])}
            yield solver, {"rtol": rtol, **work, **errors(row["losses"], exact)}
            if row["seconds"] > MOST_S:
                break
        side.close()


def errors(losses: Any, exact: Any) -> dict[str, float]:
    """The largest relative error of the loss over the saved times, and that at the last time."""
    error = np.abs(np.asarray(losses) / exact - 1)
    return {"error": float(np.max(error)), "last": float(error[-1])}


if __name__ == "__main__":
    main(sys.argv[1])
