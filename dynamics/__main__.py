"""The command `python -m dynamics`."""

import sys

from dynamics.cli import main

sys.exit(main(sys.argv))
