"""A user's own files: what lies beside a config file is found, and errors say where they are."""

import sys

import pytest

import dynamics
from dynamics.files import module_of, one_line


@pytest.fixture
def path(monkeypatch):
    """The path of modules, restored after the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("beside_"):
            del sys.modules[name]


def test_a_module_beside_a_config_file_is_found(tmp_path, path):
    (tmp_path / "beside_config.py").write_text("X = 3\n")
    (tmp_path / "config.py").write_text("import beside_config\nX = beside_config.X\n")
    assert module_of(tmp_path / "config.py").X == 3
    assert sys.path[-1] == str(tmp_path)  # after all others: it hides no installed module


def test_a_package_is_found_by_its_name_from_a_config_file_in_it(tmp_path, path):
    folder = tmp_path / "beside_package" / "configs"
    folder.mkdir(parents=True)
    for file in (folder.parent / "__init__.py", folder / "__init__.py"):
        file.touch()
    (folder.parent / "parts.py").write_text("X = 4\n")
    (folder / "config.py").write_text("from beside_package.parts import X\n")
    assert module_of(folder / "config.py").X == 4


def test_a_copy_finds_what_lies_beside_the_original(tmp_path, path):
    original, copy = tmp_path / "here" / "config.py", tmp_path / "there" / "config.py"
    for file in (original, copy):
        file.parent.mkdir()
        file.write_text("import beside_the_original\nX = beside_the_original.X\n")
    (original.parent / "beside_the_original.py").write_text("X = 5\n")
    assert module_of(copy, copy_of=original).X == 5
    assert str(copy.parent) not in sys.path


def test_an_error_in_one_line(tmp_path, path):
    (tmp_path / "config.py").write_text("def call():\n    raise RuntimeError('no\\nsuch')\n")
    for call, line in (
        (module_of(tmp_path / "config.py").call, "RuntimeError: no such (config.py, line 2)"),
        (lambda: int("x"), "ValueError: invalid literal for int() with base 10: 'x' (test_files.py, line "),
    ):
        with pytest.raises((RuntimeError, ValueError)) as raised:
            call()
        assert one_line(raised.value).startswith(line)
    assert one_line(dynamics.ConfigError("seed", -1, "must not be negative")) == "seed = -1: must not be negative"
    assert one_line(OSError(28, "No space left on device")) == "OSError: [Errno 28] No space left on device"
