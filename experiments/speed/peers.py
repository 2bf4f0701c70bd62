"""Solvers of other libraries on the flow of a run of configs/speed/solvers.py, in weights.

    python -m experiments.speed.peers RUN

scipy's solve_ivp with our jitted velocity: RK45 and DOP853, and where a dense Jacobian fits, BDF and LSODA. With
`torch==2.13.0` and `torchdiffeq==0.2.5` importable (not in the lock), also torchdiffeq's dopri5 with PyTorch's own
gradient, for the one-layer model. Writes peers.json into the folder of the run, which its figure reads.
"""

import importlib.util
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from dynamics.config import load_config
from dynamics.environment import configure_compiler
from dynamics.runs.experiment import Experiment
from dynamics.runs.record import load_run, write_json
from experiments.speed.benchmark import torch_model

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "speed" / "solvers.py"
EXPLICIT, IMPLICIT = ("RK45", "DOP853"), ("LSODA", "BDF")
LARGEST = 3000  # unknowns with a dense Jacobian
TOLERANCES = (1e-3, 1e-5, 1e-7)
MOST_S = 60.0  # a method that took longer is not tried at a tighter tolerance

Rows = dict[str, list[dict[str, float]]]


def main(run: str) -> None:
    """Measure all peers."""
    configure_compiler()
    record = load_run(pathlib.Path(run))
    load_config(CONFIG, "smoke")  # registers the tasks
    experiment = Experiment.from_config(record.config.to_dict())
    exact = record["reference"].loss.values
    rows: Rows = {}
    scipy_rows(experiment, exact, rows)
    if importlib.util.find_spec("torchdiffeq") and "gram" in experiment.model.capabilities:
        torch_rows(experiment, exact, rows)
    write_json(record.path / "peers.json", rows)
    for solver, solves in rows.items():
        for solve in solves:
            print(solver, "  ".join(f"{key} {value:.3g}" for key, value in solve.items()))


def scipy_rows(experiment: Experiment, exact: Any, rows: Rows) -> None:
    """Scipy's solvers."""
    params, objective = experiment.start
    y0, restore = ravel_pytree(params)
    velocity = jax.jit(lambda t, y: ravel_pytree(objective.velocity(restore(y)))[0])
    jacobian = jax.jit(lambda t, y: jax.jacfwd(lambda y: velocity(t, y))(y))
    loss = jax.jit(jax.vmap(lambda y: objective.loss(restore(y))))
    velocity(0.0, y0).block_until_ready()
    small = y0.size <= LARGEST
    for method in (*EXPLICIT, *(IMPLICIT if small else ())):
        given: dict[str, Any] = {"jac": jacobian} if method in IMPLICIT else {}
        if given:
            jacobian(0.0, y0).block_until_ready()
        for rtol in TOLERANCES:
            begin = time.perf_counter()
            found: Any = solve_ivp(
                velocity,
                (0.0, float(experiment.times[-1])),
                np.asarray(y0),
                method,
                t_eval=experiment.times,
                rtol=rtol,
                atol=rtol / 1000,
                **given,
            )
            seconds = time.perf_counter() - begin
            error = float(np.max(np.abs(np.asarray(loss(found.y.T)) / exact - 1)))
            row = {"rtol": rtol, "seconds": seconds, "evaluations": float(found.nfev), "error": error}
            rows.setdefault(f"scipy {method}", []).append(row)
            if seconds > MOST_S:
                break


def torch_rows(experiment: Experiment, exact: Any, rows: Rows) -> None:
    """Torchdiffeq's dopri5."""
    import torch
    from torchdiffeq import odeint

    weights, loss = torch_model(experiment)
    evaluations = [0]

    def velocity(t: Any, state: Any) -> Any:
        del t
        evaluations[0] += 1
        with torch.enable_grad():
            leaves = [matrix.detach().requires_grad_() for matrix in state]
            return tuple(-slope for slope in torch.autograd.grad(loss(*leaves), leaves))

    start = tuple(matrix.detach() for matrix in weights)
    times = torch.tensor(experiment.times)
    for rtol in TOLERANCES:
        evaluations[0], begin = 0, time.perf_counter()
        with torch.no_grad():
            path = odeint(velocity, start, times, rtol=rtol, atol=rtol / 1000, method="dopri5")
            seconds = time.perf_counter() - begin
            losses = np.array([loss(*(matrix[i] for matrix in path)).item() for i in range(len(times))])
        error = float(np.max(np.abs(losses / exact - 1)))
        row = {"rtol": rtol, "seconds": seconds, "evaluations": float(evaluations[0]), "error": error}
        rows.setdefault("torchdiffeq dopri5", []).append(row)
        if seconds > MOST_S:
            break


if __name__ == "__main__":
    main(sys.argv[1])
