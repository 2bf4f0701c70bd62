"""Imports point one way; each library of the outer world has one door."""

import ast
import pathlib

from conftest import ROOT

# Every floor imports only itself and floors before it.
FLOORS = (
    ("environment", "hints", "config", "tasks", "models", "objectives"),
    ("trajectory", "analysis", "probes", "laws"),
    ("runs",),
    ("sweeps",),
    ("studies", "figures"),
    ("cli",),
)
DOORS = {
    "zarr": {"runs"},
    "orbax": {"runs"},
    "xarray": {"runs", "sweeps"},
    "submitit": {"sweeps"},
    "wandb": {"runs"},
    "matplotlib": {"figures"},
    "PIL": {"figures"},
    "absl": {"cli"},
    "rich": {"cli"},
    "diffrax": {"laws"},
    "optax": {"laws"},
}


def imports():
    for file in (ROOT / "dynamics").rglob("*.py"):
        part = file.relative_to(ROOT / "dynamics").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((part, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module == "dynamics":
                yield from ((part, f"dynamics.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield part, node.module


def test_direction():
    for part, module in imports():
        root, _, rest = module.partition(".")
        if part.startswith("__") or root != "dynamics":
            continue
        floor = next(i for i, names in enumerate(FLOORS) if part in names)
        allowed = [name for names in FLOORS[: floor + 1] for name in names]
        assert rest.split(".")[0] in allowed, f"{part} imports {module}"


def test_doors():
    for part, module in imports():
        allowed = DOORS.get(module.partition(".")[0])
        assert allowed is None or part in allowed, f"{part} imports {module}"


def test_no_paper_in_the_library():
    for file in (ROOT / "dynamics").rglob("*.py"):
        for name in ("igure 1", "2402.02098", "LocAteR", "qk_eigenspectrum", "Eigenspectrum Concentrates"):
            assert name not in file.read_text(), file
        # The command line knows where experiments are; nothing else knows that there are any.
        assert "experiments." not in file.read_text() or "cli" in file.parts, file


def test_no_machine_in_the_lock():
    assert "://" not in (ROOT / "requirements.lock").read_text()
    assert pathlib.Path(ROOT / "requirements.lock").read_text().count("--hash=sha256:") > 100
