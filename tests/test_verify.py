"""`dynamics verify` finds damaged bytes and wrong numbers, in runs and in sweeps."""

import contextlib
import itertools
import json
import pathlib
import random
import shutil

import numpy as np
import pytest
import zarr
from conftest import small_config

import dynamics
import dynamics.cli
from dynamics.runs import manifest, replay, verify
from dynamics.runs.recorder import Recorder
from dynamics.runs.storage import read_rows, write_json, write_rows
from dynamics.sweeps import verify as verify_sweeps
from experiments.reliability.flips import KINDS, trial, trials

CONFIG = """
import dynamics

def get_config():
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}
    config.laws = {"gd": {"name": "gd", "learning_rate": 0.05}, "adam": {"name": "adam", "learning_rate": 0.05}}
    config.times.update(start=0.05, stop=1.0, count=4)
    config.update(checkpoints=2, probes=("loss", "scores"))
    config.wandb.mode = "disabled"
    return config

def get_sweep():
    return dynamics.grid({"seed": (0, 1), "laws.gd.learning_rate": (0.05, 0.025)})
"""


@pytest.fixture
def run(smoke, tmp_path):
    return shutil.copytree(smoke.path, tmp_path / "run")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a finished sweep."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "small.py").write_text(CONFIG)
    place = [f"--config={folder}/small.py", f"--workdir={folder}", "--no-report"]
    assert dynamics.cli.main(["dynamics", "sweep", *place]) == 0
    return folder / "small"


@pytest.fixture
def sweep(swept, tmp_path):
    return shutil.copytree(swept, tmp_path / "sweep", symlinks=True)


def verified(folder, capsys):
    capsys.readouterr()
    code = dynamics.cli.main(["dynamics", "verify", str(folder)])
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"{folder}: " + (f"{len(lines)} found damaged" if code else "what was recorded")
    return code, lines


def listed_again(folder, path):
    """A forged record: the manifest has the content that is there now."""
    manifest.Manifest(folder).add(path)


def every_stretch(monkeypatch, folder):
    monkeypatch.setattr(verify, "STRETCHES", 100)
    return verify.integrate_again(dynamics.load(folder), random.Random(0))


def test_a_run_is_what_was_recorded(run, capsys, monkeypatch):
    code, lines = verified(run, capsys)
    assert code == 0 and len(lines) == verify.STRETCHES
    found = every_stretch(monkeypatch, run)
    assert not found.damaged and len(found.notes) == 6  # two stretches of each of three laws
    monkeypatch.setattr(replay, "NEEDED", ())  # the commit of a checkout with changes is not known
    monkeypatch.setattr(replay, "provenance", lambda *_: {"commit": "unchanged"})
    found = every_stretch(monkeypatch, run)
    assert [line.partition(": ")[2] for line in found.notes] == ["integrated again, the same bits"] * 6


def test_damaged_bytes_are_named_and_nothing_is_integrated(run, capsys, monkeypatch):
    monkeypatch.setattr(verify, "Replay", None)
    file = next(path for path in (run / "checkpoints" / "gd" / "0.0").rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes() + b"x")
    (run / "config.json").unlink()
    code, lines = verified(run, capsys)
    assert code == 1 and lines[1] == "config.json: is missing"
    assert lines[0].startswith(f"{file.relative_to(run)}: has ")


def scaled(path, name, factor, row):
    """Multiply one row of an array of a zarr group."""
    group = zarr.open_group(path, mode="r+")
    values = group[name][:]
    values[row] = values[row] * factor
    group[name][:] = values


