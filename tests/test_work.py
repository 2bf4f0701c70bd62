"""Sweeps that run: through the command line, with members that fail, and with processes that are killed."""

import argparse
import collections
import shutil
import time
import types

import numpy as np
import pytest
from conftest import ROOT

import dynamics
import dynamics.cli
import dynamics.runs.engine
import dynamics.sweeps.worker
from dynamics.cli.sweeps import launched
from dynamics.studies.evidence import Case, sweeps_of
from dynamics.sweeps import paths
from dynamics.sweeps.launchers import LAUNCHERS, JobLauncher
from dynamics.sweeps.ledger import Ledger, Worker
from dynamics.sweeps.overrides import grid, own_seeds, seeds
from dynamics.sweeps.sweep import Sweep

CONFIG = """
import dynamics
from dynamics.laws import GramGradientDescent
from dynamics.sweeps.overrides import chain, grid, seeds


class Raising(GramGradientDescent):
    def update(self, objective, gradient, params, memory, scale):
        raise RuntimeError("no such\\nupdate")


dynamics.LAWS["raising"] = Raising


def get_config(variant=None):
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}
    config.init.update(name="normal", std=0.3, std_of={"W": 0.3})
    config.laws.flow = {"name": "gram_flow", "rtol": 1e-9, "atol": 1e-11}
    config.laws.gd = {"name": "gram_gd", "learning_rate": 0.05}
    config.times.update(start=0.05, stop=10.0, count=12)
    config.update(words=6, checkpoints=3, probes=("loss", "margin", "scores", "drift"))
    config.wandb.mode = "disabled"
    if variant == "one_law":
        config.laws = {"law": {"name": "gram_gd", "learning_rate": 0.05}}
        config.times.update(spacing="linear", stop=10.0, count=10)
    return config


def get_sweep(variant="small"):
    members = grid({"init.std": (0.2, 0.3)}, seeds(3))
    if variant == "more":
        members = grid({"init.std": (0.2, 0.25, 0.3)}, seeds(3))
    if variant == "one_law":
        # One diverges, one raises, one has no such length.
        members = chain(
            seeds(4),
            [{"init.std": 1e160}, {"laws.law.name": "raising"}, {"task.length": 2}],
        )
    return members
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(CONFIG)
    return path


def command(config_file, workdir, *more, variant=""):
    config = f"--config={config_file}{variant and ':' + variant}"
    return ["dynamics", "sweep", config, f"--workdir={workdir}", "--no-report", *more]


@pytest.fixture(scope="module")
def swept(config_file, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sweeps")
    assert dynamics.cli.main(command(config_file, workdir)) == 0
    return dynamics.load(workdir / "tiny")


def values(record):
    names = ("t", "loss", "margin", "scores", "drift")
    return {(law, name): record[law][name].values for law in record.laws for name in names}


def equal(one, other):
    return all(np.array_equal(one[key], other[key], equal_nan=True) for key in one)


def done(record):
    """How often every path was done."""
    lines = Ledger(record.path).lines()
    return collections.Counter(line["id"] for line in lines if line["state"] == "done")


def assert_all_done_once(record, paths):
    counts = done(record)
    assert len(counts) == paths and set(counts.values()) == {1}


def small_config(config_file, *laws, **changes):
    """The config of the file with some of its laws."""
    config = dynamics.files.load_config(config_file)
    config.laws = {law: config.laws[law] for law in laws or config.laws}
    config.update_from_flattened_dict(changes)
    return config


def run_cases(folder, config_file, launcher="here", **sweeps):
    """The plan of sweeps and the records of their cases."""
    planned = paths.plan(sweeps)
    arguments = argparse.Namespace(launcher=launcher, retry_failed=False, max_failures=None)
    record, interrupted = launched(folder, "claims", config_file, planned, arguments)
    assert not interrupted
    return planned, {case: dynamics.sweeps.results.SweepRecord(record.path, case) for case in sweeps}


@pytest.mark.parametrize(("draw", "groups"), [("gram", 1), ("weights", 2)])
def test_members_share_programs_where_their_starts_are_drawn_alike(config_file, draw, groups):
    """The start is drawn by a program of its own: of weights it depends on the width."""
    config = small_config(config_file, "flow", **{"init.draw": draw})
    planned = paths.plan({"": Sweep.of("tiny", config, grid({"model.width": (8, 16)}))})
    assert len(planned.groups) == groups and not planned.refused


def test_a_member_is_the_run_of_its_config(swept):
    member = swept.sweep.members[4]
    experiment = dynamics.Experiment.from_config(swept.sweep.config_of(member))
    for law in swept.laws:
        alone = dynamics.solve(experiment, law)
        together = swept[law].sel(std=0.3, seed=1)
        assert str(together.id.values) == swept.members.id_of(member.id, law)
        assert str(together.status.values) == "done" and int(together.steps) == int(alone.steps)
        for probe in ("loss", "margin", "scores"):
            np.testing.assert_allclose(together[probe].values, alone.probes[probe], rtol=1e-12, atol=1e-14)
    assert_all_done_once(swept, 12)


INDEPENDENT = {
    "learning rate": ({"laws.gd.learning_rate": (0.025, 0.05)}, {"flow": (), "gd": ("learning_rate",), "sgd": ()}),
    "step": ({"step": (0.025, 0.05)}, {"flow": (), "gd": ("step",), "sgd": ("step",)}),
    "draw": ({"draw": (0, 1, 2)}, {"flow": (), "gd": (), "sgd": ("draw",)}),
    "step and draw": (
        {"step": (0.025, 0.05), "draw": (0, 1)},
        {"flow": (), "gd": ("step",), "sgd": ("step", "draw")},
    ),
}


@pytest.mark.parametrize(("axes", "dims"), INDEPENDENT.values(), ids=INDEPENDENT)
def test_what_does_not_depend_on_a_swept_key_is_integrated_once(config_file, tmp_path, axes, dims):
    config = small_config(config_file)
    config.laws.sgd = {"name": "sgd", "learning_rate": 0.05, "batch_size": 4}
    config.times.multiple_of = 0.05  # the saved times of all members
    _, records = run_cases(tmp_path / "sweep", config_file, case=Sweep.of("sweep", config, grid(axes)))
    record = records["case"]
    integrated = 0
    for law, expected in dims.items():
        data = record[law]
        assert data.loss.dims == (*expected, "t") and data.status.dims == expected
        assert set(np.ravel(data.status)) == {"done"} and bool(data.loss.notnull().all())
        integrated += data.status.size
    assert len(Ledger(record.path).lines()) == integrated and len(done(record)) == integrated


def test_members_with_seeds_of_their_own_lie_on_a_grid_of_widths_and_seeds(config_file, tmp_path):
    members = own_seeds(grid({"model.width": (16, 8)}, [{}] * 3))
    sweep = Sweep.of("own", small_config(config_file, "gd"), members)
    _, records = run_cases(tmp_path / "own", config_file, own=sweep)
    data = records["own"]["gd"]
    assert data.loss.dims == ("width", "seed", "t") and data.loss.shape[:2] == (2, 3)
    assert data.width.values.tolist() == [8, 16] and data.seed.values.tolist() == [0, 1, 2]
    for member in sweep.members:
        seed, width = member.overrides["seed"], member.overrides["model.width"]
        alone = dynamics.solve(dynamics.Experiment.from_config(sweep.config_of(member)), "gd")
        together = data.loss.sel(width=width, seed=seed % 3)
        np.testing.assert_allclose(together, alone.probes["loss"], rtol=1e-12, err_msg=f"{width} {seed}")


def test_cases_of_claims_share_groups_and_paths(config_file, tmp_path):
    """Three seeds each, of which they have one in common."""

    def case(first, **changes):
        return Case(lambda: small_config(config_file, "gd", **changes), seeds(3, first))

    module = types.ModuleType("claims")
    module.CASES = {"slow": case(0), "more": case(2), "other": case(0, words=5)}
    sweeps = sweeps_of(module)
    planned, records = run_cases(tmp_path / "claims", config_file, **sweeps)
    assert [len(group.paths) for group in planned.groups] == [5, 3]
    assert_all_done_once(records["slow"], 8)
    cases = collections.defaultdict(set)
    for name, record in records.items():
        for line in Ledger(record.path).lines():
            if line["id"] in record["gd"].id.values:
                cases[line["part"]].add(name)
    assert {"slow", "more"} in cases.values()  # integrated together by one call
    common = [records[name]["gd"].sel(seed=2) for name in ("slow", "more")]
    assert common[0].id.item() == common[1].id.item() and bool((common[0].loss == common[1].loss).all())


OWN_LAUNCHER = (
    CONFIG
    + """

