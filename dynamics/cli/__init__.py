"""The command `dynamics`: a thin shell over the library.

    dynamics run --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME]
    dynamics compare --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME]
        [--launcher=here|local|slurm] [--retry-failed] [--fail-fast] [--max-failures=N]
    dynamics sweep --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME] [--dry-run]
        [--launcher=here|local|slurm] [--retry-failed] [--fail-fast] [--max-failures=N]
    dynamics sweep status DIR
    dynamics ls [--workdir=runs]
    dynamics show RUN
    dynamics figures RUN ...
    dynamics report DIR ...
    dynamics resume DIR
    dynamics verify DIR [--module=MODULE]
    dynamics probe DIR NAME [--law=LAW] [--t=T] [--module=MODULE]
    dynamics claims PAPER | --module=MODULE [--launcher=here|local|slurm] [--workdir=runs] [--name=NAME]
    dynamics new paper NAME [--folder=DIR]
    dynamics doctor

Modules that a config or a flag names (figures, compare.claims, --module), and those that a config file imports, are
looked for among the installed packages, in the folder in which the command is typed, and beside the config file.

Exit codes: 0 done; 1 a run or member failed and is recorded, a record is damaged, a claim that should pass does not, or
a file of yours raised an error, which Python shows; 2 bad input: one line, nothing written; 130 interrupted and
recorded.
"""

import argparse
import difflib
import functools
import importlib
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from dynamics.cli.modules import import_from_here
from dynamics.config import ConfigError, require
from dynamics.environment import collect_rarely
from dynamics.files import is_users, one_line
from dynamics.mistakes import check_name

__all__ = ["main", "parsed"]


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Raises:
        Exception: what the code of a user raises, but for a ConfigError; Python shows where.
    """
    import_from_here()
    try:
        arguments = parsed((sys.argv if argv is None else argv)[1:])
        collect_rarely()
        # Imported when it is needed: the answer to a mistake in the command line needs no jax.
        module, _, command = arguments.command.partition(".")
        return getattr(importlib.import_module(f"dynamics.cli.{module}"), command)(arguments)
    except ConfigError as error:
        print(f"dynamics: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if not _is_of_machine(error):
            raise
        print(f"dynamics: {error if isinstance(error, OSError) else one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _is_of_machine(error: Exception) -> bool:
    """Whether no code is to blame for an error: a full disk, a lost device, an array whose checksum is wrong."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, OSError):
        return not any(is_users(frame.filename) for frame in frames)
    in_zarr = "zarr" in pathlib.Path(frames[-1].filename).parts and isinstance(error, (RuntimeError, ValueError))
    return in_zarr or type(error).__name__ == "JaxRuntimeError"  # jax may not be imported


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are raised, where argparse would print them with the usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        raise ConfigError(message)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """The values on a command line.

    Args:
        words: what follows the name of the program.

    Returns:
        `command`, the module in dynamics.cli and its function; `help`, a function that gives its help; a value for
        every flag and argument; and, if it takes a config, `overrides`, the words --config.a.b=value.

    Raises:
        ConfigError: for an unknown command, flag or argument, and for a missing or ill-typed value.
        SystemExit: after printing the help that was asked for.
    """
    # The parser does not list them: every value of a config can be set by one.
    overrides = [word for word in words if re.match("--?config[.]", word)]
    arguments, unknown = _parser().parse_known_args([word for word in words if word not in overrides])
    if "config" in arguments:
        arguments.overrides = overrides
    else:
        unknown += overrides
    for word in unknown:
        require(word.startswith("-"), "argument", word, "is one too many; a flag is written --flag=value")
        flag = word.lstrip("-").partition("=")[0]
        near = difflib.get_close_matches(flag, re.findall("--([a-z-]+)", arguments.help()), n=1)
        raise ConfigError(f"Unknown command line flag {flag!r}." + (f" Did you mean: {near[0]} ?" if near else ""))
    if "name" in arguments and arguments.name is not None:
        check_name("name", arguments.name)
    return arguments


