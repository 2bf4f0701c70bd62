"""The peers' side: one method on the problem in a folder; in an environment with torch, torchdiffeq and scipy.

python -m experiments.speed.peers.theirs METHOD FOLDER
"""

import functools
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from experiments.speed.peers.side import read_problem, repeated, serve, threads, timed

COUNT = threads()

import numpy as np  # noqa: E402
import scipy.integrate  # noqa: E402
import torch  # noqa: E402
import torchdiffeq  # noqa: E402

from experiments.speed.peers import torch_models as models  # noqa: E402
from experiments.speed.peers import torch_transformer  # noqa: E402

PART = 256  # samples at a time where all at once would not fit into memory
MANY = 1000  # words

Measure = Callable[..., dict[str, Any]]
State = tuple[torch.Tensor, ...]


class Problem:
    """What the folder holds, as tensors."""

    def __init__(self, folder: str):
        """Read it."""
        self.settings, arrays = read_problem(pathlib.Path(folder))
        self.arrays = {name: torch.tensor(array) for name, array in arrays.items()}
        self.arrays["inputs"] = self.arrays["inputs"].long()
        self.law = self.settings["law"]

    @property
    def weights(self) -> State:
        """Those of the one-layer model."""
        return tuple(self.arrays[f"start.{name}"] for name in models.NAMES)


def _steps(problem: Problem) -> int:
    return round(float(problem.arrays["times"][-1]) / problem.law["learning_rate"])


def _move(weights: Sequence[Any], eta: float) -> None:
    """One step along the gradients, which are forgotten."""
    with torch.no_grad():
        for matrix in weights:
            matrix.sub_(eta * matrix.grad)
            matrix.grad = None


def descent(problem: Problem, loss: models.Loss, compiled: bool) -> Measure:
    """Gradient descent from the start, its loss at the start and at the end."""
    eta = problem.law["learning_rate"]
    steps = _steps(problem)

    def functional_steps(step: Callable[..., State]) -> State:
        weights = problem.weights
        with torch.no_grad():
            for _ in range(steps):
                weights = step(*weights)
        return weights

    def eager_steps() -> State:
        weights = tuple(matrix.clone().requires_grad_() for matrix in problem.weights)
        for _ in range(steps):
            loss(*weights).backward()
            _move(weights, eta)
        return weights

    descended = (
        functools.partial(functional_steps, torch.compile(models.stepped(loss, eta))) if compiled else eager_steps
    )

    def run() -> list[float]:
        with torch.no_grad():
            first = loss(*problem.weights).item()
        weights = descended()
        with torch.no_grad():
            return [first, loss(*weights).item()]

    def measure() -> dict[str, Any]:
        seconds, losses = repeated(lambda: timed(run))
        return {"seconds": seconds, "losses": losses, "steps": steps}

    return measure


def many_words(problem: Problem, compiled: bool) -> Measure:
    """Gradient descent with many words, PART samples at a time, on all samples or on the minibatches of ours."""
    arrays, eta = problem.arrays, problem.law["learning_rate"]
    tokens, y = arrays["inputs"], arrays["targets"]
    of_part = models.by_words(arrays)
    if compiled:
        of_part = torch.compile(of_part)
    start = [matrix.T.contiguous() for matrix in problem.weights[:3]] + [problem.weights[3]]
    everything = torch.arange(len(y))
    batches = arrays["rows"].long() if "rows" in arrays else everything[None].expand(_steps(problem), -1)

    def of_all(weights: list[torch.Tensor]) -> float:
        with torch.no_grad():
            return sum(of_part(*weights, tokens[rows], y[rows]).item() for rows in everything.split(PART))

    def run() -> list[float]:
        weights = [matrix.clone().requires_grad_() for matrix in start]
        first = of_all(weights)
        for batch in batches:
            for rows in batch.split(PART):
                (len(y) / len(batch) * of_part(*weights, tokens[rows], y[rows])).backward()
            _move(weights, eta)
        return [first, of_all(weights)]

    def measure() -> dict[str, Any]:
        seconds, losses = repeated(lambda: timed(run))
        return {"seconds": seconds, "losses": losses, "steps": len(batches)}

    return measure


def transformer(problem: Problem, compiled: bool) -> Measure:
    """AdamW from the start on the minibatches of ours, with the loss of all samples at the start and at the end."""
    arrays, law = problem.arrays, problem.law
    inputs, targets, rows = arrays["inputs"], arrays["targets"].long(), arrays["rows"].long()
    loss = torch_transformer.loss(problem.settings["heads"])
    of_minibatch = torch.compile(loss) if compiled else loss

    def of_all(weights: list[torch.Tensor]) -> float:
        with torch.no_grad():
            return loss(weights, inputs, targets).item()

    def run() -> list[float]:
        weights = [matrix.clone().requires_grad_() for matrix in torch_transformer.weights(arrays)]
        optimizer = torch.optim.AdamW(weights, law["learning_rate"], weight_decay=law["weight_decay"], fused=True)
        first = of_all(weights)
        for of_step in rows:
            optimizer.zero_grad()
            of_minibatch(weights, inputs[of_step], targets[of_step]).backward()
            optimizer.step()
        return [first, of_all(weights)]

    def measure() -> dict[str, Any]:
        seconds, losses = repeated(lambda: timed(run))
        return {"seconds": seconds, "losses": losses, "steps": len(rows)}

    return measure