import dataclasses

from dynamics.sweeps.launchers import LAUNCHERS, Launcher
from dynamics.sweeps.worker import work


class OneByOne(Launcher):
    used = []

    def check(self):
        pass

    def run(self, launch, report):
        for path, attempt in launch.attempts.items():
            self.used.append(path)
            work(dataclasses.replace(launch, attempts={path: attempt}), report)


LAUNCHERS["one-by-one"] = OneByOne
"""
)


def test_a_launcher_of_ones_own(swept, tmp_path, monkeypatch):
    monkeypatch.setitem(LAUNCHERS, "one-by-one", LAUNCHERS["here"])  # to be put back; the file has another one
    file = tmp_path / "tiny.py"
    file.write_text(OWN_LAUNCHER)
    assert dynamics.cli.main(command(file, tmp_path, "--launcher=one-by-one")) == 0
    record = dynamics.load(tmp_path / "tiny")
    assert_all_done_once(record, 12)
    assert sorted(LAUNCHERS["one-by-one"].used) == sorted(done(record)) and equal(values(record), values(swept))


NEIGHBOUR = """
import pathlib
from dynamics.files import module_of

TINY = module_of(pathlib.Path(__file__).with_name("tiny.py"))
get_config, get_sweep = TINY.get_config, TINY.get_sweep
"""


class Inside(JobLauncher):
    """Jobs that are executed when they are started, in this process."""

    def check(self):
        pass

    def start(self, launch, jobs):
        for job in jobs:
            job()

    def alive(self, handle):
        return False

    def cancel(self, handle):
        pass

    def interrupt(self, handle):
        pass


@pytest.fixture
def signals():
    """Jobs set handlers of signals."""
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_jobs_execute_a_config_that_reads_its_neighbour(swept, config_file, tmp_path, monkeypatch, signals):
    """From the copy of the file in the sweep folder, whose neighbours are those of the original."""
    monkeypatch.setitem(LAUNCHERS, "inside", Inside)
    file = config_file.with_name("neighbour.py")
    file.write_text(NEIGHBOUR)
    sweep = Sweep.of("neighbour", small_config(file, "gd"), [member.overrides for member in swept.sweep.members])
    _, records = run_cases(tmp_path / "neighbour", file, "inside", case=sweep)
    assert_all_done_once(records["case"], 6)
    np.testing.assert_array_equal(records["case"]["gd"].loss, swept["gd"].loss)


def test_the_table_and_the_store(swept):
    rows = swept.table()
    assert [row["seed"] for row in rows] == [0, 1, 2] * 2 and {row["state"] for row in rows} == {"done"}
    assert float(rows[0]["flow.classification_time"]) == float(swept["flow"].classification_time.sel(std=0.2, seed=0))
    assert (swept.path / "members.csv").read_text().count("\n") == 7
    assert swept["gd"].to_dataframe().index.nlevels == len(swept["gd"].sizes)
    assert list(swept["flow"].scores.dims) == ["std", "seed", "t", "key", "query"]
    with pytest.raises(KeyError, match="'adam' is not a law"):
        swept["adam"]


def test_a_sweep_says_what_it_is(swept):
    assert repr(swept).splitlines() == [
        f"SweepRecord of {swept.path}: 6 members, 6 done",
        "  flow: std 2 × seed 3; t = 0 to 10",
        "  gd: std 2 × seed 3; t = 0 to 10",
    ]


def test_the_same_command_again_runs_nothing(swept, config_file, capsys):
    before, lines = values(swept), Ledger(swept.path).lines()
    assert dynamics.cli.main(command(config_file, swept.path.parent)) == 0
    assert "6 of 6 members have ended" in capsys.readouterr().out
    assert Ledger(swept.path).lines() == lines and equal(before, values(dynamics.load(swept.path)))


@pytest.mark.slow
def test_new_values_keep_what_is_done(swept, config_file, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(CONFIG.replace('"init.std": (0.2, 0.3)', '"init.std": (0.2, 0.25, 0.3)'))
    assert dynamics.cli.main(command(config_file, tmp_path)) == 0
    before = dynamics.load(tmp_path / "tiny")
    kept = before["flow"].loss.load()
    assert dynamics.cli.main(command(file, tmp_path)) == 0
    after = dynamics.load(tmp_path / "tiny")
    assert after["flow"].sizes["std"] == 3
    assert_all_done_once(after, 18)
    np.testing.assert_array_equal(after["flow"].loss.sel(std=[0.2, 0.3]).values, kept.values)


@pytest.fixture(scope="module")
def failing(config_file, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("failing")
    assert dynamics.cli.main(command(config_file, workdir, variant="one_law")) == 1
    return dynamics.load(workdir / "tiny-one_law")


@pytest.mark.slow
def test_members_that_fail_stop_nobody(failing, capsys):
    assert dynamics.cli.main(["dynamics", "sweep", "status", str(failing.path)]) == 0
    printed = capsys.readouterr().out
    assert "7 members, 4 done, 2 failed, 1 diverged" in printed
    for reason in (
        "law: the loss stopped being finite at t =",
        "RuntimeError: no such update",
        "task.length = 2: must be",
    ):
        assert reason in printed
    data = failing["law"].stack(place=list(failing["law"].status.dims)).load()
    ended = data.where(data.status == "done", drop=True)
    assert ended.sizes["place"] == 4 and bool(ended.loss.notnull().all())
    diverged = data.where(data.status == "diverged", drop=True)
    assert diverged.sizes["place"] == 1 and bool(diverged.loss.isnull().all())


@pytest.mark.slow
def test_a_path_that_raises_in_a_batch_is_found(swept, config_file, tmp_path, monkeypatch):
    """Together they raise, so they are tried one by one: the others are done, and the reason is that of the one."""
    bad, integrate, sizes = swept.sweep.members[4], dynamics.sweeps.worker.integrated, []

    def raising(program, batch, *more):
        for path in batch:
            experiment = path.experiment
            if (path.law, experiment.seed, experiment.initialisation.std) == ("gd", 1, 0.3):
                sizes.append(len(batch))
                raise RuntimeError("out of memory")
        return integrate(program, batch, *more)

    with monkeypatch.context() as patched:
        patched.setattr(dynamics.sweeps.worker, "integrated", raising)
        assert dynamics.cli.main(command(config_file, tmp_path)) == 1
    record = dynamics.load(tmp_path / "tiny")
    (failed,) = [i for i, entry in record.entries.items() if entry.state != "done"]
    assert failed == bad.id and sizes[0] > 1 and sizes[1:] == [1]
    assert record.entries[failed].reason.startswith("gd: RuntimeError: out of memory (test_work.py, line ")
    assert len(done(record)) == 11 and record.members.id_of(bad.id, "gd") not in done(record)
    assert dynamics.cli.main(command(config_file, tmp_path)) == 0
    record = dynamics.load(tmp_path / "tiny")
    assert_all_done_once(record, 12)
    expected = values(swept)
    for name, one in values(record).items():
        if name[1] != "drift":
            np.testing.assert_allclose(one, expected[name], rtol=1e-9, atol=1e-12, err_msg=str(name))


@pytest.mark.slow
def test_failures_are_tried_again_and_divergence_on_request(failing, config_file):
    before = len(Ledger(failing.path).lines())
    for more, again in ((), 2), (("--retry-failed",), 3):
        assert dynamics.cli.main(command(config_file, failing.path.parent, *more, variant="one_law")) == 1
        lines = Ledger(failing.path).lines()
        assert len(lines) == before + again
        before = len(lines)


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "failures"), [("--fail-fast", 1), ("--max-failures=2", 2)])
def test_enough_failures_stop_a_sweep(config_file, tmp_path, flag, failures):
    assert dynamics.cli.main(command(config_file, tmp_path, flag, variant="one_law")) == 1
    states = [entry.state for entry in dynamics.load(tmp_path / "tiny-one_law").entries.values()]
    assert states.count("failed") + states.count("diverged") == failures and "waiting" in states


@pytest.mark.slow
def test_a_batch_goes_on_from_its_checkpoint(swept, config_file, tmp_path, monkeypatch):
    """Stopped after every segment in turn, the bits are those of a sweep that was not."""
    calls = collections.Counter()
    integrate = dynamics.runs.engine.Program.stretch

    def stopping(*inputs):
        calls["all"] += 1
        if calls["all"] % 2 == 0:
            raise KeyboardInterrupt
        return integrate(*inputs)

    monkeypatch.setattr(dynamics.runs.engine.Program, "stretch", stopping)
    launches = 1
    while (code := dynamics.cli.main(command(config_file, tmp_path, "--config.launch.checkpoint_s=0.0"))) != 0:
        assert code == 130
        assert any(entry.state == "interrupted" for entry in dynamics.load(tmp_path / "tiny").entries.values())
        launches += 1
        assert launches < 80
    record = dynamics.load(tmp_path / "tiny")
    assert launches > 3 and equal(values(record), values(swept))
    # Every launch integrates one segment, and no segment is integrated twice: the last launch has two.
    assert calls["all"] == 2 * launches - 1
    assert_all_done_once(record, 12)
    assert not list((record.path / "checkpoints").iterdir())


@pytest.mark.slow
def test_what_was_taken_over_meanwhile_is_not_committed(swept, config_file, tmp_path, monkeypatch):
    """As by another machine, to which this one seemed dead; that one leaves the path, and it is integrated again."""
    ledger, integrate = Ledger(tmp_path / "tiny"), dynamics.sweeps.worker.integrated
    taken = swept.members.id_of(swept.sweep.members[0].id, "gd")

    def overtaken(*inputs):
        trajectories = integrate(*inputs)
        with Worker(ledger) as other:
            other.claim(taken, 2)
        return trajectories

    monkeypatch.setattr(dynamics.sweeps.worker, "integrated", overtaken)
    assert dynamics.cli.main(command(config_file, tmp_path)) == 0
    record = dynamics.load(tmp_path / "tiny")
    assert [line["attempt"] for line in ledger.lines() if line["id"] == taken] == [3]
    assert_all_done_once(record, 12)
    assert equal(values(record), values(swept))


def test_a_sweep_that_goes_on_can_be_read(swept, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(swept.path, folder, symlinks=True)
    member = swept.sweep.members[0].id
    lost = swept.members.id_of(member, "flow")
    for path in (folder / "journal").iterdir():
        path.write_text("".join(line for line in path.open() if lost not in line))
    record = dynamics.load(folder)
    assert [i for i, entry in record.entries.items() if entry.state == "interrupted"] == [member]
    data = record["flow"]
    first = data.sel(std=0.2, seed=0)
    assert str(first.status.values) == "interrupted" and np.isnan(first.loss).all()
    rest = np.asarray(data.status.values) == "done"
    assert rest.sum() == 5
    np.testing.assert_array_equal(data.loss.values[rest], swept["flow"].loss.values[rest])
    np.testing.assert_array_equal(record["gd"].loss, swept["gd"].loss)


@pytest.fixture
def slowed(monkeypatch):
    """slowed(strategy): the strategies of all programs since then; by the test's clock, this one is slower."""
    Program = dynamics.runs.engine.Program
    now = [0.0]
    clock = types.SimpleNamespace(perf_counter=lambda: now[0], sleep=time.sleep)
    monkeypatch.setattr(dynamics.sweeps.worker, "time", clock)

    def slow(strategy):
        used = []

        def made(first, size, its=None):
            used.append(its)
            program = Program(first, size, its)
            stretch = program.stretch

            def timed(*inputs):
                now[0] += 100.0 if its == strategy else 1.0
                return stretch(*inputs)

            program.stretch = timed
            return program

        monkeypatch.setattr(paths, "Program", made)
        monkeypatch.setattr(dynamics.sweeps.worker, "Program", made)
        return used

    return slow


