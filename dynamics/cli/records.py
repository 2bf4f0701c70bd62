"""The commands `dynamics verify` and `dynamics probe`, which ask a record after its run."""

import argparse
import importlib
import pathlib
import random

from dynamics.cli.modules import imported, is_module
from dynamics.environment import configure_compiler
from dynamics.files import module_of
from dynamics.runs.manifest import Findings
from dynamics.runs.record import Record
from dynamics.runs.verify import check_run
from dynamics.runs.verify import integrate_again as integrate_run
from dynamics.sweeps.results import SweepRecord, load
from dynamics.sweeps.sweep import execute_config
from dynamics.sweeps.verify import check_sweep
from dynamics.sweeps.verify import integrate_again as integrate_sweep


def verify(arguments: argparse.Namespace) -> int:
    """Compare every byte of a record with its manifest, and integrate random parts of it again.

    Nothing is executed or integrated of a record with damaged bytes.
    """
    folder = arguments.record
    is_sweep = (folder / "sweep.json").exists() or (folder / "journal").exists()
    files = check_sweep(folder) if is_sweep else check_run(folder)
    if not files.damaged:
        record = load(folder)
        register(record, arguments.module)
        configure_compiler()
        chance = random.SystemRandom()
        again = integrate_sweep(record, chance) if is_sweep else integrate_run(record, chance)
        files = Findings(again.damaged, [*files.notes, *again.notes])
    for line in (*files.notes, *files.damaged):
        print(line)
    print(f"{folder}: " + (f"{len(files.damaged)} found damaged" if files.damaged else "what was recorded"))
    return int(bool(files.damaged))


def register(record: Record | SweepRecord, module: str) -> None:
    """Import the code of a user that a record names, and a module that is named now; they register their parts."""
    for name in record.provenance["code"]:
        if pathlib.Path(name).is_absolute():  # a config file
            if isinstance(record, SweepRecord):
                execute_config(record.path)
            elif pathlib.Path(name).is_file():
                module_of(pathlib.Path(name))
        elif is_module(name):
            importlib.import_module(name)
    if module:
        imported("--module", module, ())
