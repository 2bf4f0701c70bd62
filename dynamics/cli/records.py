"""The commands that go on with a record, `dynamics resume`, or ask it, `dynamics verify` and `dynamics probe`."""

import argparse
import importlib
import itertools
import os
import pathlib
import random

import numpy as np

from dynamics.cli import main
from dynamics.cli.modules import imported, is_module
from dynamics.cli.status import print_table
from dynamics.config import require
from dynamics.environment import use_compile_cache
from dynamics.files import module_of
from dynamics.runs.asking import keep
from dynamics.runs.manifest import NAME, Findings
from dynamics.runs.record import Record
from dynamics.runs.verify import check_run
from dynamics.runs.verify import integrate_again as integrate_run
from dynamics.sweeps.results import SweepRecord, load
from dynamics.sweeps.sweep import execute_config
from dynamics.sweeps.verify import check_sweep
from dynamics.sweeps.verify import integrate_again as integrate_sweep

SHOWN = 12  # times of a probe that are printed
COMMANDS = ("run", "compare", "sweep", "claims")
PLACE = ("--workdir", "--name")  # the flags that say where a record is


def resume(arguments: argparse.Namespace) -> int:
    """Go on with a record that has not ended: the command that made it, again, where it was typed."""
    folder = arguments.record.absolute()
    origin = load(folder).provenance
    command, directory = origin["command"][1:], pathlib.Path(origin["directory"])
    can = bool(command) and command[0] in COMMANDS and directory.is_dir()
    allowed = f"must have been made by a command ({', '.join(COMMANDS)}) in a directory that exists, {directory}"
    require(can, "record", str(folder), allowed)
    # "--name=x" is one word and "--name x" two.
    again = [
        word
        for before, word in itertools.pairwise(["", *command])
        if word.partition("=")[0] not in PLACE and before not in PLACE
    ]
    os.chdir(directory)
    return main(["dynamics", *again, f"--workdir={folder.parent}", f"--name={folder.name}"])


def verify(arguments: argparse.Namespace) -> int:
    """Compare every byte of a record with its manifest, and integrate random parts of it again.

    Nothing is executed or integrated of a record with damaged bytes.
    """
    folder = arguments.record
    if not (folder / NAME).is_file():
        load(folder)  # refuses what is no record, and one of another format
    is_sweep = (folder / "sweep.json").exists() or (folder / "journal").exists()
    files = check_sweep(folder) if is_sweep else check_run(folder)
    if not files.damaged:
        use_compile_cache()  # before the code of a user uses a device
        record = load(folder)
        register(record, arguments.module)
        chance = random.SystemRandom()
        again = integrate_sweep(record, chance) if is_sweep else integrate_run(record, chance)
        files = Findings(again.damaged, [*files.notes, *again.notes])
    for line in (*files.notes, *files.damaged):
        print(line)
    print(f"{folder}: " + (f"{len(files.damaged)} found damaged" if files.damaged else "what was recorded"))
    return int(bool(files.damaged))


def probe(arguments: argparse.Namespace) -> int:
    """Find what a probe would have recorded, print it, and keep it in the folder of the run."""
    record = load(arguments.record)
    require(
        isinstance(record, Record), "record", str(arguments.record), "must be the folder of a run, with checkpoints"
    )
    use_compile_cache()  # before the code of a user uses a device
    register(record, arguments.module)
    for law in [arguments.law] if arguments.law else record.config.laws:
        values = record.probe(arguments.probe, law, arguments.t)
        keep(record, values)
        columns = ("t", *(["value"] if values.ndim == 1 else ["smallest", "mean", "largest"]))
        shown = range(0, len(values), max(1, len(values) // SHOWN))
        rows = [(f"{float(values.t[i]):.6g}", *map("{:.6g}".format, _numbers(values[i].values))) for i in shown]
        print_table(columns, rows, f"{arguments.probe} of {law}: {' × '.join(map(str, values.dims))}")
        if off := values.attrs["checkpoints_differ_by"]:
            print(f"the checkpoints of {law} were met up to {off:.1e} of their largest entry, not to the bit")
        print(record.path / "probes" / law / arguments.probe)
    return 0


def _numbers(value: np.ndarray) -> list[float]:
    return [float(value)] if value.ndim == 0 else [float(value.min()), float(value.mean()), float(value.max())]


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