def _parser() -> argparse.ArgumentParser:
    """The flags of every command; the first five parsers are parts of several."""
    configured, folder, named, launched, ending = (_Parser(add_help=False) for _ in range(5))
    what = "FILE or FILE:VARIANT; every value in its config can be set, as in --config.seed=1 --config.times.stop=10"
    configured.add_argument("--config", metavar="FILE", help=what)
    folder.add_argument("--workdir", default="runs", type=pathlib.Path, help="the folder of run folders; default: runs")
    named.add_argument("--name", help="the name of the run folder; if not given, that of the config file")
    launched.add_argument("--launcher", default="here", help="here, local (processes) or slurm (jobs); default: here")
    what = "do not write report.html, the page about the record"
    ending.add_argument("--no-report", dest="report", action="store_false", help=what)

    parser = _Parser(prog="dynamics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(
        required=True,
        metavar="run | compare | sweep | claims | resume | ls | show | report | figures | verify | probe | new "
        "| doctor",
    )

    def add(to: Any, command: str, what: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        name = command.partition(".")[2]
        added = to.add_parser(name, help=what, description=what, parents=parents, allow_abbrev=False)
        added.set_defaults(command=command, help=added.format_help)
        return added

    add(commands, "commands.run", "execute a config", configured, folder, named, ending)
    many = (configured, folder, named, launched, ending)
    compare = add(commands, "studies.compare", "compare the laws of a config", *many)
    sweep = add(commands, "sweeps.sweep", "execute the members of a sweep", *many)
    for one in (compare, sweep):
        one.add_argument("--retry-failed", action="store_true", help="integrate paths that diverged again, too")
        one.add_argument("--max-failures", metavar="N", type=int, help="stop after so many failures")
        what = "stop after the first failure"
        one.add_argument("--fail-fast", dest="max_failures", action="store_const", const=1, help=what)
    sweep.add_argument("--dry-run", action="store_true", help="print what would run, and write nothing")
    sweep.add_argument("--coordinator", metavar="HOST:PORT", help="the first process of jax.distributed")
    sweep.add_argument("--processes", metavar="N", type=int, default=1, help="their number; default: 1")
    sweep.add_argument("--process", metavar="I", type=int, default=0, help="the number of this one; default: 0")
    sweep.usage = "dynamics sweep --config=FILE [flags]\n       dynamics sweep status DIR"
    what = "print the progress and the failures of a sweep"
    status = add(sweep.add_subparsers(prog="dynamics sweep", title="without flags"), "status.status", what)
    status.add_argument("sweep", type=pathlib.Path, metavar="DIR")

    add(commands, "commands.ls", "list the runs of a folder", folder)
    add(commands, "commands.show", "print the results of a run").add_argument("run", metavar="RUN")
    what = "draw the figures of each run, and those that compare several runs"
    add(commands, "commands.figures", what).add_argument("runs", nargs="+", metavar="RUN")

    what = "write a page about a record, report.html in its folder, or one that lays several side by side"
    add(commands, "commands.report", what).add_argument("records", nargs="+", type=pathlib.Path, metavar="DIR")

    _add_later(functools.partial(add, commands))

    what = "check the claims of a paper, and write their table as JSON and Markdown"
    claims = add(commands, "studies.claims", what, folder, named, launched, ending)
    claims.set_defaults(retry_failed=False, max_failures=None)
    claims.add_argument("paper", nargs="?", metavar="PAPER", help="a folder of experiments/")
    what = "the claims of a paper kept elsewhere: any module on the Python path"
    claims.add_argument("--module", default="", help=what)

    add(commands, "doctor.doctor", "print what this machine has, and test it against a stored answer")

    new = commands.add_parser("new", help="write a small working paper, to be changed into your own")
    paper = add(new.add_subparsers(required=True, metavar="paper"), "paper.paper", "write the folder NAME")
    paper.add_argument("paper", metavar="NAME", help="of the folder and the module")
    paper.add_argument("--folder", default=".", type=pathlib.Path, help="where the folder is made; default: here")
    return parser


def _add_later(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that go on with a record, or ask it."""
    what = "go on with a record that was interrupted: the command that made it, again"
    add("records.resume", what).add_argument("record", type=pathlib.Path, metavar="DIR")
    what = "compare every byte of a record with its manifest, and integrate random parts of it again"
    verify = add("records.verify", what)
    verify.add_argument("record", type=pathlib.Path, metavar="DIR")
    what = "find what a probe would have recorded in a run, by integrating again from its checkpoints"
    probe = add("records.probe", what)
    probe.add_argument("record", type=pathlib.Path, metavar="DIR")
    probe.add_argument("probe", metavar="NAME", help="of the probe")
    probe.add_argument("--law", default="", help="its name in the record; default: all of them")
    probe.add_argument("--t", type=float, help="the time; default: all that are saved")
    for one in (verify, probe):
        one.add_argument("--module", default="", help="a module that registers the parts of the record")