@pytest.mark.slow
@pytest.mark.parametrize(("slow", "fast"), [("sequential", "batched"), ("batched", "sequential")])
def test_the_faster_strategy_is_measured_where_none_is_known(config_file, tmp_path, monkeypatch, slowed, slow, fast):
    monkeypatch.setattr(dynamics.sweeps.worker, "MEASURED", {})
    used = slowed(slow)
    assert dynamics.cli.main(command(config_file, tmp_path)) == 0
    assert (tmp_path / "tiny" / "strategy").read_text() == fast
    assert used[:2] == ["sequential", "batched"] and set(used[2:]) == {fast}


@pytest.mark.slow
def test_a_strategy_is_kept(swept, tmp_path, monkeypatch, slowed):
    assert (swept.path / "strategy").read_text() == "sequential"  # which is known of this backend
    monkeypatch.setattr(dynamics.sweeps.worker, "MEASURED", {})
    file = tmp_path / "tiny.py"
    for slow, stds in (("sequential", "(0.2, 0.3)"), ("batched", "(0.2, 0.25, 0.3)")):
        file.write_text(CONFIG.replace("(0.2, 0.3)", stds))
        used = slowed(slow)
        assert dynamics.cli.main(command(file, tmp_path)) == 0
    assert (tmp_path / "tiny" / "strategy").read_text() == "batched" and set(used) == {"batched"}
    record = dynamics.load(tmp_path / "tiny")
    np.testing.assert_allclose(swept["gd"].loss, record["gd"].loss.sel(std=[0.2, 0.3]), rtol=1e-12)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--launcher=cloud"], "--launcher = 'cloud': must be one of here, local, slurm"),
        (["--config.launch.jobs=0"], "launch.jobs = 0: must be at least 1"),
        (["--max-failures=0"], "--max-failures = 0: must be at least 1"),
        (["--name=../x"], "must be one name of letters"),
        (["--config.model.neurons=0"], "no member can run; the first, {'init.std': 0.2, 'seed': 0}: model.neurons"),
        (["--config.figures=no.such"], "must be a module that can be imported"),
    ],
)
def test_mistakes_write_nothing(config_file, tmp_path, capsys, flags, message):
    assert dynamics.cli.main(command(config_file, tmp_path / "runs", *flags)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_a_bug_that_every_member_meets_keeps_its_traceback(tmp_path):
    file = tmp_path / "tiny.py"
    law = "def __post_init__(self):\n        raise ZeroDivisionError\n\n    def update"
    text = CONFIG.replace("def update", law).replace(
        '{"name": "gram_gd", "learning_rate": 0.05}', '{"name": "raising"}'
    )
    file.write_text(text.replace('"raising"}', '"raising", "learning_rate": 0.05}'))
    with pytest.raises(ZeroDivisionError):
        dynamics.cli.main(command(file, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_config_that_is_no_sweep(tmp_path, capsys):
    config = f"--config={ROOT}/configs/cooccurrence/theory.py:smoke"
    assert dynamics.cli.main(["dynamics", "sweep", config, f"--workdir={tmp_path}/runs"]) == 2
    error = capsys.readouterr().err
    assert "theory.py': must define get_sweep()" in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


BAD_SWEEPS = {
    "no list": ("    return None", "its get_sweep() must return a list of overrides, such as seeds(3)\n"),
    "no overrides": ("    return ['seed']", "its get_sweep() must return a list of overrides, such as seeds(3)\n"),
    "its own": ("    return grid({'seed': (1,)}, seeds(2))", "a key must be in one factor of a grid only\n"),
}


@pytest.mark.parametrize(("body", "message"), BAD_SWEEPS.values(), ids=BAD_SWEEPS)
def test_a_bad_get_sweep_is_one_line(tmp_path, capsys, body, message):
    file = tmp_path / "tiny.py"
    head = CONFIG[: CONFIG.index("def get_sweep")] + "def get_sweep(variant=None):\n"
    file.write_text(head + body + "\n")
    assert dynamics.cli.main(command(file, tmp_path / "runs")) == 2
    error = capsys.readouterr().err
    assert error.startswith("dynamics: ") and error.count("\n") == 1
    assert error.endswith(message)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_folder_of_something_else(swept, smoke, config_file, capsys):
    assert dynamics.cli.main(command(config_file, swept.path.parent, "--name=tiny", variant="more")) == 2
    assert "name = 'tiny': holds another sweep, 'tiny'" in capsys.readouterr().err
    assert dynamics.cli.main(command(config_file, smoke.path.parent, "--name=smoke")) == 2
    assert "and is not a sweep" in capsys.readouterr().err
    assert dynamics.cli.main(["dynamics", "sweep", "status", str(smoke.path)]) == 2
    assert "must be a sweep folder" in capsys.readouterr().err


def test_a_launcher_that_is_not_installed(config_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dynamics.cli.main(command(config_file, tmp_path / "runs", "--launcher=slurm")) == 2
    assert "--launcher = 'slurm': needs the commands sbatch and squeue" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_dry_run_writes_nothing(config_file, tmp_path, capsys):
    assert dynamics.cli.main(command(config_file, tmp_path / "runs", "--dry-run")) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["init.std", "0.2,", "0.3"] in rows and ["seed", "0,", "1,", "2"] in rows
    members, paths, programs, *estimates = rows[-1]
    assert (members, paths, programs) == ("6", "12", "2")
    assert float(estimates[0]) > 0 and float(estimates[2]) > 0 and estimates[1::2] == ["s", "MB"]
    assert not (tmp_path / "runs").exists()
