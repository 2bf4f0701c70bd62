"""Damage records at random, and count how often `dynamics verify` finds the damage and names the file.

    python -m experiments.reliability.flips --count=1000

A run and a sweep are made, with smoke configs. Every trial changes one file or exchanges two, looks, and puts them
back: bits and bytes are flipped, files are cut, removed or exchanged, and lines of the manifest and of journals are
removed or exchanged.
"""

import argparse
import collections
import contextlib
import pathlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator

import dynamics.cli
from dynamics.runs.manifest import NAME, NOT_COVERED, Findings
from dynamics.runs.verify import check_run
from dynamics.sweeps.verify import check_sweep

ROOT = pathlib.Path(__file__).parents[2]
RECORDS = {
    "run": (["run", f"--config={ROOT}/configs/cooccurrence/figure1.py:smoke"], check_run),
    "sweep": (["sweep", f"--config={ROOT}/configs/attention/sweep_parts.py:smoke"], check_sweep),
}
Check = Callable[[pathlib.Path], Findings]


def flip_bit(content: bytes, chance: random.Random) -> bytes:
    """One bit of the file."""
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def flip_byte(content: bytes, chance: random.Random) -> bytes:
    """Another value of one byte."""
    place = chance.randrange(len(content))
    return content[:place] + bytes([(content[place] + chance.randrange(1, 256)) % 256]) + content[place + 1 :]


def cut(content: bytes, chance: random.Random) -> bytes:
    """The file without its end."""
    return content[: chance.randrange(len(content))]


def remove_line(content: bytes, chance: random.Random) -> bytes:
    """The file without one of its lines."""
    lines = content.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def exchange_lines(content: bytes, chance: random.Random) -> bytes:
    """Two lines of the file, each in the other's place; a file of one line is emptied."""
    lines = content.splitlines(keepends=True)
    if len(lines) < 2:
        return b""
    i, j = chance.sample(range(len(lines)), 2)
    lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


OF_ANY_FILE = (flip_bit, flip_byte, cut)
OF_LINES = (remove_line, exchange_lines)


@contextlib.contextmanager
def replaced(path: pathlib.Path, content: bytes | None) -> Iterator[None]:
    """Another content of a file, or no file; the old one at the end."""
    before = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def covered(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of a record that the manifest answers for, and itself."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size)
    return [path for path in files if path.relative_to(folder).parts[0] not in NOT_COVERED - {NAME}]


def trial(folder: pathlib.Path, check: Check, kind: str, chance: random.Random) -> tuple[str, bool]:
    """Damage one file; what was done to which file, and whether that was found and the file named."""
    files = covered(folder)
    with contextlib.ExitStack() as stack:
        if kind == "exchange":
            one, other = chance.sample(files, 2)
            if one.read_bytes() == other.read_bytes():
                return trial(folder, check, kind, chance)
            contents = one.read_bytes(), other.read_bytes()
            stack.enter_context(replaced(one, contents[1]))
            stack.enter_context(replaced(other, contents[0]))
            damaged = [one, other]
        else:
            damage = {change.__name__: change for change in (*OF_ANY_FILE, *OF_LINES)}.get(kind)
            chained = [path for path in files if path.suffix == ".jsonl"]
            one = chance.choice(chained if damage in OF_LINES else files)
            content = damage(one.read_bytes(), chance) if damage else None
            stack.enter_context(replaced(one, content))
            damaged = [one]
        lines = check(folder).damaged
    names = [path.relative_to(folder).as_posix() for path in damaged]
    # A manifest that lacks a line speaks of the file of that line.
    named = all(any(line.startswith(f"{name}: ") for line in lines) for name in names if name != NAME)
    return f"{kind} {' '.join(names)}", bool(lines) and named


KINDS = (*(change.__name__ for change in (*OF_ANY_FILE, *OF_LINES)), "remove", "exchange")


def trials(folder: pathlib.Path, check: Check, count: int, chance: random.Random) -> tuple[dict[str, int], list[str]]:
    """Try as often; {kind: how often}, and what was not found."""
    tried: collections.Counter[str] = collections.Counter()
    missed = []
    for number in range(count):
        # Two thirds are single bits and bytes.
        kind = chance.choice(("flip_bit", "flip_byte")) if number % 3 else chance.choice(KINDS)
        what, found = trial(folder, check, kind, chance)
        tried[kind] += 1
        missed += [] if found else [what]
    return dict(tried), missed


def main() -> None:
    """Make the records, damage them, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="of trials, half of them on each record; default: 1000")
    parser.add_argument("--seed", type=int, default=0, help="of what is damaged; default: 0")
    arguments = parser.parse_args()
    chance, all_missed = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as workdir:
        for name, (command, check) in RECORDS.items():
            ended = dynamics.cli.main(["dynamics", *command, f"--workdir={workdir}", f"--name={name}"])
            folder, begin = pathlib.Path(workdir) / name, time.perf_counter()
            assert ended == 0
            assert not check(folder).damaged
            tried, missed = trials(folder, check, arguments.count // len(RECORDS), chance)
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tried.items()))
            print(f"{name}: tried {sum(tried.values())}, found {sum(tried.values()) - len(missed)}", end=" ")
            print(f"in {time.perf_counter() - begin:.0f} s ({kinds})")
            print(*(f"not found: {what}" for what in missed), sep="\n", end="\n" if missed else "")
            all_missed += len(missed)
    raise SystemExit(int(all_missed > 0))


if __name__ == "__main__":
    main()