class Velocity:
    """dy/dt that counts how often it is asked."""

    def __init__(self, function: Callable[..., State]):
        """Of a function of the arrays of the state."""
        self.function, self.evaluations = function, 0

    def __call__(self, t: Any, state: State) -> State:
        """At a time, on which it does not depend."""
        del t
        self.evaluations += 1
        return self.function(*state)


def flow(problem: Problem, solver: str, compiled: bool = False, weights: bool = False) -> Measure:
    """A flow at a tolerance, in the variables of the problem or in weights: its losses at the saved times."""
    in_gram = problem.law["name"] == "gram_flow" and not weights
    loss = models.by_gram(problem.arrays) if in_gram else models.by_one_hot(problem.arrays)
    start, function = list(problem.weights), models.slopes(loss)
    if in_gram:
        start, function = models.gram_velocity(problem.arrays)
    if compiled:
        function = torch.compile(function)
    function(*start)
    arguments = 2 if in_gram else len(start)  # of the loss
    solve = _by_torchdiffeq if solver == "dopri5" else functools.partial(_by_scipy, method=solver)
    times = torch.tensor(np.union1d(0.0, problem.arrays["times"].numpy()))

    def run(rtol: float) -> tuple[float, Any]:
        velocity = Velocity(function)
        with torch.no_grad():
            seconds, states = timed(lambda: solve(velocity, tuple(start), times, rtol))
        return seconds, (states, velocity.evaluations)

    def measure(rtol: float | None) -> dict[str, Any]:
        if rtol is None:  # one evaluation
            return {"seconds": timed(lambda: function(*start))[0]}
        seconds, (states, evaluations) = repeated(lambda: run(rtol))
        with torch.no_grad():
            losses = [loss(*state[:arguments]).item() for state in states]
        return {"seconds": seconds, "losses": losses, "evaluations": evaluations}

    return measure


def _by_torchdiffeq(velocity: Velocity, start: State, times: torch.Tensor, rtol: float) -> list[State]:
    path = torchdiffeq.odeint(velocity, start, times, rtol=rtol, atol=rtol / 100, method="dopri5")
    return list(zip(*path, strict=True))


def _by_scipy(velocity: Velocity, start: State, times: torch.Tensor, rtol: float, method: str) -> list[State]:
    sizes, shapes = [array.numel() for array in start], [array.shape for array in start]

    def parts(flat: np.ndarray) -> State:
        cut = torch.split(torch.from_numpy(flat), sizes)
        return tuple(part.reshape(shape) for part, shape in zip(cut, shapes, strict=True))

    def flat(arrays: State) -> np.ndarray:
        return torch.cat([array.reshape(-1) for array in arrays]).numpy()

    span = float(times[0]), float(times[-1])
    found = scipy.integrate.solve_ivp(
        lambda t, y: flat(velocity(t, parts(y))), span, flat(start), method, times.numpy(), rtol=rtol, atol=rtol / 100
    )
    return [parts(np.ascontiguousarray(y)) for y in found.y.T]


def in_pytorch(compiled: bool) -> Callable[[Problem], Measure]:
    """The descent of the problem's model as users of PyTorch write it."""

    def made(problem: Problem) -> Measure:
        if problem.settings["model"] == "Transformer":
            return transformer(problem, compiled)
        if problem.weights[0].shape[1] >= MANY:
            return many_words(problem, compiled)
        return descent(problem, models.by_one_hot(problem.arrays), compiled)

    return made


METHODS: dict[str, Callable[[Problem], Measure]] = {
    "PyTorch eager": in_pytorch(compiled=False),
    "PyTorch compiled": in_pytorch(compiled=True),
    "PyTorch compiled, by tables": lambda problem: descent(problem, models.by_table(problem.arrays), compiled=True),
    "torchdiffeq dopri5": lambda problem: flow(problem, "dopri5"),
    "torchdiffeq dopri5, compiled": lambda problem: flow(problem, "dopri5", compiled=True),
    "torchdiffeq dopri5, in weights": lambda problem: flow(problem, "dopri5", weights=True),
    "scipy RK45": lambda problem: flow(problem, "RK45"),
    "scipy DOP853": lambda problem: flow(problem, "DOP853"),
}


def main(method: str, folder: str) -> None:
    """Measure whenever asked."""
    torch.set_num_threads(COUNT)
    torch.set_default_dtype(torch.float64)
    serve(METHODS[method](Problem(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
