"""Random configs, config files, sweeps and command lines: each is accepted, or refused in one line that names the key.

    python -m experiments.reliability.configs [--count=10000] [--seed=0] [--run=20]

Nothing may be written for what is refused, and no traceback may come from this library. Of the accepted configs that
were built from the schema alone, the first `run` are executed.
"""

import argparse
import collections
import contextlib
import copy
import dataclasses
import io
import pathlib
import re
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import hypothesis
import ml_collections
from hypothesis import strategies as st

import dynamics
import dynamics.cli
from dynamics.cli import commands, sweeps
from dynamics.files import load_config
from experiments.reliability import generators

LONGEST_S, LONGEST_RUN_S = 20.0, 120.0  # that a config may take to be checked, and to be executed
ROOT = pathlib.Path(__file__).parents[2]
FILES = ("cooccurrence/figure1.py", "qk_eigenspectrum/training.py", "sink_vs_diagonal/training.py")
# Mistakes of several keys at once, and of a command line, have sentences of their own.
SENTENCES = (
    r"Unknown command line flag|unrecognized arguments|argument |the following arguments|invalid choice|expected"
    r"|Missing value for flag"
)
KEYED = re.compile(
    rf"dynamics: (.* = .*: .+|.*: must name .*|no member can run.*|--config.*|.*({SENTENCES}).*)\n", re.DOTALL
)


class AcceptedError(Exception):
    """Raised in the place of the work that an accepted config would begin."""


class Case(NamedTuple):
    """A case.

    Attributes:
        kind: what is tried; see Trial.
        content: the number of the base config, and what is changed in it or added to it.
    """

    kind: str
    content: tuple[int, Any]


@dataclasses.dataclass
class Counts:
    """What has been tried.

    Attributes:
        kinds: {kind: how many were tried}.
        outcomes: {"accepted" or "refused": how many}.
        executed: how many accepted configs were executed.
        faults: {what was wrong: the first case that showed it}.
        failures: how many cases were neither accepted nor refused as they should be.
    """

    kinds: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    outcomes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    executed: int = 0
    failures: int = 0
    faults: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, case: Case, outcome: str) -> None:
        """Count a case."""
        kind = case.kind
        self.kinds[kind] += 1
        if outcome in ("accepted", "refused"):
            self.outcomes[outcome] += 1
        else:
            self.failures += 1
            with contextlib.suppress(RecursionError, ValueError):
                self.faults.setdefault(f"{kind}: {outcome}", "it cannot be shown")
                self.faults[f"{kind}: {outcome}"] = ascii(case.content)[:2000]


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes more seconds of the processor: other work may be going on beside it."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome_of(act: Callable[[], Any], longest_s: float = LONGEST_S) -> str:
    """The word "accepted" or "refused", or in one line what is wrong with how an act ended."""
    try:
        with _within(longest_s):
            act()
    except dynamics.ConfigError as error:
        return judged(f"dynamics: {error}\n")
    except (AcceptedError, SystemExit):  # argparse ends with the help that was asked for
        return "accepted"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"traceback: {type(error).__name__} at {pathlib.Path(place.filename).name}:{place.lineno}"
    return "accepted"


def judged(message: str) -> str:
    """The word "refused" for one line that names key, value and what is allowed, or else what is wrong with it."""
    if "\n" in message[:-1] or not message[:-1].isprintable():
        return f"more than a line, or characters that move the cursor: {message!r:.80}"
    return "refused" if KEYED.fullmatch(message) else f"no key, value and what is allowed: {message!r:.200}"


def command(workdir: pathlib.Path, *words: str) -> str:
    """The outcome of a command whose work does not begin."""
    streams = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(commands, "execute", _check),
        mock.patch.object(sweeps, "SweepTracker", side_effect=AcceptedError),
        mock.patch.object(sweeps, "estimate", side_effect=AcceptedError),
        mock.patch.object(sweeps, "use_compile_cache"),
        mock.patch.object(commands, "use_compile_cache"),
        mock.patch.object(sweeps.processes, "join"),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        code: list[int] = []
        outcome = outcome_of(lambda: code.append(dynamics.cli.main(["dynamics", *words])))
    if any(workdir.iterdir()):
        return "something was written"
    if outcome == "accepted" and code and code[0] != 0:
        return judged(streams[1].getvalue()) if code == [2] else f"exit code {code[0]}: {streams[1].getvalue():.80}"
    return outcome


def _check(config: Any, *_: Any) -> None:
    dynamics.Experiment.from_config(config)
    raise AcceptedError


def _edited(config: dict[str, Any], edits: list[generators.Edit]) -> Any:
    for edit in edits:
        config = edit.made(config)
    return config


def _as_config(values: Any) -> Any:
    try:
        return ml_collections.ConfigDict(values)
    except Exception:  # ml_collections refuses them when the file of a user is executed
        return values


