"""The command `dynamics`: a thin shell over the library.

    dynamics run --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME]
    dynamics compare --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME]
    dynamics sweep --config=FILE[:variant] [--config.a.b=value ...] [--workdir=runs] [--name=NAME] [--dry-run]
        [--launcher=here|local|slurm] [--retry-failed] [--fail-fast] [--max-failures=N]
    dynamics sweep status DIR
    dynamics ls [--workdir=runs]
    dynamics show RUN
    dynamics figures RUN ...
    dynamics claims PAPER | --module=MODULE [--launcher=here|local|slurm] [--workdir=runs] [--name=NAME]
    dynamics new paper NAME [--folder=DIR]

Modules that a config or a flag names (figures, compare.claims, --module), and those that a config file imports, are
looked for among the installed packages and in the folder in which the command is typed.

Exit codes: 0 done; 1 a run or member failed and is recorded, or a claim that should pass does not; 2 bad input: one
line, nothing written; 130 interrupted and recorded.
"""

import argparse
import importlib
import pathlib
import sys
from collections.abc import Callable

from dynamics.cli.modules import import_from_here
from dynamics.config import ConfigError

__all__ = ["main"]

OF_CONFIGS = ("run", "compare", "sweep")  # absl parses their flags, since any value of a config can be a flag


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    argv = sys.argv if argv is None else argv
    import_from_here()
    try:
        if argv[1:2] and argv[1] in OF_CONFIGS and argv[1:3] != ["sweep", "status"]:
            return _command(argv[1])(argv[1:], argv[0])
        arguments = _parser().parse_args(argv[1:])
        return _command(arguments.command)(arguments)
    except ConfigError as error:
        print(f"dynamics: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"dynamics: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _command(name: str) -> Callable[..., int]:
    """A command, imported when it is needed: the answer to a mistake in the command line needs no jax."""
    modules = {"sweep": "sweeps", "status": "status", "compare": "studies", "claims": "studies", "new": "paper"}
    return getattr(importlib.import_module(f"dynamics.cli.{modules.get(name, 'commands')}"), name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dynamics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(
        required=True, metavar="run | compare | sweep | ls | show | figures | claims | new"
    )
    commands.add_parser("run", help="execute a config; --help lists its flags")
    commands.add_parser("compare", help="compare the laws of a config; --help lists its flags")
    sweep = commands.add_parser("sweep", help="execute the members of a sweep; --help lists its flags")
    status = sweep.add_subparsers(required=True).add_parser(
        "status", help="print the progress and the failures of a sweep"
    )
    status.add_argument("sweep", type=pathlib.Path)
    status.set_defaults(command="status")
    ls = commands.add_parser("ls", help="list the runs of a folder")
    ls.add_argument("--workdir", default="runs", type=pathlib.Path)
    ls.set_defaults(command="ls")
    show = commands.add_parser("show", help="print the results of a run")
    show.add_argument("run")
    show.set_defaults(command="show")
    figures = commands.add_parser("figures", help="draw the figures of each run, and those that compare several runs")
    figures.add_argument("runs", nargs="+", metavar="RUN")
    figures.set_defaults(command="figures")
    claims = commands.add_parser(
        "claims", help="check the claims of a paper, and write their table as JSON and Markdown"
    )
    claims.add_argument("paper", nargs="?", help="a folder of experiments/")
    claims.add_argument(
        "--module", default="", help="the claims of a paper kept elsewhere: any module on the Python path"
    )
    claims.add_argument("--launcher", default="here", help="here, local (processes) or slurm (jobs)")
    claims.add_argument("--workdir", default="runs", type=pathlib.Path)
    claims.add_argument("--name", default=None)
    claims.set_defaults(command="claims")
    new = commands.add_parser("new", help="write a small working paper, to be changed into your own")
    paper = new.add_subparsers(required=True, metavar="paper").add_parser("paper", help="write the folder NAME")
    paper.add_argument("name", metavar="NAME", help="of the folder and the module")
    paper.add_argument("--folder", default=".", type=pathlib.Path, help="where the folder is made; default: here")
    paper.set_defaults(command="new")
    return parser
