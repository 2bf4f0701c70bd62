"""The work of programs, counted instead of timed, so that a test without a clock notices more work.

    python -m experiments.speed.counted [FILE]

Prints the counts as JSON, or writes them into FILE. tests/test_counted_work.py compares them with the counts in
tests/records/counted_work.json. XLA counts the operations and bytes of a compiled program, and the body of a loop once.
"""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
from typing import Any

import jax

import dynamics
from dynamics import cli
from dynamics.config import require
from dynamics.files import load_config
from dynamics.runs.engine import Program
from dynamics.runs.path import Path
from dynamics.runs.programs import compiled_paths, compiled_starts

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
FIGURE1 = CONFIGS / "cooccurrence" / "figure1.py"
SWEEP = CONFIGS / "cooccurrence" / "sweep_scales.py"
FLOWS: dict[str, dict[str, Any]] = {
    "weights": {"name": "flow", "solver": "tsit5"},
    "Gram variables": {"name": "gram_flow", "solver": "tsit5"},
}
DESCENTS: dict[str, dict[str, Any]] = {
    "GD": {"name": "gd", "learning_rate": 0.01},
    "SGD": {"name": "sgd", "learning_rate": 0.01, "batch_size": 6},
}
WORDS = (64, 163, 643)  # the vocabulary of the paper's experiment, and of 60 and 240 samples whose words are distinct
MANY = 1000  # words, of which at most 300 are in the paper's 60 samples

Counts = dict[str, float]


def main() -> None:
    """Count, and print or write the counts."""
    text = json.dumps(counted(), indent=1) + "\n"
    if len(sys.argv) > 1:
        pathlib.Path(sys.argv[1]).write_text(text)
    else:
        print(text, end="")


def counted() -> dict[str, Counts]:
    """{what: {unit: count}}."""
    counts: dict[str, Counts] = {}
    for name, law in FLOWS.items():
        for words in WORDS:
            counts[f"a velocity in {name}, {words} words"] = of_velocity(experiment(law, **of_words(words)))
        counts[f"a flow in {name}"] = of_path(experiment(law)) | of_flow(experiment(law))
    few_move = experiment(FLOWS["Gram variables"], vocabulary=MANY)
    counts[f"a velocity in Gram variables, {MANY} words, few in samples"] = of_velocity(few_move)
    for name, law in DESCENTS.items():
        counts[name] = of_path(experiment(law))
    counts["dynamics run"] = of_command("run", FIGURE1)
    counts["dynamics sweep"] = of_command("sweep", SWEEP)
    return counts


def of_words(words: int) -> dict[str, Any]:
    """The task with so many words: the paper's, or one with as many samples as there are words for, each word once."""
    if words == WORDS[0]:
        return {}
    return {"samples": 3 * (words - 3) // 8, "vocabulary": words, "words": "distinct"}


def experiment(law: dict[str, Any], **task: Any) -> Any:
    """The paper's experiment under one law, to t = 30, with other values of its task."""
    config = load_config(FIGURE1)
    config.laws = {"law": law}
    config.times.update(stop=30.0, count=20)
    config.probes, config.checkpoints = ("loss",), 1
    config.task.update(task)
    return dynamics.Experiment.from_config(config.to_dict())


def of_velocity(experiment: Any) -> Counts:
    """The operations and bytes of one evaluation of a velocity."""
    params, objective, _ = experiment.abstract_start("law")
    velocity = jax.jit(lambda params, objective: experiment.laws["law"].velocity(objective, params))
    return _analysed(velocity.lower(params, objective).compile())


def of_path(experiment: Any) -> Counts:
    """Operations, bytes and memory of the program that integrates a path; the bytes that a call copies to the host."""
    (compiled,) = Program(Path(experiment, "law"), 1).compiled
    memory = compiled.memory_analysis()
    held = {"bytes to the host": memory.output_size_in_bytes, "bytes held": memory.temp_size_in_bytes}
    return {**_analysed(compiled), **held}


def of_flow(experiment: Any) -> Counts:
    """How often a flow evaluates its velocity, and how many steps it accepts."""
    trajectory = dynamics.solve(experiment, "law")
    return {"evaluations": int(trajectory.notes["evaluations"][-1]), "steps": int(trajectory.steps)}


def of_command(command: str, file: pathlib.Path) -> Counts:
    """The programs that a command compiles: those that integrate, and those that draw starts."""
    for made in (compiled_paths, compiled_starts):
        made.cache_clear()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        flags = [f"--config={file}:smoke", f"--workdir={folder}", "--name=counted", "--no-report"]
        code = cli.main(["dynamics", command, *flags])
    require(code == 0, command, file.stem, f"must end with 0, not with {code}")
    return {"programs": compiled_paths.cache_info().misses + compiled_starts.cache_info().misses}


def _analysed(compiled: Any) -> Counts:
    analysis = compiled.cost_analysis()
    return {"operations": analysis["flops"], "bytes": analysis["bytes accessed"]}


if __name__ == "__main__":
    main()
