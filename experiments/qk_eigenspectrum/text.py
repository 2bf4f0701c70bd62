"""Write a text to train on: a cleaned FILE, or the whole King James Bible (public domain) from Debian's bible-kjv.

    python -m experiments.qk_eigenspectrum.text OUT.txt [FILE.txt]

If FILE is not given, the text comes from the program `bible` (apt-get install bible-kjv). If FILE is a book of Project
Gutenberg, the legal text around the book is removed. genesis.txt, in this folder, is the first 20 chapters of Genesis,
made in this way.
"""

import pathlib
import re
import shutil
import subprocess
import sys

EVERYTHING = "gen1:1-rev22:21"
REFERENCE = re.compile(r"^\S+\s*\d+:\d+\s+", re.MULTILINE)
MARKS = re.compile(r"^\*\*\* ?(?:START|END) OF .*$", re.MULTILINE)


def from_verses(text: str) -> str:
    """Remove the references of verses; each verse is a line."""
    return REFERENCE.sub("", text)


def from_file(text: str) -> str:
    """The text between the marks of Project Gutenberg, or all of it if there are no marks."""
    parts = MARKS.split(text)
    return parts[1] if len(parts) == 3 else text


def main() -> int:
    """Write the text."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    if len(sys.argv) == 3:
        source = pathlib.Path(sys.argv[2])
        if not source.is_file():
            print(f"FILE = {str(source)!r}: must be a text file", file=sys.stderr)
            return 2
        text = from_file(source.read_text(encoding="utf-8"))
    else:
        program = shutil.which("bible")
        if program is None:
            print("bible: not installed; apt-get install bible-kjv, or name a FILE", file=sys.stderr)
            return 2
        text = from_verses(
            subprocess.run([program, "-f", EVERYTHING], check=True, capture_output=True, text=True).stdout
        )
    pathlib.Path(sys.argv[1]).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
