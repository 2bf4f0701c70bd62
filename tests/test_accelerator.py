"""The benchmark of batches on one kind of device, where there is only a processor."""

import json

import pytest

from dynamics.config import ConfigError
from experiments.speed import accelerator


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, [1]), (4, [1, 4]), (10, [1, 4, 10]), (16384, [4**i for i in range(8)])]
)
def test_batches(largest, sizes):
    assert accelerator.batches(largest) == sizes


def test_no_batch_is_empty():
    with pytest.raises(ConfigError, match="largest = 0: must be at least 1"):
        accelerator.batches(0)


def test_where_there_is_no_such_device_the_table_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert accelerator.main(["--device=tpu"]) == 2
    said = capsys.readouterr()
    assert "not measured" in said.out and not list(tmp_path.iterdir())
    assert said.err.count("\n") == 1 and "device = 'tpu': there is none here" in said.err


@pytest.mark.parametrize("dtype", accelerator.DTYPES)
def test_the_work_of_a_batch_is_that_of_its_members(dtype):
    (path,) = accelerator.members("flow in Gram variables", dtype, 1)
    (operations, moved), (of_three, moved_by_three) = (accelerator.evaluation(path, size) for size in (1, 3))
    assert of_three == pytest.approx(3 * operations, rel=1e-3)
    # Four to six products of d × d matrices, d = 64; the state of 3 d² numbers is read, and its velocity written.
    assert 4 <= operations / (2 * 64**3) <= 6.5
    assert moved >= 2 * 3 * 64**2 * int(dtype[-2:]) / 8 and moved_by_three >= 2.5 * moved


@pytest.mark.slow
def test_batches_on_a_processor(tmp_path, monkeypatch, capsys):
    laws = {"flow in Gram variables": 1.0, "GD in weights": 0.5}
    monkeypatch.setattr(accelerator, "PROBLEMS", {name: (accelerator.PROBLEMS[name][0], t) for name, t in laws.items()})
    monkeypatch.setattr(accelerator, "DTYPES", ("float32",))
    monkeypatch.setattr(accelerator, "SIZES", {"cpu": (128, 2**12)})
    file = tmp_path / "record.json"
    assert accelerator.main(["--device=cpu", "--largest=3", f"--record={file}"]) == 0
    record = json.loads(file.read_text())
    assert record["device"] == "cpu" and record["matmul_precision"] == "highest"
    assert [(row["problem"], row["dtype"], row["members"]) for row in record["rows"]] == [
        (problem, dtype, size) for problem in laws for dtype in accelerator.DTYPES for size in (1, 3)
    ]
    for row in record["rows"]:
        assert row["members_per_second"] == pytest.approx(row["members"] / sorted(row["seconds"])[1])
        assert row["share_of_products"] > 0 and row["share_of_memory"] > 0 and row["against_sequential"] > 0
        if row["problem"] == "GD in weights":  # 50 steps of every member
            (path,) = accelerator.members(row["problem"], row["dtype"], 1)
            counted = 50 * row["members"] * accelerator.evaluation(path, 1)[0]
            rate = record["rates"][row["dtype"]]["operations"] * record["devices"]
            assert row["share_of_products"] * rate * sorted(row["seconds"])[1] == pytest.approx(counted, rel=1e-3)
    table = capsys.readouterr().out
    assert "product of matrices, float32" in table and "3 at once" in table and str(file) in table
