"""The commands `dynamics compare` and `dynamics claims`: sweeps that are read."""

import argparse
import pathlib
import sys
import time
import types
from collections.abc import Sequence
from typing import Any

from dynamics.cli.commands import EXIT, draw, reported, run_name
from dynamics.cli.console import print_verdicts
from dynamics.cli.modules import check_module, config_of, imported, is_module
from dynamics.cli.status import print_table
from dynamics.cli.sweeps import check_launching, launched, say_what_changed
from dynamics.config import require
from dynamics.environment import use_compile_cache
from dynamics.runs.identity import code
from dynamics.runs.manifest import Manifest
from dynamics.runs.storage import write_json, write_text
from dynamics.studies.claims import PASS, Data, Verdict, judge, markdown
from dynamics.studies.comparison import Compared, sweep_of
from dynamics.studies.evidence import ClaimsRecord, check, companion_of, measure, sweeps_of
from dynamics.studies.tables import Table, tables
from dynamics.sweeps.launch import prepare
from dynamics.sweeps.paths import plan
from dynamics.sweeps.worker import AHEAD


def compare(arguments: argparse.Namespace) -> int:
    """The laws of a config against one another."""
    begin = time.monotonic()
    use_compile_cache()  # before a config file uses a device
    file, config = config_of(arguments)
    check_module("figures", config.figures)
    module = imported("compare.claims", config.compare.claims, ("TABLES",)) if config.compare.claims else None
    check_launching(arguments)
    sweep = sweep_of(file.stem, config)
    planned = plan({"": sweep})._replace(judges=code((module,) if module else ()))
    folder = arguments.workdir / run_name(arguments, file.stem)
    record, interrupted = launched(folder, "compare", file.path, planned, arguments)
    if interrupted:
        return _interrupted(folder, begin)
    return _judged(record, Compared(record), module, tables(record), begin, arguments)


def claims(arguments: argparse.Namespace) -> int:
    """Run the command `dynamics claims`: collect the evidence, judge every claim, write the tables and figures."""
    begin = time.monotonic()
    use_compile_cache()  # before a module uses a device
    key, name = "--module", arguments.module
    if not name:
        key, name = "paper", f"experiments.{arguments.paper}.claims"
        # The wheel has no papers: their configs and pages would be missing, and `experiments` is anybody's name.
        shipped = "the shipped papers are in the repository, not in the installed package"
        allowed = f"must be a folder of experiments/ with a claims.py; {shipped}; elsewhere, --module=any.module"
        require(is_module(name), key, arguments.paper, allowed)
    check_launching(arguments)
    module = imported(key, name, ("CASES", "TABLES"))
    check(module)
    check_module("FIGURES", vars(module).get("FIGURES", ""))
    paper = name.removesuffix(".claims").rpartition(".")[2]
    folder = arguments.workdir / run_name(arguments, f"{paper}-claims")
    planned = plan(sweeps_of(module))._replace(judges=code((module,)))
    for group in planned.groups[:AHEAD]:
        group.program()  # compiles beside what is measured first
    file = pathlib.Path(str(module.__file__))
    say_what_changed(folder, planned)
    prepare(folder, "claims", file, planned)
    measure(module, folder, lambda line: print(line, file=sys.stderr, flush=True))
    if launched(folder, "claims", file, planned, arguments)[1]:
        return _interrupted(folder, begin)
    record = ClaimsRecord(folder)
    return _judged(record, {case: record[case].load() for case in record.cases}, module, (), begin, arguments)


def _interrupted(folder: pathlib.Path, begin: float) -> int:
    print(f"interrupted after {time.monotonic() - begin:.0f} s; the same command with --name={folder.name} goes on")
    return EXIT["interrupted"]


def _judged(
    record: Any,
    data: Data,
    module: types.ModuleType | None,
    pages: Sequence[Table],
    begin: float,
    arguments: argparse.Namespace,
) -> int:
    """Judge a module's claims on the data of a record, draw its figures, write and print everything; the exit code."""
    heading, companions = companion_of(module) if module else ("", {})
    stated = module.TABLES if module else {}
    judged = {key: (title, judge(pairs, data, companions)) for key, (title, pairs) in stated.items()}
    texts = [table.markdown() for table in pages] + [markdown(*table, heading) for table in judged.values()]
    paths = [record.path / ("compare.md" if pages else "claims.md")]
    manifest = Manifest(record.path)
    with manifest.writing(paths[0].name):
        write_text(paths[0], "\n".join(texts))
    if module:
        content = {key: [verdict.as_dict() for verdict in verdicts] for key, (_, verdicts) in judged.items()}
        paths.append(record.path / "claims.json")
        with manifest.writing(paths[-1].name):
            titles = {key: title for key, (title, _) in judged.items()}
            drawn_by = vars(module).get("FIGURES", "")
            write_json(paths[-1], {"figures": drawn_by, "titles": titles, "tables": content})
    paths += [*draw(record), *reported(record, arguments)]
    for table in pages:
        print_table(table.columns, table.rows, table.title)
    for title, verdicts in judged.values():
        print_verdicts(title, verdicts)
    print("\n".join(map(str, paths)))
    required: Sequence[Verdict] = next((verdicts for _, verdicts in judged.values()), [])
    unmet = [verdict for verdict in required if verdict.verdict != PASS and not verdict.explained]
    known = sum(verdict.verdict != PASS for verdict in required) - len(unmet)
    if judged:
        passed = len(required) - len(unmet) - known
        print(f"{passed} pass, {known} fail and hold after a repair, {len(unmet)} that should pass do not")
    print(f"done in {time.monotonic() - begin:.0f} s: {record.path}")
    return int(bool(unmet))
