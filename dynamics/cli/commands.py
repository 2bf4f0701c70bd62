"""The commands; every one returns its exit code."""

import argparse
import importlib
import itertools
import pathlib
import sys
import threading
import time
from typing import Any

from dynamics.cli.console import Report, certificate, number, print_laws
from dynamics.cli.modules import check_module, config_of, imported
from dynamics.cli.status import print_states, print_table
from dynamics.config import plain, require
from dynamics.environment import use_compile_cache
from dynamics.mistakes import check_name
from dynamics.runs.experiment import Experiment
from dynamics.runs.record import runs
from dynamics.runs.run import execute
from dynamics.studies.evidence import ClaimsRecord, load
from dynamics.studies.tables import tables
from dynamics.sweeps.results import SweepRecord
from dynamics.trajectory import Trajectory

EXIT = {"done": 0, "failed": 1, "interrupted": 130}


def run(arguments: argparse.Namespace) -> int:
    """Execute a config."""
    begin = time.monotonic()
    use_compile_cache()  # before a config file or its experiment uses a device
    file, loaded = config_of(arguments)
    config = plain(loaded)
    experiment = Experiment.from_config(config)
    check_module("figures", config["figures"])
    importing = threading.Thread(target=_import_for_the_end, args=(config["figures"], arguments.report), daemon=True)
    with Report(list(experiment.laws)) as bars:

        def report(law: str, part: Trajectory, fraction: float) -> None:
            if importing.ident is None:  # tracing has ended, and the solves leave the interpreter idle
                importing.start()
            bars(law, part, fraction)

        record = execute(config, arguments.workdir, run_name(arguments, file.stem), report, draw)
    print(f"{record.status['state']} in {time.monotonic() - begin:.0f} s: {record.path}")
    print_laws(record)
    drawn = sorted((record.path / "figures").glob("*"))
    for path in [*drawn, *(reported(record, arguments) if record.state != "interrupted" else ())]:
        print(path)
    program = sys.argv[0]  # as it was typed: that of `make figures` is not on the PATH
    print(f"next: {program} show {record.path}   or another seed, variant or value: {program} run ... --config.seed=1")
    return EXIT[record.status["state"]]


def _import_for_the_end(figures: str, report: bool) -> None:
    """Import what draws the figures of a run and writes its page."""
    module_named(figures)
    if report:
        importlib.import_module("dynamics.report")


def run_name(arguments: argparse.Namespace, stem: str) -> str:
    """The name of a new run folder; if it is not given, the first of STEM-1, STEM-2, ... that does not exist yet."""
    check_name("name", arguments.name or stem)
    numbered = (f"{stem}-{i}" for i in itertools.count(1))
    return arguments.name or next(name for name in numbered if not (arguments.workdir / name).exists())


def module_named(name: str) -> Any:
    """The module of this name, or None for an empty name."""
    return importlib.import_module(name) if name else None


def draw(record: Any) -> list[pathlib.Path]:
    """Draw the figures of a record with the module that its config names; a sweep without one has default figures."""
    swept = isinstance(record, SweepRecord) and record.kind == "sweep"
    name = record.config.figures or ("dynamics.figures.sweep" if swept else "")
    return imported("figures", name, ("draw",)).draw(record, record.path / "figures") if name else []


def ls(arguments: argparse.Namespace) -> int:
    """Print the runs of a folder."""
    rows = []
    for record in runs(arguments.workdir):
        laws = record.status["laws"]
        losses = "  ".join(number(summary, "loss") for summary in laws.values() if "loss" in summary)
        rows.append((record.path.name, record.state, record.provenance["config"], " ".join(laws), losses))
    print_table(("run", "state", "config", "laws", "loss"), rows)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print the results of a run."""
    record = load(arguments.run)
    if isinstance(record, ClaimsRecord):
        print((record.path / "claims.md").read_text())
        return 0
    if isinstance(record, SweepRecord):
        print_states(record.sweep.name, record.sweep.members, record.entries)
        for table in tables(record) if record.kind == "compare" else ():
            print_table(table.columns, table.rows, table.title)
        return 0
    status, origin = record.status, record.provenance
    print(f"{record.path}: {record.state}" + (f" ({status['reason']})" if status["reason"] else ""))
    print(f"config {origin['config']}, commit {origin['commit']}, {origin['dtype']}, {origin['device']}")
    print("command: " + " ".join(origin["command"]))
    if status["laws"]:
        print_laws(record)
    for law, summary in status["laws"].items():
        if "rtol" in summary:
            print(certificate(law, summary))
    for law in record.laws:
        if stored := record.checkpoints(law):
            print(f"parameters of {law} at t = {', '.join(f'{t:g}' for t in stored)}")
    return 0


def figures(arguments: argparse.Namespace) -> int:
    """Draw the figures of runs."""
    records = [load(run) for run in arguments.runs]
    for record in records:
        drawn = isinstance(record, SweepRecord) or bool(record.config.figures)
        require(drawn, "figures", record.config.figures, f"{record.path} names no module that draws")
    paths = [path for record in records for path in draw(record)]
    if len(records) > 1:
        paths += module_named(records[0].config.figures).compare(records, records[0].path.parent / "figures")
    print("\n".join(map(str, paths)))
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write a page about one or more records."""
    from dynamics.report import NAME, write  # here, since no other command needs Bokeh

    records = [load(folder) for folder in arguments.records]
    if len(records) == 1:
        file = records[0].path / NAME
    else:
        names = "-".join(record.path.absolute().name for record in records)
        file = records[0].path.absolute().parent / f"report-{names}.html"
    print(write(records, file))
    return 0


def reported(record: Any, arguments: argparse.Namespace) -> list[pathlib.Path]:
    """Write the page of a record that has ended, unless the command says no; the path of the page."""
    if not arguments.report:
        return []
    from dynamics.report import NAME, write  # here: it takes a second to import

    return [write([record], record.path / NAME)]
