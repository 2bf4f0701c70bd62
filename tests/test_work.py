"""Sweeps that run: through the command line, with members that fail, and with processes that are killed."""

import collections

import dynamics.sweeps.groups
import numpy as np
import pytest
from conftest import ROOT
from dynamics.runs.programs import solve

import dynamics
import dynamics.cli
from dynamics.sweeps.ledger import Ledger, Worker
from dynamics.sweeps.sweep import Sweep
from dynamics.trajectory import joined

CONFIG = """
import dynamics
from dynamics.laws import GramGradientDescent
from dynamics.sweeps.sweep import chain, grid, seeds


class Raising(GramGradientDescent):
    def update(self, objective, gradient, params, memory):
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
    return ["dynamics", "sweep", config, f"--workdir={workdir}", *more]


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
    """How often every member was done."""
    lines = Ledger(record.path).lines()
    return collections.Counter(line["id"] for line in lines if line["state"] == "done")


def test_members_share_programs_where_their_starts_are_drawn_alike(config_file):
    """The start is drawn by a program of its own: of weights it depends on the width."""
    swept = dynamics.config.module_of(config_file)
    for draw, groups in (("gram", 1), ("weights", 2)):
        config = swept.get_config()
        config.init.draw = draw
        widths = [{"model.width": 8}, {"model.width": 16}]
        found, refused = dynamics.sweeps.groups.groups(Sweep.of("tiny", config, widths))
        assert len(found) == groups and not refused


def test_a_member_is_the_run_of_its_config(swept):
    member = swept.sweep.members[4]
    found = dynamics.Experiment.from_config(swept.sweep.config_of(member))
    for law in swept.laws:
        alone = joined([part for part, _ in solve(found, law)])
        together = swept[law].sel(std=0.3, seed=1)
        assert str(together.id.values) == member.id and str(together.status.values) == "done"
        assert int(together.steps) == int(alone.steps)
        for probe in ("loss", "margin", "scores"):
            np.testing.assert_allclose(together[probe].values, alone.probes[probe], rtol=1e-12, atol=1e-14)
    assert set(done(swept).values()) == {1} and len(done(swept)) == 6


def test_the_table_and_the_store(swept):
    rows = swept.table()
    assert [row["seed"] for row in rows] == ["0", "1", "2"] * 2 and {row["state"] for row in rows} == {"done"}
    assert float(rows[0]["flow.classification_time"]) == float(swept["flow"].classification_time.sel(std=0.2, seed=0))
    assert (swept.path / "members.csv").read_text().count("\n") == 7
    assert swept["gd"].to_dataframe().index.nlevels == len(swept["gd"].sizes)
    assert list(swept["flow"].scores.dims) == ["std", "seed", "t", "key", "query"]
    with pytest.raises(KeyError, match="'adam' is not a law"):
        swept["adam"]


def test_the_same_command_again_runs_nothing(swept, config_file, capsys):
    before = values(swept)
    assert dynamics.cli.main(command(config_file, swept.path.parent)) == 0
    assert "6 of 6 members have ended" in capsys.readouterr().out
    assert set(done(swept).values()) == {1} and equal(before, values(dynamics.load(swept.path)))


@pytest.mark.slow
def test_new_values_keep_what_is_done(swept, config_file, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(CONFIG.replace('"init.std": (0.2, 0.3)', '"init.std": (0.2, 0.25, 0.3)'))
    assert dynamics.cli.main(command(config_file, tmp_path)) == 0
    before = dynamics.load(tmp_path / "tiny")
    kept = before["flow"].loss.load()
    assert dynamics.cli.main(command(file, tmp_path)) == 0
    after = dynamics.load(tmp_path / "tiny")
    assert after["flow"].sizes["std"] == 3 and set(done(after).values()) == {1} and len(done(after)) == 9
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
    assert np.isnan(data.where(data.status == "diverged", drop=True).loss).all()


@pytest.mark.slow
def test_a_member_that_raises_in_a_batch_is_found(swept, config_file, tmp_path, monkeypatch):
    """Together they raise, so they are tried one by one: the others are done, and the reason is that of the one."""
    bad = np.asarray(
        dynamics.Experiment.from_config(swept.sweep.config_of(swept.sweep.members[3])).start_of("gd")[0]["A"]
    )
    integrate, calls = dynamics.sweeps.groups.Program.__call__, []

    def raising(program, cohort):
        calls.append(int(cohort.wanted.sum()))
        if any(np.allclose(bad, start) for start in cohort.starts["A"][cohort.member[cohort.wanted]]):
            raise RuntimeError("out of memory")
        return integrate(program, cohort)

    with monkeypatch.context() as patched:
        patched.setattr(dynamics.sweeps.groups.Program, "__call__", raising)
        assert dynamics.cli.main(command(config_file, tmp_path)) == 1
    record = dynamics.load(tmp_path / "tiny")
    (failed,) = [i for i, entry in record.entries.items() if entry.state != "done"]
    assert failed == swept.sweep.members[3].id and max(calls) > 1
    assert record.entries[failed].reason == "RuntimeError: out of memory"
    assert dynamics.cli.main(command(config_file, tmp_path)) == 0
    record = dynamics.load(tmp_path / "tiny")
    assert set(done(record).values()) == {1} and len(done(record)) == 6
    found, expected = values(record), values(swept)
    for name in found.keys() - {("flow", "drift"), ("gd", "drift")}:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=str(name))


@pytest.mark.slow
def test_failures_are_tried_again_and_divergence_on_request(failing, config_file):
    before = len(Ledger(failing.path).lines())
    for more, again in ((), 2), (("--retry-failed",), 3):
        assert dynamics.cli.main(command(config_file, failing.path.parent, *more, variant="one_law")) == 1
        lines = Ledger(failing.path).lines()
        assert len(lines) == before + again
        before = len(lines)


@pytest.mark.slow
def test_enough_failures_stop_a_sweep(config_file, tmp_path):
    assert dynamics.cli.main(command(config_file, tmp_path, "--fail-fast", variant="one_law")) == 1
    states = [entry.state for entry in dynamics.load(tmp_path / "tiny-one_law").entries.values()]
    assert states.count("failed") + states.count("diverged") == 1 and "waiting" in states


@pytest.mark.slow
def test_a_batch_goes_on_from_its_checkpoint(swept, config_file, tmp_path, monkeypatch):
    """Stopped after every segment in turn, the bits are those of a sweep that was not."""
    calls = collections.Counter()
    integrate = dynamics.sweeps.groups.Program.__call__

    def stopping(program, cohort):
        calls["all"] += 1
        if calls["all"] % 2 == 0:
            raise KeyboardInterrupt
        return integrate(program, cohort)

    monkeypatch.setattr(dynamics.sweeps.groups.Program, "__call__", stopping)
    launches = 1
    while dynamics.cli.main(command(config_file, tmp_path, "--config.launch.checkpoint_s=0.0")) != 0:
        assert any(entry.state == "interrupted" for entry in dynamics.load(tmp_path / "tiny").entries.values())
        launches += 1
        assert launches < 40
    record = dynamics.load(tmp_path / "tiny")
    assert launches > 3 and equal(values(record), values(swept))
    assert set(done(record).values()) == {1} and not list((record.path / "checkpoints").iterdir())


@pytest.mark.slow
def test_what_was_taken_over_meanwhile_is_not_committed(swept, config_file, tmp_path, monkeypatch):
    """As by another machine, to which this one seemed dead; that one leaves the member, and it is run once more."""
    ledger, taken, integrate = Ledger(tmp_path / "tiny"), swept.sweep.members[0].id, dynamics.sweeps.worker.integrated

    def overtaken(*inputs):
        rows = integrate(*inputs)
        with Worker(ledger) as other:
            other.claim(taken, 2)
        return rows

    monkeypatch.setattr(dynamics.sweeps.worker, "integrated", overtaken)
    assert dynamics.cli.main(command(config_file, tmp_path)) == 0
    record = dynamics.load(tmp_path / "tiny")
    assert [line["attempt"] for line in ledger.lines() if line["id"] == taken] == [3]
    assert set(done(record).values()) == {1} and len(done(record)) == 6 and equal(values(record), values(swept))


def test_a_sweep_that_goes_on_can_be_read(swept, tmp_path):
    import shutil

    folder = tmp_path / "tiny"
    shutil.copytree(swept.path, folder, symlinks=True)
    lost = swept.sweep.members[0].id
    for path in (folder / "journal").iterdir():
        path.write_text("".join(line for line in path.open() if lost not in line))
    record = dynamics.load(folder)
    data = record["flow"]
    first = data.sel(std=0.2, seed=0)
    assert str(first.status.values) == "interrupted" and np.isnan(first.loss).all()
    rest = np.asarray(data.status.values) == "done"
    np.testing.assert_array_equal(data.loss.values[rest], swept["flow"].loss.values[rest])


@pytest.mark.slow
def test_a_strategy_is_measured_where_none_is_known_and_kept(config_file, tmp_path, monkeypatch):
    assert dynamics.cli.main(command(config_file, tmp_path, "--name=known")) == 0
    assert (tmp_path / "known" / "strategy").read_text() == "sequential"
    monkeypatch.setattr(dynamics.sweeps.worker, "MEASURED", {})
    monkeypatch.setattr(dynamics.sweeps.worker, "_faster", lambda group: "batched")
    Program, used = dynamics.sweeps.groups.Program, set()
    monkeypatch.setattr(dynamics.sweeps.groups, "Program", lambda *inputs: used.add(inputs[-1]) or Program(*inputs))
    file = tmp_path / "measured.py"
    for more in ("(0.2, 0.3)", "(0.2, 0.25, 0.3)"):
        file.write_text(CONFIG.replace("(0.2, 0.3)", more))
        assert dynamics.cli.main(command(file, tmp_path)) == 0
        monkeypatch.setattr(dynamics.sweeps.worker, "_faster", lambda group: "sequential")
    assert (tmp_path / "measured" / "strategy").read_text() == "batched" and used == {"batched"}
    one, other = dynamics.load(tmp_path / "known"), dynamics.load(tmp_path / "measured")
    np.testing.assert_allclose(one["gd"].loss, other["gd"].loss.sel(std=[0.2, 0.3]), rtol=1e-12)
    # The measurement itself.
    config = dynamics.config.module_of(config_file)
    found, _ = dynamics.sweeps.groups.groups(Sweep.of("tiny", config.get_config(), config.get_sweep()))
    monkeypatch.undo()
    assert dynamics.sweeps.worker._faster(found[0]) in ("sequential", "batched")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--launcher=cloud"], "--launcher = 'cloud': must be one of here, local, slurm"),
        (["--config.launch.jobs=0"], "launch.jobs = 0: must be at least 1"),
        (["--max-failures=0"], "max-failures"),
        (["--name=../x"], "must be one folder name"),
        (["--config.model.neurons=0"], "no member can run; the first, {'init.std': 0.2, 'seed': 0}: model.neurons"),
        (["--config.figures=no.such"], "must be a module that can be imported"),
    ],
)
def test_mistakes_write_nothing(config_file, tmp_path, capsys, flags, message):
    assert dynamics.cli.main(command(config_file, tmp_path / "runs", *flags)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_a_config_without_a_sweep(tmp_path, capsys):
    config = f"--config={ROOT}/configs/cooccurrence/theory.py:smoke"
    assert dynamics.cli.main(["dynamics", "sweep", config, f"--workdir={tmp_path}/runs"]) == 2
    assert "needs a function get_sweep" in capsys.readouterr().err and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_folder_of_something_else(swept, smoke, config_file, capsys):
    assert dynamics.cli.main(command(config_file, swept.path.parent, "--name=tiny", variant="more")) == 2
    assert "holds the sweep 'tiny', not 'tiny-more'" in capsys.readouterr().err
    assert dynamics.cli.main(command(config_file, smoke.path.parent, "--name=smoke")) == 2
    assert "and is no sweep" in capsys.readouterr().err
    assert dynamics.cli.main(["dynamics", "sweep", "status", str(smoke.path)]) == 2


def test_a_launcher_that_is_not_installed(config_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dynamics.cli.main(command(config_file, tmp_path / "runs", "--launcher=slurm")) == 2
    assert "needs" in capsys.readouterr().err and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_dry_run_writes_nothing(config_file, tmp_path, capsys):
    assert dynamics.cli.main(command(config_file, tmp_path / "runs", "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "members" in printed and "6" in printed and "init.std" in printed and not (tmp_path / "runs").exists()
