"""Where the seconds of `dynamics run` go, in the main thread and in others.

    python -m experiments.speed.startup [FILE[:VARIANT]]

Runs a config, by default the smoke variant of Figure 1, in processes of its own: once with an empty compile cache, and
ROUNDS times with the cache of the first run. Prints the seconds of each phase: of the first run, and the median of the
others.
"""

import functools
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from typing import Any

# What the main thread does, one after another: the module, its class if it is a method, the function, and the phase.
PHASES = (
    ("dynamics.runs.experiment", "Experiment", "from_config", "check the config and its shapes"),
    ("dynamics.runs.engine", "Program", "__init__", "trace the programs"),
    ("dynamics.runs.run", None, "training_set", "draw the start"),
    ("dynamics.runs.engine", "Program", "wait", "wait for the compiler"),
    ("dynamics.runs.engine", "Program", "stretch", "integrate"),
    ("dynamics.runs.recorder", "Recorder", "close", "wait for the record"),
    ("dynamics.cli.commands", None, "draw", "draw the figures"),
    ("dynamics.cli.commands", None, "reported", "write the page"),
)
IMPORTS, START, REST = "import", "start and end Python", "the rest"
BESIDE = {  # events of jax, summed over all threads
    "jaxpr_trace_duration": "tracing",
    "jaxpr_to_mlir_module_duration": "lowering",
    "backend_compile_duration": "compiling, or reading the compile cache",
}

Seconds = dict[str, float]


def main() -> None:
    """Measure and print."""
    from experiments.speed.benchmark import CONFIG, ROUNDS, load, show  # here: a process that is measured imports this

    file = sys.argv[1] if len(sys.argv) > 1 else f"{CONFIG}:smoke"
    show("what", "cache empty", "warm")
    load()
    with tempfile.TemporaryDirectory() as folder:
        cold, *warm = (in_a_process(file, pathlib.Path(folder), i) for i in range(1 + ROUNDS))
    for phase, seconds in cold.items():
        show(phase, f"{seconds:.2f} s", f"{statistics.median(one[phase] for one in warm):.2f} s")
    load()


def in_a_process(file: str, folder: pathlib.Path, number: int) -> Seconds:
    """{phase: seconds} of a run in a process of its own, whose compile cache is in a folder."""
    begin = time.perf_counter()
    code = f"from experiments.speed.startup import followed; followed({file!r}, {str(folder)!r}, {number})"
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    total = time.perf_counter() - begin
    within, seconds, beside = json.loads(done.stdout.splitlines()[-1])
    rest = {REST: within - sum(seconds.values()), START: total - within, "all of it": total}
    return {
        **seconds,
        **rest,
        **{f"    beside it, in all threads: {what}": beside.get(what, 0.0) for what in BESIDE.values()},
    }


def followed(file: str, folder: str, number: int) -> None:
    """Run a config in this process; prints [seconds of it all, those of each phase, those of jax's events]."""
    begin = time.perf_counter()
    seconds: Seconds = {IMPORTS: 0.0, **{phase: 0.0 for *_, phase in PHASES}}
    beside: Seconds = defaultdict(float)
    cli = importlib.import_module("dynamics.cli")
    jax = importlib.import_module("jax")
    importlib.import_module("dynamics.cli.commands")
    seconds[IMPORTS] = time.perf_counter() - begin
    _follow(seconds)

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if (name := event.rpartition("/")[2]) in BESIDE:
            beside[BESIDE[name]] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    cli.main(["dynamics", "run", f"--config={file}", f"--workdir={folder}", f"--name=run-{number}"])
    print(json.dumps([time.perf_counter() - begin, seconds, beside]))


def _follow(seconds: Seconds) -> None:
    """Add the seconds of all calls of the functions of PHASES to `seconds`; a call inside another one is not added."""
    inside: list[str] = []

    def following(function: Any, phase: str) -> Any:
        @functools.wraps(function)
        def followed(*args: Any, **kwargs: Any) -> Any:
            begin, outer = time.perf_counter(), not inside
            inside.append(phase)
            try:
                return function(*args, **kwargs)
            finally:
                inside.pop()
                if outer:
                    seconds[phase] += time.perf_counter() - begin

        return followed

    for module, cls, name, phase in PHASES:
        owner: Any = importlib.import_module(module)
        owner = owner if cls is None else vars(owner)[cls]
        function = vars(owner)[name]
        is_class_method = isinstance(function, classmethod)
        made = following(function.__func__ if is_class_method else function, phase)
        setattr(owner, name, classmethod(made) if is_class_method else made)


if __name__ == "__main__":
    main()
