"""The offline mirror holds what the record holds, and never ends a run."""

import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import wandb
from conftest import small_config

import dynamics


def test_offline_file_read_back(smoke):
    (folder,) = (smoke.path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("run-*.wandb")
    command = [shutil.which("wandb", path=str(sys.prefix) + "/bin"), "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in output.splitlines()]
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


@pytest.mark.parametrize("mode", ["disabled"])
def test_disabled_writes_nothing(tmp_path, mode):
    record = dynamics.execute(small_config(**{"wandb.mode": mode}), tmp_path, "run")
    assert not (record.path / "wandb").exists()
