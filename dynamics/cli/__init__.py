"""The command `dynamics`: a thin shell over the library; `parser` lists its commands."""

import importlib
import sys

from dynamics.cli.modules import import_from_here
from dynamics.cli.parser import parsed
from dynamics.config import ConfigError

__all__ = ["main", "parsed"]


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    import_from_here()
    try:
        arguments = parsed((sys.argv if argv is None else argv)[1:])
        # Imported when it is needed: the answer to a mistake in the command line needs no jax.
        module, _, command = arguments.command.partition(".")
        return getattr(importlib.import_module(f"dynamics.cli.{module}"), command)(arguments)
    except ConfigError as error:
        print(f"dynamics: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"dynamics: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