def test_what_is_no_record_is_refused(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert dynamics.cli.main(["dynamics", "verify", str(tmp_path / "empty")]) == 2
    assert "must be the folder of a run or of a sweep" in capsys.readouterr().err
    (run / manifest.NAME).unlink()
    assert verified(run, capsys) == (1, [f"{manifest.NAME}: is missing"])


def test_wrong_numbers_are_found(run, monkeypatch):
    """A value that was not computed, under a manifest that fits it; elsewhere there is a tolerance."""
    scaled(run / "trajectory.zarr" / "gd", "loss", 1 + 1e-9, 15)
    listed_again(run, "trajectory.zarr/gd")
    assert not verify.check_run(run).damaged
    same = {**json.loads((run / "provenance.json").read_text()), "commit": "unchanged"}
    monkeypatch.setattr(replay, "provenance", lambda *_: same)
    write_json(run / "provenance.json", same)
    (line,) = every_stretch(monkeypatch, run).damaged
    assert line.startswith("gd, t = 0.37 to 20: loss differs from what is integrated again by ")
    assert line.endswith("it must be the same bits")
    same = {**same, "device": "another"}
    found = every_stretch(monkeypatch, run)
    assert not found.damaged
    assert any(
        "differs by" in line and "1e-06 is allowed, since it has changed: device" in line for line in found.notes
    )
    scaled(run / "trajectory.zarr" / "gd", "loss", 1 + 1e-3, 15)
    assert len(every_stretch(monkeypatch, run).damaged) == 1


def test_a_wrong_checkpoint_is_found(run, smoke, monkeypatch):
    """The checkpoint at the end of another law."""
    shutil.rmtree(run / "checkpoints" / "gd" / "20.0")
    shutil.copytree(run / "checkpoints" / "sgd" / "20.0", run / "checkpoints" / "gd" / "20.0")
    listed_again(run, "checkpoints/gd/20.0")
    (line,) = every_stretch(monkeypatch, run).damaged
    assert "gd, t = 0.37 to 20: checkpoint/params/W" in line


def test_changed_code_of_a_user_is_said(run, monkeypatch):
    content = json.loads((run / "provenance.json").read_text())
    write_json(run / "provenance.json", {**content, "code": {"mine": "0" * 12}})
    found = every_stretch(monkeypatch, run)
    assert not found.damaged and all("the code of mine" in line for line in found.notes if "differs" in line)
    agreement = replay.Agreement.of(dynamics.load(run).provenance, dynamics.load(run).config.to_dict())
    assert "the code of mine" in agreement.differs


def test_a_run_that_was_killed_has_notes(tmp_path):
    recorder = Recorder.new(tmp_path, "run", small_config(), {})
    recorder.group("data", {"x": (("i",), np.arange(3))}, {}, {})
    recorder.close()
    (tmp_path / "run" / ".flow.partial").mkdir()
    (tmp_path / "run" / ".flow.partial" / "zarr.json").write_text("{}")
    assert verify.check_run(tmp_path / "run") == (
        [],
        [
            ".flow.partial/zarr.json: is left of a write that was cut off",
            "status.json: was being written when the process ended",
        ],
    )


def test_a_kill_around_a_last_status_is_no_damage(tmp_path):
    """A status is announced in the manifest, and then replaced: what is there is the old one or the new one."""
    run = tmp_path / "run"
    recorder = Recorder.new(tmp_path, "run", small_config(), {})
    recorder.close()
    file, note = run / "status.json", "status.json: its process ended before it was replaced"
    for seconds in (1.0, 2.0):
        before = file.read_bytes()
        recorder.status(state="done", reason="", laws={}, seconds=seconds)
        after = file.read_bytes()
        assert verify.check_run(run) == ([], [])
        file.write_bytes(before)
        assert verify.check_run(run) == ([], [note])
        file.write_bytes(after.replace(b"done", b"dine"))
        assert verify.check_run(run).damaged == ["status.json: was changed"]
        file.write_bytes(after)
    lines = (run / manifest.NAME).read_bytes().splitlines(keepends=True)
    (run / manifest.NAME).write_bytes(b"".join(lines[:-1]))
    assert verify.check_run(run).damaged == ["status.json: was changed"]


def test_tolerances():
    one = np.array([1.0, 2.0, np.nan])
    assert replay.difference(one, one.copy()) == 0
    assert replay.difference(one, np.array([1.0, 2.0, 0.0])) == np.inf
    assert replay.difference(one, one[:2]) == np.inf
    assert replay.difference(one, np.array([1.0, 2.5, np.nan])) == 0.25
    assert replay.difference(np.array([0.0, 1.0]), np.array([-0.0, 1.0])) > 0
    flow = dynamics.LAWS["flow"](rtol=1e-3)
    assert replay.Agreement(("device",), "float64").tolerance(flow) == 100 * 1e-3
    assert replay.Agreement(("device",), "float32").tolerance(dynamics.LAWS["gd"](0.1)) == 1e-2
    assert replay.Agreement((), "float64").tolerance(flow) == 0


def test_a_sweep_is_what_was_recorded(sweep, capsys, monkeypatch):
    code, lines = verified(sweep, capsys)
    assert code == 0 and len(lines) == verify.STRETCHES
    monkeypatch.setattr(verify, "STRETCHES", 100)
    found = verify_sweeps.integrate_again(dynamics.load(sweep), random.Random(0))
    # Two seeds of adam, and of gd at two steps each.
    assert not found.damaged and len(found.notes) == 6
    assert all(line.endswith("integrated again, the same bits") for line in found.notes)


def test_a_copy_of_a_sweep_has_the_times_of_the_copy(sweep):
    """The last line of the manifest is missed there, too."""
    (sweep / "sweep.json").touch()
    lines = (sweep / manifest.NAME).read_bytes().splitlines(keepends=True)
    (sweep / manifest.NAME).write_bytes(b"".join(lines[:-1]))
    assert verify_sweeps.check_sweep(sweep).damaged


class Killed(BaseException):
    """In place of SIGKILL."""


@pytest.mark.parametrize("place", range(11))
def test_results_that_were_being_written_at_a_kill_are_written_by_the_next_launch(sweep, swept, monkeypatch, place):
    """Whatever it was about to do: to add to the manifest, to give a name, to remove what has another one."""
    attributes = json.loads((sweep / "results.zarr" / "zarr.json").read_text())
    attributes["attributes"]["signature"] = "of fewer paths"
    write_json(sweep / "results.zarr" / "zarr.json", attributes)
    (sweep / "members.csv").write_text("")
    calls = itertools.count()

    def until_killed(function):
        def called(*inputs, **options):
            if next(calls) >= place:
                raise Killed
            return function(*inputs, **options)

        return called

    with monkeypatch.context() as patched:
        for owner, name in ((manifest.Manifest, "_append"), (pathlib.Path, "rename"), (shutil, "rmtree")):
            patched.setattr(owner, name, until_killed(getattr(owner, name)))
        with contextlib.suppress(Killed):
            dynamics.load(sweep).consolidate()
    assert next(calls) > place
    dynamics.load(sweep).consolidate()
    assert dynamics.load(sweep).is_current()
    assert (sweep / "members.csv").read_bytes() == (swept / "members.csv").read_bytes()
    assert not verify_sweeps.check_sweep(sweep).damaged


def test_parts_journals_claims_and_results_of_a_sweep_are_covered(sweep):
    for pattern in ("parts/*", "journal/*", "claims/*", "results.zarr/gd/loss/zarr.json", "members.csv", "strategy"):
        path = next(sweep.glob(pattern))
        kept = path.rename(path.with_name(".kept"))
        damaged = verify_sweeps.check_sweep(sweep).damaged
        assert f"{path.relative_to(sweep)}: is missing" in damaged
        kept.rename(path)
    assert not verify_sweeps.check_sweep(sweep).damaged


def test_a_journal_and_its_rows_that_are_exchanged_are_both_named(sweep):
    """Rows that no journal speaks of are no damage, but for those that a damaged journal may have spoken of."""
    (sweep / "parts" / "more.npz").write_bytes(b"rows")
    found = verify_sweeps.check_sweep(sweep)
    assert not found.damaged and found.notes[0].startswith("parts/more.npz: ")
    (sweep / "parts" / "more.npz").unlink()
    (journal,), (part, *_) = (sweep / "journal").iterdir(), sorted((sweep / "parts").iterdir())
    contents = journal.read_bytes(), part.read_bytes()
    journal.write_bytes(contents[1])
    part.write_bytes(contents[0])
    damaged = verify_sweeps.check_sweep(sweep).damaged
    for path in (journal, part):
        assert any(line.startswith(f"{path.relative_to(sweep)}: ") for line in damaged)


def test_wrong_rows_of_a_sweep_are_found(sweep, monkeypatch):
    """A loss that was not computed, under a journal and a manifest that fit it."""
    part = next((sweep / "parts").iterdir())
    rows = read_rows(part)
    rows["probes/loss"][0, -1] *= 1 + 1e-9
    write_rows(part, rows)
    for journal in (sweep / "journal").iterdir():
        lines, damaged, _ = manifest.read_chained(journal, "")
        assert not damaged
        now = manifest.hashes(sweep, f"parts/{part.name}")
        lines = [{**line, "files": now} if line["part"] == part.name else line for line in lines]
        journal.write_bytes(manifest.chained(lines, "")[0])
    listed_again(sweep, "journal")
    assert not verify_sweeps.check_sweep(sweep).damaged
    monkeypatch.setattr(verify, "STRETCHES", 100)
    (line,) = verify_sweeps.integrate_again(dynamics.load(sweep), random.Random(0)).damaged
    assert "probes/loss differs from what is integrated again" in line


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage_is_found(smoke, swept, kind):
    chance = random.Random(KINDS.index(kind))
    for folder, check in ((smoke.path, verify.check_run), (swept, verify_sweeps.check_sweep)):
        for _ in range(4):
            what, found = trial(folder, check, kind, chance)
            assert found, what
    assert trials(swept, verify_sweeps.check_sweep, 3, chance)[1] == []


def test_a_record_of_another_format_is_refused(run, sweep, capsys):
    for folder in (run, sweep):
        content = json.loads((folder / "provenance.json").read_text())
        write_json(folder / "provenance.json", {**content, "format": 99})
        for command in (["show"], ["figures"], *([["sweep", "status"]] if folder is sweep else [])):
            assert dynamics.cli.main(["dynamics", *command, str(folder)]) == 2
            line = f"has format 99; this version reads format {manifest.FORMAT}\n"
            assert capsys.readouterr().err.endswith(line)