def cases(count: int, seed: int, bases: list[dict[str, Any]]) -> list[Case]:
    """Random cases; the same seed gives the same ones."""
    number = st.sampled_from(range(len(bases)))
    edits = number.flatmap(lambda i: st.tuples(st.just(i), generators.edits(bases[i])))
    overrides = number.flatmap(lambda i: st.tuples(st.just(i), generators.overrides(bases[i])))
    words = number.flatmap(lambda i: st.tuples(st.just(i), generators.words(bases[i])))
    schema = st.tuples(number, st.fixed_dictionaries({}, optional=generators.GROUPS))
    by_kind = {"config": edits, "config file": edits, "sweep": overrides, "command line": words, "schema": schema}
    case = st.one_of(*(st.builds(Case, st.just(kind), drawn) for kind, drawn in by_kind.items()))
    drawn: list[Case] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case)
    def draw(case: Case) -> None:
        drawn.append(case)

    draw()
    return drawn


class Trial:
    """Tries cases in an empty folder."""

    def __init__(self, folder: pathlib.Path, run: int):
        self._bases = [load_config(ROOT / "configs" / file, "smoke") for file in FILES]
        self.plain = [base.to_dict() for base in self._bases]
        self.counts, self._run, self._folder, self._workdir = Counts(), run, folder, folder / "work"
        self._workdir.mkdir()
        (folder / "files").mkdir()
        file = folder / "files" / "mine.py"
        text = "from experiments.reliability.generators import HELD\n"
        file.write_text(text + "get_config = lambda: HELD['config']\nget_sweep = lambda: HELD['sweep']\n")
        self._at = f"--config={file}", f"--workdir={self._workdir}/runs"

    def config(self, number: int, edits: list[generators.Edit]) -> str:
        """A plain config with changes."""
        config = _edited(self.plain[number], edits)
        return outcome_of(lambda: dynamics.Experiment.from_config(config))

    def config_file(self, number: int, edits: list[generators.Edit]) -> str:
        """The same, if ml_collections can hold it, from a config file."""
        generators.HELD["config"] = _as_config(_edited(self.plain[number], edits))
        return command(self._workdir, "run", *self._at)

    def sweep(self, number: int, overrides: Any) -> str:
        """A sweep from a config file."""
        generators.HELD.update(config=copy.deepcopy(self._bases[number]), sweep=overrides)
        return command(self._workdir, "sweep", *self._at, "--dry-run")

    def command_line(self, number: int, words: list[str]) -> str:
        """Words after the name of the config file."""
        generators.HELD.update(config=copy.deepcopy(self._bases[number]), sweep=[{"seed": 1}, {"seed": 2}])
        return command(self._workdir, ("run", "sweep")[len(words) % 2], *self._at, *words)

    def schema(self, number: int, groups: dict[str, Any]) -> str:
        """A config made of the schema alone; executed if it is accepted."""
        config = {**self.plain[number], **groups, "checkpoints": 1, "figures": ""}
        outcome = outcome_of(lambda: dynamics.Experiment.from_config(config))
        if outcome == "accepted" and self.counts.executed < self._run:
            self.counts.executed += 1
            return executed(config, self._folder / f"run-{self.counts.executed}")
        return outcome

    def tried(self, case: Case) -> None:
        """Try a case and count how it ended."""
        kinds: dict[str, Any] = {
            "config": self.config,
            "config file": self.config_file,
            "sweep": self.sweep,
            "command line": self.command_line,
            "schema": self.schema,
        }
        self.counts.add(case, kinds[case.kind](*case.content))


def try_out(count: int, seed: int, run: int, folder: pathlib.Path) -> Counts:
    """Try `count` random cases in an empty folder."""
    trial = Trial(folder, run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases(count, seed, trial.plain):
            trial.tried(case)
    return trial.counts


def executed(config: dict[str, Any], folder: pathlib.Path) -> str:
    """The outcome of a run of an accepted config: the record says how it ended."""
    times = {**config["times"], "stop": min(config["times"].get("stop", 1.0), 2.0)}
    config = {**config, "times": times, "wandb": {**config["wandb"], "mode": "disabled"}}
    outcome = outcome_of(lambda: dynamics.execute(config, folder, "run"), LONGEST_RUN_S)
    if outcome != "accepted":
        return outcome if outcome == "refused" and not folder.exists() else f"run: {outcome}"
    state = dynamics.load(folder / "run").state
    return "accepted" if state in ("done", "failed") else f"run: its state is {state}"


def main(words: list[str]) -> int:
    """Try configs and print what was seen; 1 if any was neither accepted nor refused in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=int, default=20)
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        counts = try_out(arguments.count, arguments.seed, arguments.run, pathlib.Path(folder))
    for fault, case in counts.faults.items():
        print(f"{fault}\n    {case}")
    tried = ", ".join(f"{number} {kind}" for kind, number in counts.kinds.items())
    print(f"of which {tried}; accepted {counts.outcomes['accepted']}, executed {counts.executed}")
    print(f"configs generated {counts.kinds.total()} / tracebacks {counts.failures}")
    return int(counts.failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
