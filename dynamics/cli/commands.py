"""The commands; every one returns its exit code."""

import argparse
import importlib
import importlib.util
import pathlib
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import rich.table
from rich.console import Console

from dynamics.cli.arguments import check_module, check_name, flag_values, numbered, parsed, plain, stem
from dynamics.cli.console import Count, Report, certificate, number, print_laws, print_table, print_verdicts
from dynamics.cli.status import print_states
from dynamics.config import require
from dynamics.environment import configure_compiler
from dynamics.runs.experiment import Experiment
from dynamics.runs.record import Record, runs
from dynamics.runs.run import execute
from dynamics.studies.claims import PASS, gather, judge, markdown
from dynamics.studies.comparison import compare as compare_laws
from dynamics.studies.tables import Table, is_comparison, tables
from dynamics.sweeps.results import SweepRecord, load
from dynamics.trajectory import Trajectory

__all__ = ["claims", "compare", "draw", "figures", "ls", "run", "show"]

EXIT = {"done": 0, "failed": 1, "interrupted": 130}


def run(argv: list[str], argv0: str) -> int:
    """Execute a config."""
    begin = time.monotonic()
    if {"--help", "-h", "-help"} & set(argv):
        print(f"dynamics run --config=FILE[:variant] [--config.a.b=value ...]\n{flag_values(argv).get_help()}")
        return 0
    values, found_config = parsed(argv)
    config = plain(found_config)
    found = Experiment.from_config(config)
    check_module("figures", config["figures"])
    workdir = pathlib.Path(str(values["workdir"].value))
    name = values["name"].value
    check_name(name)
    configure_compiler()
    importing = threading.Thread(target=_module, args=(config["figures"],), daemon=True)
    with Report(list(found.laws)) as bars:

        def report(law: str, part: Trajectory, fraction: float) -> None:
            if importing.ident is None:  # by now everything is traced, and the solves leave the interpreter idle
                importing.start()
            bars(law, part, fraction)

        record = execute(config, workdir, name or numbered(workdir, stem(argv)), report, draw)
    print(f"{record.status['state']} in {time.monotonic() - begin:.0f} s: {record.path}")
    print_laws(record)
    for path in sorted((record.path / "figures").glob("*")):
        print(path)
    # As it was typed: `make figures` runs a program that is on nobody's PATH.
    print(f"next: {argv0} show {record.path}   or another seed, variant or value: {argv0} run ... --config.seed=1")
    return EXIT[record.status["state"]]


def _module(name: str) -> Any:
    """A module that a config names, None for none."""
    return importlib.import_module(name) if name else None


def draw(record: Any) -> list[pathlib.Path]:
    """The figures of a record, by the module that its config names; those of any sweep where it names none."""
    module = _module(record.config.figures or ("dynamics.figures.sweep" if isinstance(record, SweepRecord) else ""))
    return module.draw(record, record.path / "figures") if module else []


def ls(arguments: argparse.Namespace) -> int:
    """The runs of a folder."""
    table = rich.table.Table("run", "state", "config", "laws", "loss", box=None)
    for record in runs(arguments.workdir):
        laws = record.status["laws"]
        losses = "  ".join(number(summary, "loss") for summary in laws.values() if "loss" in summary)
        table.add_row(record.path.name, record.state, record.provenance["config"], " ".join(laws), losses)
    Console().print(table)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """What a run found."""
    record = load(arguments.run)
    if isinstance(record, SweepRecord):
        print_states(record.sweep, record.entries)
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
    for table in tables(record) if is_comparison(record) else ():
        print_table(table)
    return 0


def claims(arguments: argparse.Namespace) -> int:
    """Check what a paper states."""
    begin = time.monotonic()
    name = f"experiments.{arguments.experiment}.claims"
    try:
        known = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of its package
        known = False
    require(known, "experiment", arguments.experiment, "must be a folder of experiments/ with a claims.py")
    check_name(arguments.name)
    stated = importlib.import_module(name)
    configure_compiler()
    record = gather(
        stated.CASES,
        arguments.workdir,
        arguments.name or numbered(arguments.workdir, f"{arguments.experiment}-claims"),
        stated.FIGURES,
        lambda case, runs, seconds: print(f"{case}: {runs} runs, {seconds:.0f} s", file=sys.stderr, flush=True),
    )
    return _judged(stated, record, begin)


def _judged(stated: Any, record: Record, begin: float, tables: Sequence[Table] = ()) -> int:
    """Judge a module's claims on a record, draw its figures, write and print everything; the exit code."""
    data = {group: record[group].load() for group in record.groups()}
    verdicts = {key: (title, judge(pairs, data)) for key, (title, pairs) in stated.TABLES.items()} if stated else {}
    pages = [table.markdown() for table in tables] + [markdown(*found) for found in verdicts.values()]
    plain = {key: [verdict.as_dict() for verdict in found] for key, (_, found) in verdicts.items()}
    name = "compare" if tables else "claims"
    paths = [record.attach(f"{name}.md", "\n".join(pages))]
    if verdicts:
        paths.append(record.attach("claims.json", plain))
    paths += draw(record)
    for table in tables:
        print_table(table)
    for title, found in verdicts.values():
        print_verdicts(title, found)
    print("\n".join(map(str, paths)))
    required = next((found for _, found in verdicts.values()), [])
    unmet = [verdict for verdict in required if verdict.verdict != PASS and not verdict.known]
    known = sum(verdict.verdict != PASS for verdict in required) - len(unmet)
    if verdicts:
        print(
            f"{len(required) - len(unmet) - known} pass, {known} known not to hold, "
            f"{len(unmet)} that should pass do not"
        )
    print(f"done in {time.monotonic() - begin:.0f} s: {record.path}")
    return int(bool(unmet))


def compare(argv: list[str], argv0: str) -> int:
    """The laws of a config against one another."""
    del argv0
    begin = time.monotonic()
    if {"--help", "-h", "-help"} & set(argv):
        print(f"dynamics compare --config=FILE[:variant] [--config.a.b=value ...]\n{flag_values(argv).get_help()}")
        return 0
    values, found_config = parsed(argv)
    config = plain(found_config)
    check_module("figures", config["figures"])
    check_module("compare.claims", config["compare"]["claims"])
    check_name(values["name"].value)
    configure_compiler()
    workdir = pathlib.Path(str(values["workdir"].value))
    with Count() as count:
        record = compare_laws(config, workdir, values["name"].value or numbered(workdir, stem(argv)), count)
    if record.status["state"] == "interrupted":
        print(f"interrupted after {time.monotonic() - begin:.0f} s: {record.path}")
        return EXIT["interrupted"]
    return _judged(_module(config["compare"]["claims"]), record, begin, tables(record))


def figures(arguments: argparse.Namespace) -> int:
    """Draw the figures of runs."""
    records = [load(run) for run in arguments.runs]
    for record in records:
        drawn = isinstance(record, SweepRecord) or bool(record.config.figures)
        require(drawn, "figures", record.config.figures, f"{record.path} names no module that draws")
    paths = [path for record in records for path in draw(record)]
    if len(records) > 1:
        paths += _module(records[0].config.figures).compare(records, records[0].path.parent / "figures")
    print("\n".join(map(str, paths)))
    return 0
