"""Our side: a problem by name, written down for the peers and integrated by the engine of `dynamics run`.

python -m experiments.speed.peers.ours PROBLEM FOLDER
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from experiments.speed.peers.side import ROOT, repeated, serve, threads

threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402

import dynamics  # noqa: E402
from dynamics.environment import use_compile_cache  # noqa: E402
from dynamics.files import load_config  # noqa: E402
from dynamics.runs.engine import Program, integrate  # noqa: E402
from dynamics.runs.experiment import Experiment  # noqa: E402
from dynamics.runs.path import Path  # noqa: E402
from dynamics.trajectory import COMPLETED, REASONS, joined  # noqa: E402
from experiments.speed.peers.problem import write  # noqa: E402

LAW = "law"  # the one law of every problem
FIGURE_1 = ROOT / "configs" / "cooccurrence" / "figure1.py"
TEXT = ROOT / "configs" / "qk_eigenspectrum" / "text.py"
TIMES = tuple(np.geomspace(1.0, 300.0, 20).round(6).tolist())


def figure1(law: dict[str, Any], times: tuple[float, ...]) -> Any:
    """The first paper's experiment with one law."""
    return one_law(load_config(FIGURE_1, "kaiming_normal"), law, times)


def one_law(config: Any, law: dict[str, Any], times: tuple[float, ...]) -> Any:
    """A config with one law, the loss at these times, and one program."""
    config.laws, config.probes, config.checkpoints = {LAW: law}, ("loss",), 1
    config.times.update(spacing="given", given=times)
    return config


def descent(steps: int = 2000) -> Any:
    """Gradient descent of the first paper."""
    return figure1({"name": "gd", "learning_rate": 0.01}, (0.01 * steps,))


def flow(name: str) -> Any:
    """Gradient flow of the first paper, in weights or in Gram variables."""
    return figure1({"name": name}, TIMES)


def transformer(dtype: str, steps: int = 20) -> Any:
    """AdamW on English words: 4 layers, 4 heads, width 256, windows of 64 words in minibatches of 16."""
    config = load_config(TEXT, "three_layers")
    config.task.update(samples=128, length=64)
    config.model.update(width=256, heads=4, layers=4, neurons=1024)
    config.regulariser = dynamics.base().regulariser
    config.dtype = dtype
    law = {"name": "adam", "learning_rate": 0.0005, "weight_decay": 0.01, "batch_size": 16, "replacement": False}
    return one_law(config, law, (0.0005 * steps,))


def large(law: dict[str, Any], steps: int, samples: int) -> Any:
    """Samples of 64 words out of 10 000, width 1024: a state of 246 MB."""
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": samples, "length": 64, "vocabulary": 10_000, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 1024, "neurons": 64, "heads": 1}
    config.init = {"name": "normal", "std": 0.3 / 256, "std_of": {"W": 0.3 / 8}}
    return one_law(config, {"learning_rate": 0.01, **law}, (0.01 * steps,))


PROBLEMS: dict[str, Callable[[], Any]] = {
    "descent": descent,
    "flow": functools.partial(flow, "flow"),
    "gram_flow": functools.partial(flow, "gram_flow"),
    "transformer": functools.partial(transformer, "float32"),
    "transformer64": functools.partial(transformer, "float64", 5),
    "large": functools.partial(large, {"name": "gd"}, 1, 9996),
    "large_minibatches": functools.partial(large, {"name": "sgd", "batch_size": 256}, 10, 510),
}


class Ours:
    """A problem with its compiled programs."""

    def __init__(self, config: Any):
        """Compile what integrates the config."""
        self.experiment = Experiment.from_config(config.to_dict())
        self.program = Program(Path(self.experiment, LAW), size=1)
        self.program.wait()
        self.law = config.laws[LAW]

    def with_law(self, **settings: Any) -> Experiment:
        """The experiment with other settings of its law."""
        law = dataclasses.replace(self.experiment.laws[LAW], **settings)
        return dataclasses.replace(self.experiment, laws={LAW: law})

    def measure(self, rtol: float | None = None) -> dict[str, Any]:
        """Integrate: seconds, the losses at the saved times, steps, and evaluations of the velocity of a flow."""
        experiment = self.experiment
        if rtol is not None:
            experiment = self.with_law(rtol=rtol, atol=rtol / 100)
        path = Path(experiment, LAW)
        seconds, parts = repeated(lambda: _integrated(self.program, path))
        whole = joined([part.of_path(0, experiment) for part in parts])
        if whole.outcome != COMPLETED:
            raise SystemExit(f"{experiment.laws[LAW]}: {REASONS[int(whole.outcome)]} at t = {float(whole.end):g}")
        answer = {"seconds": seconds, "losses": whole.probes["loss"].tolist(), "steps": int(whole.steps)}
        if rtol is not None:
            answer["evaluations"] = float(parts[-1].trajectory.memory.evaluations[0])
        return answer

    def exact(self) -> dict[str, Any]:
        """The losses at the saved times by a solver of order 8 at a tolerance of 1e-12."""
        path = Path(self.with_law(solver="dopri8", rtol=1e-12, atol=1e-14), LAW)
        _, parts = _integrated(Program(path, size=1), path)
        whole = joined([part.of_path(0, path.experiment) for part in parts])
        return {"losses": whole.probes["loss"].tolist()}

    def answer(self, exact: bool = False, **request: Any) -> dict[str, Any]:
        """What is asked for."""
        return self.exact() if exact else self.measure(**request)


def _integrated(program: Program, path: Path) -> tuple[float, Any]:
    parts = list(integrate(program, [path]))
    return sum(part.seconds for part in parts), parts


def main(name: str, folder: str) -> None:
    """Write the problem down, then measure whenever asked."""
    jax.config.update("jax_platforms", "cpu")
    use_compile_cache()
    ours = Ours(PROBLEMS[name]())
    write(ours.experiment, ours.law, pathlib.Path(folder))
    serve(ours.answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
