"""A config, executed and recorded in a run folder."""

import contextlib
import dataclasses
import pathlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from dynamics.config import ConfigError, config_hash, plain, require
from dynamics.laws import Flow
from dynamics.runs.content import described, recorded, summary_of, training_set
from dynamics.runs.engine import Program, integrate
from dynamics.runs.experiment import Experiment
from dynamics.runs.identity import changed, code
from dynamics.runs.origin import provenance
from dynamics.runs.parts import named
from dynamics.runs.path import Path, State
from dynamics.runs.record import Record, load_run
from dynamics.runs.recorder import Recorder, unfinished_path
from dynamics.runs.stopping import heard
from dynamics.runs.storage import Arrays
from dynamics.runs.tracking import Shown, Tracker
from dynamics.runs.unfinished import read_state
from dynamics.trajectory import COMPLETED, Trajectory, joined

__all__ = ["Report", "execute"]

IMAGES_PER_LAW = 8

# (law, a part of its trajectory, the fraction of its time that is done)
Report = Callable[[str, Trajectory, float], None]


class _Clock:
    """Seconds by what they were spent on."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - begin


@dataclasses.dataclass(frozen=True)
class _Run:
    """The parts that all laws of a run share."""

    experiment: Experiment
    recorder: Recorder
    tracker: Tracker
    clock: _Clock
    report: Report
    checkpoint_s: float


def execute(
    config: Mapping[str, Any],
    workdir: pathlib.Path,
    name: str,
    report: Report = lambda *_: None,
    draw: Callable[[Record], list[pathlib.Path]] = lambda _: [],
) -> Record:
    """Integrate the laws of a config one after another and record them in workdir/name.

    A law that fails is recorded up to its failure, and the others go on. After Ctrl-C or SIGTERM what was integrated is
    recorded. If the folder has the same config and has not ended, the run goes on there: the record has the same bits
    as one that was not interrupted.

    Args:
        config: plain values; see dynamics.config.base.
        workdir: where run folders are.
        name: of the run folder.
        report: called after every part of a trajectory.
        draw: makes the figures of the finished record; their pictures are mirrored to wandb.

    Returns:
        The record; its status says "done", "failed" or "interrupted".

    Raises:
        ConfigError: for a mistake in the config, and for a folder of that name which has ended, has another config, or
            is being run; nothing is written.
        Exception: for an error in a probe or when a disk is full; the record's state is "failed", with the reason.
    """
    begin, clock = time.perf_counter(), _Clock()
    experiment = Experiment.from_config(config)
    made_of = code(named(config))
    before = _begun(workdir, name, config, made_of) if (workdir / name).exists() else None
    laws: dict[str, dict[str, Any]] = {} if before is None else before.ended
    # The programs that draw the start compile beside those of the laws. Not a daemon: if Python ended while a daemon
    # compiles, the process would abort.
    threading.Thread(target=lambda: (experiment.drawn, experiment.noise_key)).start()
    programs = {law: Program(Path(experiment, law), size=1) for law in experiment.laws if law not in laws}
    data = training_set(experiment)
    origin = provenance(experiment.model.dtype, config_hash(config), made_of)
    recorder = Recorder.new(workdir, name, config, origin) if before is None else Recorder.again(before, origin)
    with clock("record"):
        recorder.group("data", *data, {})
    with clock("tracking"):
        tracker = Tracker(config["wandb"], recorder.path, config)
    run = _Run(experiment, recorder, tracker, clock, report, config["launch"]["checkpoint_s"])
    with recorder.lock:
        try:
            with heard():
                _integrate(run, programs, laws)
        except BaseException as error:
            recorder.failed(error)
            tracker.finish({}, failed=True)
            raise
        record = _ended(run, laws, draw)
        clock.seconds["total"] = time.perf_counter() - begin
        recorder.status(**{**record.status, "seconds": clock.seconds})
    return record


def _ended(run: _Run, laws: Mapping[str, Mapping[str, Any]], draw: Callable[[Record], list[pathlib.Path]]) -> Record:
    """Write how a run ended, draw its figures and close its mirror."""
    recorder, tracker, clock = run.recorder, run.tracker, run.clock
    states = [summary["state"] for summary in laws.values()]
    state = next((bad for bad in ("interrupted", "failed") if bad in states), "done")
    reason = "; ".join(f"{law}: {summary['reason']}" for law, summary in laws.items() if summary["state"] != "done")
    recorder.status(state=state, reason=reason, laws=laws, seconds=clock.seconds)
    record = Record(recorder.path)
    if state != "interrupted":
        with clock("figures"):
            tracker.figures([path for path in draw(record) if path.suffix in (".png", ".gif")])
    with clock("tracking"):
        numbers = {f"{law}/{key}": value for law, summary in laws.items() for key, value in summary.items()}
        tracker.finish(numbers, state != "done")
    return record


def _begun(workdir: pathlib.Path, name: str, config: Mapping[str, Any], made_of: Mapping[str, str]) -> Record:
    """The record of a run that has not ended, for the same config to go on with.

    Raises:
        ConfigError: for any other folder.
    """
    try:
        record = load_run(workdir / name)
        same = config_hash(plain(record.config)) == config_hash(config)
    except ConfigError:
        same = False
    require(same, "name", name, f"exists in {workdir}, and not with this config; choose another")
    who = "process {pid} on {host}".format(**{"pid": "", "host": "", **record.status})
    require(record.state != "running", "name", name, f"is being run in {workdir} by {who}; choose another")
    names = ", ".join(changed(record.provenance["code"], made_of))
    require(not names, "name", name, f"exists in {workdir}, and the code of {names} has changed since; choose another")
    ended = set(record.config.laws) <= record.ended.keys() and record.state != "killed"
    require(not ended, "name", name, f"exists in {workdir} and has ended; choose another")
    return record


def _integrate(run: _Run, programs: Mapping[str, Program], laws: dict[str, dict[str, Any]]) -> None:
    """Integrate law after law and write them; adds the summary of each to `laws`."""
    for law, program in programs.items():
        laws[law] = _follow(run, law, program)
        if laws[law]["state"] == "interrupted":
            break
        run.recorder.ended(law, laws[law])
    with run.clock("record"):
        run.recorder.close()


def _follow(run: _Run, law: str, program: Program) -> dict[str, Any]:
    """Integrate one law, mirror it while it runs, and record it; its summary."""
    experiment, recorder, clock = run.experiment, run.recorder, run.clock
    path, compile_s = Path(experiment, law), 0.0
    followed = _Followed(run, law, path)
    try:
        compile_s = program.wait()
        if followed.begin(program) == 0:
            with clock("record"):
                start = experiment.start_of(law)[0]
                recorder.checkpoint(law, 0.0, start, experiment.laws[law].memory(start))
        for part in followed.parts(program):
            run.report(law, part, float(part.end / experiment.times[-1]))
            if part.outcome == COMPLETED:
                with clock("record"):
                    recorder.checkpoint(law, float(part.end), part.params, part.memory)
            with clock("tracking"):
                _mirror(run, law, part, followed.rows - len(part.t))
        trajectory = followed.trajectory
        summary = {**summary_of(experiment.laws[law], trajectory), "compile_s": compile_s, "solve_s": followed.seconds}
        if experiment.certify and isinstance(experiment.laws[law], Flow) and summary["state"] == "done":
            followed.keep()
            summary["error"] = _certify(run, path, program, trajectory)
    except KeyboardInterrupt:
        followed.keep()
        if not followed.rows:
            return {"state": "interrupted", "reason": "interrupted before the first time"}
        summary = summary_of(experiment.laws[law], followed.trajectory, interrupted=True)
    with clock("record"):
        arrays, labels = recorded(path, followed.trajectory)
        recorder.group(law, arrays, labels, {**summary, **described(experiment.laws[law])})
    return summary


class _Followed:
    """A path that is integrated, or goes on from where another process left it; it is stored now and then.

    Attributes:
        seconds: that the integration took in this process.
    """

    def __init__(self, run: _Run, name: str, path: Path):
        self._run, self._name, self._path = run, name, path
        self._parts: list[Trajectory] = []
        self._state: State | None = None
        self._kept = time.perf_counter()
        self.seconds = 0.0

    @property
    def rows(self) -> int:
        """The number of saved times so far."""
        return sum(len(part.t) for part in self._parts)

    @property
    def trajectory(self) -> Trajectory:
        """The trajectory so far."""
        return joined(self._parts)

    def begin(self, program: Program) -> int:
        """Go on from what is stored, if there is anything; the number of rows that are."""
        file = self._run.recorder.path / unfinished_path(self._name)
        if file.exists():
            trajectory, self._state = read_state(file, self._path, program.begin([self._path])[1])
            self._parts = [trajectory]
        return self.rows

    def parts(self, program: Program) -> Iterator[Trajectory]:
        """Integrate to the end."""
        for stretched in integrate(program, [self._path], self._state):
            part = stretched.of_path(0, self._path.experiment)
            self._parts, self._state = [*self._parts, part], stretched.state
            self.seconds += stretched.seconds
            yield part
            if part.outcome == COMPLETED or time.perf_counter() - self._kept > self._run.checkpoint_s:
                self.keep()

    def keep(self) -> None:
        """Store it."""
        if self._state is not None:
            self._run.recorder.unfinished(self._name, self.trajectory, self._state)
            self._kept = time.perf_counter()


def _mirror(run: _Run, law: str, part: Trajectory, row: int) -> None:
    """Mirror a part of a trajectory whose first row is `row` of the whole."""
    images = set(np.geomspace(1, len(run.experiment.times), IMAGES_PER_LAW).astype(int) - 1)
    arrays, labels = recorded(Path(run.experiment, law), part)
    over_t = {name: array for name, array in arrays.items() if array[0][0] == "t"}
    shown = Shown(part.t, over_t, labels, run.experiment.task.named_words)
    run.tracker.trajectory(law, shown, [i for i in range(len(part.t)) if row + i in images])


def _certify(run: _Run, path: Path, program: Program, trajectory: Trajectory) -> dict[str, float]:
    """Solve a flow again at tighter tolerances and record the error of every probe; the largest error of each."""
    tighter = Path(run.experiment.tighter(path.law), path.law)
    followed = _Followed(run, f"{path.law}_error", tighter)
    try:
        with run.clock("certify"):
            followed.begin(program)
            for _ in followed.parts(program):
                pass
    except KeyboardInterrupt:
        followed.keep()
        raise
    errors = _errors(trajectory, followed.trajectory)
    arrays: Arrays = {probe: (("t",), error) for probe, error in errors.items()}
    with run.clock("record"):
        attributes = described(tighter.experiment.laws[path.law])
        run.recorder.group(f"{path.law}_error", arrays, {"t": trajectory.t}, attributes)
    return {probe: float(np.max(error)) for probe, error in errors.items()}


def _errors(trajectory: Trajectory, reference: Trajectory) -> dict[str, np.ndarray]:
    """Max |p − p_ref| / max |p_ref| over the entries of every probe p, by time; large where a probe crosses zero."""

    def error(values: Any, exact: Any) -> np.ndarray:
        axes = tuple(range(1, exact.ndim))
        return np.max(np.abs(values - exact), axis=axes) / np.max(np.abs(exact), axis=axes)

    rows = len(reference.t)
    # The drift of the reference is nearly zero: nothing to compare with.
    return {
        name: error(trajectory.probes[name][:rows], exact)
        for name, exact in reference.probes.items()
        if name != "drift"
    }
