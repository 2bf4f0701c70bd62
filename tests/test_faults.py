"""Faults are survived, or said in one line; the full form is python -m experiments.reliability.faults."""

import warnings

import numpy as np
import pytest

from dynamics.config import ConfigError
from dynamics.files import read_json
from dynamics.runs.storage import read_rows, write_group, write_rows
from dynamics.sweeps.ledger import Ledger
from experiments.reliability import acts, faults


@pytest.mark.parametrize("fault", [faults.lost_device, faults.wandb_absent, faults.wandb_broken, faults.full_disk])
def test_a_run_survives(fault):
    result = faults.tried(fault, "run")
    assert result.survived, result


@pytest.mark.slow
def test_damaged_files_of_a_run(tmp_path):
    results = faults.damaged("run", tmp_path, flips=5, every=5)
    assert all(result.survived for result in results), [result for result in results if not result.survived]
    assert {"named", "checksum", "the same numbers"} >= {result.seen for result in results}


def test_a_flipped_bit_of_an_array_is_no_other_number(tmp_path):
    import zarr

    write_group(tmp_path / "group", {"x": (("t",), np.arange(40.0))}, {}, {})
    (chunk,) = (path for path in (tmp_path / "group" / "x").rglob("*") if path.is_file() and path.suffix != ".json")
    raw = chunk.read_bytes()
    for place in range(0, len(raw), 7):
        chunk.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(ValueError, match="checksum"):
            zarr.open_group(tmp_path / "group", mode="r")["x"][:]


def test_damaged_rows_and_json_are_named(tmp_path):
    write_rows(tmp_path / "rows.npz", {"t": np.arange(100.0)})
    raw = (tmp_path / "rows.npz").read_bytes()
    for damaged in (raw[:50], raw[:300] + bytes([raw[300] ^ 1]) + raw[301:], b""):
        (tmp_path / "rows.npz").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"rows\.npz is damaged"):
            read_rows(tmp_path / "rows.npz")
    for damaged in (b'{"a": 1', b"\xff\xfe", b""):
        (tmp_path / "x.json").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"x\.json is damaged"):
            read_json(tmp_path / "x.json")


def test_a_damaged_line_of_a_journal_is_left_out_with_a_warning(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.create()
    good = b'{"id": "a", "attempt": 1, "state": "done"}\n'
    for damaged in (b'{"id": "b", "att\n', b"\x00\x00\xff\n", b"3\n", b'{"id": "b"}\n'):
        (ledger.journal / "one.jsonl").write_bytes(damaged + good + b'{"id": "cut')
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert [line["id"] for line in ledger.lines()] == ["a"]
        assert len(caught) == 1 and "line 1 of" in str(caught[0].message)


def test_what_is_not_told_in_one_line_is_seen():
    """The harness itself: an error that is not caught, and numbers that differ."""
    good = {"x": np.arange(3.0)}
    assert acts.same(good, {"x": np.arange(3.0)}) and not acts.same(good, {"x": np.arange(3.0) + 1e-15})
    assert not acts.same(good, {})
    assert not acts.Said(1, [], "", "ValueError at x.py:3").in_one_line
    assert not acts.Said(1, ["dynamics: a", "dynamics: b"], "", "").in_one_line
