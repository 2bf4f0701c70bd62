"""The manifest names every byte of a record that is not what was written."""

import json

import pytest

from dynamics.runs.manifest import FORMAT, NAME, Manifest, check_files, check_format, read_chained


@pytest.fixture
def record(tmp_path):
    """Two files, and a folder of two that is written as a whole."""
    manifest = Manifest(tmp_path)
    for name in ("a.json", "b.json"):
        with manifest.writing(name):
            (tmp_path / name).write_text(f"content of {name}")
    with manifest.writing("group"):
        (tmp_path / "group" / "inner").mkdir(parents=True)
        (tmp_path / "group" / "zarr.json").write_text("{}")
        (tmp_path / "group" / "inner" / "0").write_bytes(bytes(range(100)))
    assert check_files(tmp_path, ended=True) == ([], [])
    return tmp_path


def damaged(folder):
    return check_files(folder, ended=True).damaged


def test_any_flipped_bit_is_found_and_its_file_is_named(record):
    files = [path for path in record.rglob("*") if path.is_file()]
    for file in files:
        before = file.read_bytes()
        name = file.relative_to(record).as_posix()
        for byte in range(len(before)):
            file.write_bytes(before[:byte] + bytes([before[byte] ^ 1 << byte % 8]) + before[byte + 1 :])
            assert any(line.startswith(f"{name}: ") for line in damaged(record)), (file, byte)
        file.write_bytes(before)
    assert not damaged(record)


def test_rows_that_no_journal_speaks_of_are_no_damage(record):
    """A process that is killed between writing rows and its journal leaves them; they do not count."""
    (record / "parts").mkdir()
    (record / "parts" / "one.npz").write_bytes(b"rows")
    note = "parts/one.npz: no journal speaks of it; its process ended before it did"
    assert check_files(record, ended=True) == ([], [note])
    (record / "others").mkdir()
    (record / "others" / "one.npz").write_bytes(b"rows")
    assert damaged(record) == ["others/one.npz: is not listed in the manifest"]


def test_what_is_missing_exchanged_cut_or_new_is_named(record):
    (record / "a.json").rename(record / "c.json")
    assert damaged(record) == ["a.json: is missing", "c.json: is not listed in the manifest"]
    (record / "b.json").rename(record / "a.json")
    (record / "c.json").rename(record / "b.json")
    assert damaged(record) == ["a.json: has the content of b.json", "b.json: has the content of a.json"]
    for name in ("a.json", "b.json"):
        (record / name).write_text(f"content of {name}")
    (record / "group" / "inner" / "0").write_bytes(bytes(range(99)))
    assert damaged(record) == ["group/inner/0: has 99 bytes instead of 100"]
    (record / NAME).unlink()
    assert damaged(record) == [f"{NAME}: is missing"]


def test_another_way_to_write_the_same_value_is_found(record):
    """Bytes that JSON reads alike."""
    text = (record / NAME).read_text()
    (record / NAME).write_text(text.replace('"path": "b.json"', '"path":\t"b.json"'))
    assert damaged(record)[0].startswith(f"{NAME}: line 3 was changed")


def test_lines_that_are_changed_removed_or_moved_break_the_chain(record):
    lines = (record / NAME).read_bytes().splitlines(keepends=True)
    assert len(lines) == 6  # before and after each of three paths
    for i in range(len(lines)):
        (record / NAME).write_bytes(b"".join(lines[:i] + lines[i + 1 :]))
        assert damaged(record), f"line {i + 1} was removed"
        for j in range(i):
            swapped = list(lines)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            (record / NAME).write_bytes(b"".join(swapped))
            assert damaged(record), f"lines {i + 1} and {j + 1} were exchanged"


def test_a_kill_while_a_later_probe_is_written_is_no_damage(record):
    """The run had ended before, and none of what it recorded is concerned."""
    Manifest(record).begin("probes/gd/late")
    assert check_files(record, ended=True) == ([], ["probes/gd/late: was being written when the process ended"])


def test_a_kill_leaves_what_was_being_written_and_nothing_else(record):
    """Killed at every byte of the manifest, and before and after the file that it was writing."""
    text = (record / NAME).read_bytes()
    Manifest(record).begin("late.json")
    for content in (None, "late"):
        if content:
            (record / "late.json").write_text(content)
        found = check_files(record, ended=False)
        assert found == ([], ["late.json: was being written when the process ended"])
    assert damaged(record) == [f"{NAME}: the line that ends late.json is missing"]
    # A line that was cut off is dropped with the next one.
    (record / NAME).write_bytes(text + b'{"path": "la')
    (record / "late.json").unlink()
    assert check_files(record, ended=False) == ([], [])
    with Manifest(record).writing("late.json"):
        (record / "late.json").write_text("late")
    assert not damaged(record) and not read_chained(record / NAME, NAME)[1]
    (record / "group" / ".x.partial-1").write_text("half")
    assert check_files(record, ended=True).notes == ["group/.x.partial-1: is left of a write that was cut off"]


def test_what_a_killed_process_was_writing_is_settled(record):
    """One write had not begun, one had ended; neither was listed."""
    Manifest(record).begin("a.json")
    Manifest(record).begin("late.json")
    (record / "late.json").write_text("late")
    Manifest(record).begin("never.json")
    Manifest(record).settle()
    assert check_files(record, ended=True) == ([], [])
    (record / "late.json").write_text("Late")
    assert damaged(record) == ["late.json: was changed"]


def test_a_write_that_fails_is_listed_as_it_was_left(record):
    with pytest.raises(ValueError, match="in the middle"), Manifest(record).writing("failed.json"):
        raise ValueError("in the middle")
    assert check_files(record, ended=True) == ([], [])


@pytest.mark.parametrize("content", ["{}", '{"format": 7}', "[]", "{", None])
def test_another_format_is_refused_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "provenance.json").write_text(content)
    with pytest.raises(ValueError, match=r"format version|format 7; this version reads format 1|damaged") as refused:
        check_format(tmp_path)
    assert "\n" not in str(refused.value)
    (tmp_path / "provenance.json").write_text(json.dumps({"format": FORMAT}))
    check_format(tmp_path)
