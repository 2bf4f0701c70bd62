"""The command `dynamics`: a thin shell over the library.

    dynamics run --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME]
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
import itertools
import json
import os
import pathlib
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from dynamics.claims import PASS, Verdict, gather, judge, markdown
from dynamics.config import ConfigError, check_keys, require
from dynamics.experiment import TIGHTER, Experiment
from dynamics.record import Record, load, runs
from dynamics.run import execute
from dynamics.trajectory import Trajectory

__all__ = ["main"]

KEPT = 10  # drift / rtol up to which a flow's certificate counts as kept
EXIT = {"done": 0, "failed": 1, "interrupted": 130}


def main(argv: list[str] | None = None) -> int:
    """Run a command line; the exit code."""
    argv = sys.argv if argv is None else argv
    try:
        if argv[1:2] == ["run"]:
            return _run(argv[1:], argv[0])
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
    commands = parser.add_subparsers(required=True, metavar="run | ls | show | figures | claims")
    commands.add_parser("run", help="execute a config; --help lists its flags")
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
        print(f"dynamics run --config=FILE[:variant] [--config.a.b=value ...]\n{_flag_values(argv).get_help()}")
        return 0
    values, config = _parsed(argv)
    found = Experiment.from_config(config)
    _check_figures(config["figures"])
    workdir = pathlib.Path(str(values["workdir"].value))
    name = values["name"].value
    _check_name(name)
    _keep_compiled_programs()
    importing = threading.Thread(target=_figure_module, args=(config["figures"],), daemon=True)
    with _Report(list(found.laws)) as bars:

        def report(law: str, part: Trajectory, fraction: float) -> None:
            if importing.ident is None:  # by now everything is traced, and the solves leave the interpreter idle
                importing.start()
            bars(law, part, fraction)

        record = execute(config, workdir, name or _numbered(workdir, _stem(argv)), report, _draw)
    print(f"{record.status['state']} in {time.monotonic() - begin:.0f} s: {record.path}")
    _print_laws(record)
    for path in sorted((record.path / "figures").glob("*")):
        print(path)
    # As it was typed: `make figures` runs a program that is on nobody's PATH.
    print(f"next: {argv0} show {record.path}   or another seed, variant or value: {argv0} run ... --config.seed=1")
    return EXIT[record.status["state"]]


def _check_name(name: str | None) -> None:
    one_folder = name is None or (name == pathlib.Path(name).name and not name.startswith("."))
    require(one_folder, "name", name, "must be one folder name")


def _flag_values(argv: list[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "runs", "Folder of run folders.", flag_values=values)
    flags.DEFINE_string("name", None, "Of the run folder; numbered after the config file without.", flag_values=values)
    config_flags.DEFINE_config_file("config", None, "FILE[:variant].", flag_values=values, sys_argv=argv)
    return values


def _parsed(argv: list[str]) -> tuple[flags.FlagValues, dict[str, Any]]:
    """The flags and the config of a command line, the config as plain values; every mistake as one line."""
    overrides = [a for a in argv if re.match("--?config[.]", a)]
    try:
        # Without overrides first, so that a wrong key can be named with its neighbours.
        bare = [a for a in argv if a not in overrides]
        values = _flag_values(bare)
        rest = values(bare)
        require(values["config"].value is not None, "--config", None, "must be FILE[:variant]")
        require(len(rest) == 1, "argument", rest[-1], "takes flags only, --flag=value")
        for override in overrides:
            key, _, value = override.lstrip("-").removeprefix("config.").partition("=")
            _check_path(values["config"].value, key, value)
        values = _flag_values(argv)
        values(argv)
        config: Any = values["config"].value
        return values, json.loads(json.dumps(config.to_dict()))
    except ConfigError:
        raise
    except (flags.Error, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(_one_line(error)) from error


def _check_path(config: ml_collections.ConfigDict, key: str, value: str) -> None:
    node: Any = config
    path, _, _ = key.rpartition(".")
    for part in key.split("."):
        require(isinstance(node, ml_collections.ConfigDict), key, value, f"{path} is a value, not a group of keys")
        try:
            check_keys({part: value}, node, "")
        except ConfigError as error:
            raise ConfigError(key, value, str(error.allowed)) from None
        node = node[part]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if found := re.match(
        r"flag --?config[.](\S+?)=(.*?): (invalid literal for int|could not convert string to float)", text
    ):
        key, value, kind = found.groups()
        return str(ConfigError(key, value, "must be an integer" if "int" in kind else "must be a number"))
    if found := re.match(r"flag --config=(\S+): (.*)", text):
        return f"--config={found[1]}: {found[2]}"
    if isinstance(error, OSError) and "No such file" in text:
        return "--config: no such file: " + text.rpartition(": ")[2]
    return text


def _check_figures(name: str) -> None:
    try:
        found = not name or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of its package
        found = False
    require(found, "figures", name, "must be a module with draw(record, folder), or empty")


def _figure_module(name: str) -> Any:
    """The module that draws the figures of a run, None for none."""
    return importlib.import_module(name) if name else None


def _draw(record: Record) -> list[pathlib.Path]:
    module = _figure_module(record.config.figures)
    return module.draw(record, record.path / "figures") if module else []


def _keep_compiled_programs() -> None:
    """The next process finds the programs of this one."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "dynamics"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _stem(argv: list[str]) -> str:
    file = next(re.split("^--?config=", a)[-1] for a in reversed(argv) if re.match("--?config=|[^-]", a))
    return pathlib.Path(file.partition(":")[0]).stem


def _numbered(workdir: pathlib.Path, stem: str) -> str:
    """figure1-1, figure1-2, ...: the first that is free."""
    return next(f"{stem}-{i}" for i in itertools.count(1) if not (workdir / f"{stem}-{i}").exists())


