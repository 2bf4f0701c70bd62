"""The command `dynamics`: a thin shell over the library.

    dynamics run --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME]
    dynamics compare --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME]
    dynamics ls [--workdir=runs]
    dynamics show RUN
    dynamics figures RUN ...
    dynamics claims EXPERIMENT [--workdir=runs] [--name=NAME]

Exit codes: 0 done, 2 bad input (one line, nothing written), 1 failed run (recorded) or a claim that should pass but
does not, 130 interrupted (recorded).
"""

import argparse
import importlib
import importlib.util
import os
import pathlib
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import jax
import rich.table
from rich.console import Console

from dynamics.claims import PASS, gather, judge, markdown
from dynamics.cli.arguments import check_module, check_name, flag_values, numbered, parsed, stem
from dynamics.cli.console import Count, Report, certificate, number, print_laws, print_table, print_verdicts
from dynamics.compare import compare
from dynamics.config import ConfigError, require
from dynamics.experiment import Experiment
from dynamics.record import Record, load, runs
from dynamics.run import execute
from dynamics.tables import Table, is_comparison, tables
from dynamics.trajectory import Trajectory

__all__ = ["main"]

EXIT = {"done": 0, "failed": 1, "interrupted": 130}


def main(argv: list[str] | None = None) -> int:
    """Run a command line; the exit code."""
    argv = sys.argv if argv is None else argv
    try:
        if argv[1:2] == ["run"]:
            return _run(argv[1:], argv[0])
        if argv[1:2] == ["compare"]:
            return _compare(argv[1:])
        arguments = _parser().parse_args(argv[1:])
        return arguments.command(arguments)
    except ConfigError as error:
        print(f"dynamics: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"dynamics: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dynamics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="run | compare | ls | show | figures | claims")
    commands.add_parser("run", help="execute a config; --help lists its flags")
    commands.add_parser("compare", help="the laws of a config against one another; --help lists its flags")
    ls = commands.add_parser("ls", help="the runs of a folder")
    ls.add_argument("--workdir", default="runs", type=pathlib.Path)
    ls.set_defaults(command=_ls)
    show = commands.add_parser("show", help="what a run found")
    show.add_argument("run")
    show.set_defaults(command=_show)
    figures = commands.add_parser("figures", help="draw the figures of runs; of several runs, their comparison too")
    figures.add_argument("runs", nargs="+", metavar="RUN")
    figures.set_defaults(command=_figures)
    claims = commands.add_parser("claims", help="check what a paper states; writes the table, JSON and Markdown")
    claims.add_argument("experiment", help="a folder of experiments/")
    claims.add_argument("--workdir", default="runs", type=pathlib.Path)
    claims.add_argument("--name", default=None)
    claims.set_defaults(command=_claims)
    return parser


def _run(argv: list[str], argv0: str) -> int:
    begin = time.monotonic()
    if {"--help", "-h", "-help"} & set(argv):
        print(f"dynamics run --config=FILE[:variant] [--config.a.b=value ...]\n{flag_values(argv).get_help()}")
        return 0
    values, config = parsed(argv)
    found = Experiment.from_config(config)
    check_module("figures", config["figures"])
    workdir = pathlib.Path(str(values["workdir"].value))
    name = values["name"].value
    check_name(name)
    _keep_compiled_programs()
    importing = threading.Thread(target=_module, args=(config["figures"],), daemon=True)
    with Report(list(found.laws)) as bars:

        def report(law: str, part: Trajectory, fraction: float) -> None:
            if importing.ident is None:  # by now everything is traced, and the solves leave the interpreter idle
                importing.start()
            bars(law, part, fraction)

        record = execute(config, workdir, name or numbered(workdir, stem(argv)), report, _draw)
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


def _draw(record: Record) -> list[pathlib.Path]:
    module = _module(record.config.figures)
    return module.draw(record, record.path / "figures") if module else []


def _keep_compiled_programs() -> None:
    """The next process finds the programs of this one."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "dynamics"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _ls(arguments: argparse.Namespace) -> int:
    table = rich.table.Table("run", "state", "config", "laws", "loss", box=None)
    for record in runs(arguments.workdir):
        laws = record.status["laws"]
        losses = "  ".join(number(summary, "loss") for summary in laws.values() if "loss" in summary)
        table.add_row(record.path.name, record.state, record.provenance["config"], " ".join(laws), losses)
    Console().print(table)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    record = load(arguments.run)
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


def _claims(arguments: argparse.Namespace) -> int:
    begin = time.monotonic()
    name = f"experiments.{arguments.experiment}.claims"
    try:
        known = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of its package
        known = False
    require(known, "experiment", arguments.experiment, "must be a folder of experiments/ with a claims.py")
    check_name(arguments.name)
    claims = importlib.import_module(name)
    _keep_compiled_programs()
    record = gather(
        claims.CASES,
        arguments.workdir,
        arguments.name or numbered(arguments.workdir, f"{arguments.experiment}-claims"),
        claims.FIGURES,
        lambda case, runs, seconds: print(f"{case}: {runs} runs, {seconds:.0f} s", file=sys.stderr, flush=True),
    )
    return _judged(claims, record, begin)


def _judged(claims: Any, record: Record, begin: float, tables: Sequence[Table] = ()) -> int:
    """Judge a module's claims on a record, draw its figures, write and print everything; the exit code."""
    data = {group: record[group].load() for group in record.groups()}
    verdicts = {key: (title, judge(stated, data)) for key, (title, stated) in claims.TABLES.items()} if claims else {}
    pages = [table.markdown() for table in tables] + [markdown(*found) for found in verdicts.values()]
    plain = {key: [verdict.as_dict() for verdict in found] for key, (_, found) in verdicts.items()}
    name = "compare" if tables else "claims"
    paths = [record.attach(f"{name}.md", "\n".join(pages))]
    if verdicts:
        paths.append(record.attach("claims.json", plain))
    paths += _draw(record)
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


def _compare(argv: list[str]) -> int:
    begin = time.monotonic()
    if {"--help", "-h", "-help"} & set(argv):
        print(f"dynamics compare --config=FILE[:variant] [--config.a.b=value ...]\n{flag_values(argv).get_help()}")
        return 0
    values, config = parsed(argv)
    check_module("figures", config["figures"])
    check_module("compare.claims", config["compare"]["claims"])
    check_name(values["name"].value)
    _keep_compiled_programs()
    workdir = pathlib.Path(str(values["workdir"].value))
    with Count() as count:
        record = compare(config, workdir, values["name"].value or numbered(workdir, stem(argv)), count)
    if record.status["state"] == "interrupted":
        print(f"interrupted after {time.monotonic() - begin:.0f} s: {record.path}")
        return EXIT["interrupted"]
    return _judged(_module(config["compare"]["claims"]), record, begin, tables(record))


def _figures(arguments: argparse.Namespace) -> int:
    records = [load(run) for run in arguments.runs]
    for record in records:
        require(
            bool(record.config.figures), "figures", record.config.figures, f"{record.path} names no module that draws"
        )
    paths = [path for record in records for path in _draw(record)]
    if len(records) > 1:
        paths += _module(records[0].config.figures).compare(records, records[0].path.parent / "figures")
    print("\n".join(map(str, paths)))
    return 0
