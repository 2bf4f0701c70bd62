"""The offline mirror holds what the record holds, and never ends a run."""

import json
import shutil
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import wandb
from conftest import small_config

import dynamics
from dynamics.runs.tracking import FEW, Shown, SweepTracker, Tracker


def inspected(file):
    """The records of an offline run, by wandb's own reader."""
    command = [shutil.which("wandb", path=str(sys.prefix) + "/bin"), "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def test_offline_file_read_back(smoke):
    (folder,) = (smoke.path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("run-*.wandb")
    records = inspected(file)
    text = json.dumps(records, ensure_ascii=False)
    assert "flow/loss_by_type/I1" in text and "gd/scores/μ2/μ1" in text and "sgd/margin" in text
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    losses = [row["flow/loss"] for row in rows if "flow/loss" in row]
    np.testing.assert_array_equal(losses, smoke["flow"].loss)
    pictures = {p.name.split("_")[0] for p in (folder / "files" / "media" / "images").rglob("*.png")}
    assert {"scores", "attention", "figure1a", "figure1b"} <= pictures


def test_failure_is_a_warning(tmp_path, monkeypatch):
    def refuse(**_):
        raise RuntimeError("no quota")

    monkeypatch.setattr(wandb, "init", refuse)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = dynamics.execute(small_config(**{"wandb.mode": "offline"}), tmp_path, "run")
    assert record.status["state"] == "done"
    assert [str(w.message) for w in caught if "no quota" in str(w.message)] == [
        "wandb stopped, the run goes on: RuntimeError: no quota"
    ]


def test_disabled_writes_nothing(tmp_path):
    record = dynamics.execute(small_config(**{"wandb.mode": "disabled"}), tmp_path, "run")
    assert record.status["state"] == "done" and not (record.path / "wandb").exists()


def test_labels_and_names_are_only_text(tmp_path, monkeypatch):
    """A word of a text may be anything, and a group as well: they are in the file as they are, and name no file."""
    monkeypatch.chdir(tmp_path)
    words, group = ["../up", "<script>alert(1)</script>", "$(touch x)", "a/b", "\x1b[31m"], "'; touch x; <b>{0}%n"
    folder = tmp_path / "adam β=0.9"
    folder.mkdir()
    tracker = Tracker({"mode": "offline", "project": "dynamics", "group": group}, folder, {"words": words})
    values = np.arange(1.0, 11.0).reshape(2, 5)
    tracker.trajectory("gd", Shown(np.array([0.0, 1.0]), {"p": (("t", "word"), values)}, {"word": words}, 5), [])
    tracker.finish({}, failed=False)
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    records = inspected(file)
    (run,) = (record["run"] for record in records if record["type"] == "run")
    assert (run["run_group"], run["display_name"]) == (group, folder.name)
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [[row[f"gd/p/{word}"] for word in words] for row in rows] == values.tolist()
    assert list(tmp_path.iterdir()) == [folder] and [path.name for path in folder.iterdir()] == ["wandb"]


@pytest.mark.parametrize("members", [2, FEW + 1])
def test_a_sweep_is_a_group(tmp_path, members):
    settings = {"mode": "offline", "project": "dynamics", "group": "", "each_member": None}
    tracker = SweepTracker(settings, tmp_path, "widths", members)
    t = np.array([0.0, 1.0])
    for width in range(members):
        laws = {"flow": Shown(t, {"loss": (("t",), t + width + 1)}, {}, 3)}
        tracker.member(
            f"width={width}",
            lambda w=width, laws=laws: ({"width": w}, laws, {"state": "done", "classification_time": 0.5}),
        )
    tracker.finish({}, [{"id": "a", "classification_time": 0.5}, {"id": "b", "loss": 2.0}])
    written = [inspected(file) for file in sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))]
    runs = [record["run"] for records in written for record in records if record["type"] == "run"]
    assert {run["run_group"] for run in runs} == {"widths"}
    assert len({run["display_name"] for run in runs}) == (2 if members == 2 else 1)
    if members == 2:
        rows = [record["history"]["item"] for record in written[0] if record["type"] == "history"]
        assert [row["flow/loss"] for row in rows] in ([1.0, 2.0], [2.0, 3.0])
    else:
        (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/members*.json")
        assert json.loads(table.read_text()) == {
            "columns": ["id", "classification_time", "loss"],
            "data": [["a", 0.5, None], ["b", None, 2.0]],
        }


def test_a_sweep_ends_though_its_mirror_has_not(tmp_path, monkeypatch):
    monkeypatch.setattr("dynamics.runs.tracking.LEAST_S", 0.2)
    released = threading.Event()
    monkeypatch.setattr(wandb, "init", lambda **_: released.wait(60))
    settings = {"mode": "offline", "project": "dynamics", "group": "", "each_member": True}
    tracker = SweepTracker(settings, tmp_path, "widths", 1)
    tracker.member("one", lambda: ({}, {}, {"state": "done"}))
    with pytest.warns(UserWarning, match="wandb was too slow and has 0 members"):
        tracker.finish({}, [])
    released.set()