class _Report:
    """Progress: bars on a terminal, plain lines elsewhere."""

    def __init__(self, laws: list[str]):
        columns = (
            TextColumn("{task.description:>8}"),
            BarColumn(),
            TextColumn("t = {task.fields[t]:<8.4g} loss {task.fields[loss]:<10.4g}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._console = Console(stderr=True)
        self._progress = Progress(*columns, console=self._console)
        if self._console.is_terminal:
            self._bars = {
                law: self._progress.add_task(law, total=1.0, start=False, t=0.0, loss=float("nan")) for law in laws
            }

    def __enter__(self) -> "_Report":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def __call__(self, law: str, part: Trajectory, fraction: float) -> None:
        loss = float(part.probes["loss"][-1]) if "loss" in part.probes and len(part.t) else float("nan")
        if self._console.is_terminal:
            self._progress.start_task(self._bars[law])
            self._progress.update(self._bars[law], completed=fraction, t=float(part.end), loss=loss)
        else:
            print(f"{law:>8}  t = {float(part.end):<8.4g} loss {loss:.4g}", file=sys.stderr, flush=True)


def _ls(arguments: argparse.Namespace) -> int:
    table = Table("run", "state", "config", "laws", "loss", box=None)
    for record in runs(arguments.workdir):
        laws = record.status["laws"]
        losses = "  ".join(_number(summary, "loss") for summary in laws.values())
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
        _print_laws(record)
    for law, summary in status["laws"].items():
        if "rtol" in summary:
            print(_certificate(law, summary))
    for law in record.laws:
        print(f"parameters of {law} at t = {', '.join(f'{t:g}' for t in record.checkpoints(law))}")
    return 0


def _print_laws(record: Record) -> None:
    columns = ("law", "steps", "end", "loss", "T1", "drift", "compile_s", "solve_s")
    table = Table(*columns, "outcome", box=None)
    for law, summary in record.status["laws"].items():
        table.add_row(law, *(_number(summary, key) for key in columns[1:]), summary["reason"])
    Console(width=140).print(table)


def _certificate(law: str, summary: Mapping[str, Any]) -> str:
    if "drift" not in summary:
        return f"certificate of {law}: none, the probe drift is not among those of the config"
    drift, rtol = summary["drift"], summary["rtol"]
    # Calibrated in experiments/cooccurrence/README.md: a solve whose drift is larger is one to distrust.
    verdict = "kept" if drift <= KEPT * rtol else "BROKEN, distrust it"
    line = f"certificate of {law}: drift {drift:.1e}, at most {KEPT} rtol = {KEPT * rtol:.1e} allowed: {verdict}"
    if "error" in summary:
        errors = ", ".join(f"{probe} {error:.1e}" for probe, error in summary["error"].items())
        line += f"\n    largest relative errors against {TIGHTER} times tighter tolerances: {errors}"
    return line


def _number(summary: Mapping[str, Any], key: str) -> str:
    value = summary.get(key)
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _claims(arguments: argparse.Namespace) -> int:
    begin = time.monotonic()
    name = f"experiments.{arguments.experiment}.claims"
    try:
        known = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of its package
        known = False
    require(known, "experiment", arguments.experiment, "must be a folder of experiments/ with a claims.py")
    _check_name(arguments.name)
    claims = importlib.import_module(name)
    _keep_compiled_programs()
    record = gather(
        claims.CASES,
        arguments.workdir,
        arguments.name or _numbered(arguments.workdir, f"{arguments.experiment}-claims"),
        claims.FIGURES,
        lambda case, runs, seconds: print(f"{case}: {runs} runs, {seconds:.0f} s", file=sys.stderr, flush=True),
    )
    data = {case: record[case].load() for case in claims.CASES}
    verdicts = {case: judge(claims.CLAIMS, data, case) for case in claims.TABLES}
    tables = [markdown(title, verdicts[case]) for case, title in claims.TABLES.items()]
    plain = {case: [verdict.as_dict() for verdict in found] for case, found in verdicts.items()}
    paths = [record.attach("claims.md", "\n".join(tables)), record.attach("claims.json", plain), *_draw(record)]
    for case, title in claims.TABLES.items():
        _print_verdicts(title, verdicts[case])
    print("\n".join(map(str, paths)))
    required = next(iter(verdicts.values()))
    unmet = [verdict for verdict in required if verdict.verdict != PASS and not verdict.known]
    known_failures = sum(verdict.verdict != PASS for verdict in required) - len(unmet)
    print(
        f"{len(required) - len(unmet) - known_failures} pass, {known_failures} known not to hold, {len(unmet)} that "
        f"should pass do not, in {time.monotonic() - begin:.0f} s: {record.path}"
    )
    return int(bool(unmet))


def _print_verdicts(title: str, verdicts: Sequence[Verdict]) -> None:
    table = Table("verdict", "source", "statement", "measured", title=title, title_justify="left", box=None)
    for verdict in verdicts:
        measured = verdict.measured + (f" ({verdict.known})" if verdict.known and verdict.verdict != PASS else "")
        table.add_row(*map(escape, (verdict.verdict, verdict.claim.source, verdict.claim.statement, measured)))
    Console(width=max(Console().width, 140)).print(table)


def _figures(arguments: argparse.Namespace) -> int:
    records = [load(run) for run in arguments.runs]
    for record in records:
        require(
            bool(record.config.figures), "figures", record.config.figures, f"{record.path} names no module that draws"
        )
    paths = [path for record in records for path in _draw(record)]
    if len(records) > 1:
        paths += _figure_module(records[0].config.figures).compare(records, records[0].path.parent / "figures")
    print("\n".join(map(str, paths)))
    return 0
