"""The manifest of a record: the SHA-256 of everything that is written, so that a changed byte is found.

    RECORD/manifest.jsonl     {"path": P, "files": {name: [bytes, SHA-256]}, "chain": C_i} on line i
    C_i = SHA-256(C_{i-1}, line i without C_i), and C_0 is empty: a changed, removed or moved line breaks the chain.

P is a file, or a folder that is written as a whole, such as a checkpoint; names are relative to the record. A later
line of the same P replaces the earlier one. Before P is written it has a line whose `files` is null, and after it the
line with its files: what was being written when a process was killed is known, and nothing else may be missing. A last
line that was cut off is dropped when the next one is added.

The journals of a sweep are chained in the same way, one by one, and their lines carry the SHA-256 of the results that
they speak of. They grow while others read them, so that the manifest has them up to the bytes that they had.

Not covered: figures, the report and the wandb mirror, which are drawn from the record, and who works on a sweep now.
The manifest tells accidents, not forgers, who could write it anew.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from dynamics.config import ConfigError

# The format of records, runs and sweeps alike: another number when those of the number before are read differently.
FORMAT = 1
NAME = "manifest.jsonl"
NOT_COVERED = {
    NAME,
    "figures",
    "report.html",
    "wandb",
    "workers",
    "claims",
    ".clock",
    ".lock",
}  # at the top of a record
ROWS = "parts"  # the folder of results, which count when a journal speaks of them
LATER = "probes"  # the folder of what is written after a run has ended
GROWING = "journal"  # the folder of files that grow
Files = dict[str, tuple[int, str]]  # {name: (bytes, SHA-256)}


class Findings(NamedTuple):
    """What is wrong with a record, and what is only said; one line each."""

    damaged: list[str]
    notes: list[str]


def check_format(folder: pathlib.Path) -> None:
    """Refuse a record that this version cannot read.

    Raises:
        ConfigError: naming the format found and the one that is read.
    """
    path = folder / "provenance.json"
    try:
        found = json.loads(path.read_text()).get("format") if path.is_file() else None
    except (ValueError, AttributeError):
        raise ConfigError("record", str(folder), "has a damaged provenance.json") from None
    if found != FORMAT:
        what = "no format version, as records of older versions" if found is None else f"format {found}"
        raise ConfigError("record", str(folder), f"has {what}; this version reads format {FORMAT}")


class Manifest:
    """The manifest of one record; several threads and processes may add to it."""

    def __init__(self, folder: pathlib.Path):
        """The manifest of the record in a folder; the file is made with its first line."""
        self.folder = folder

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[None]:
        """List a path as being written, and at the end, also after an error, what is there.

        Raises:
            OSError: when the disk is full.
        """
        self.begin(path)
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to be seen
                self.add(path)
            raise
        self.add(path)

    def begin(self, path: str) -> None:
        """List a path as being written."""
        self._append({"path": path, "files": None})

    def add(self, path: str) -> None:
        """List what is at a path, which may be nothing."""
        self._append({"path": path, "files": hashes(self.folder, path)})

    def announce(self, path: str, content: bytes) -> None:
        """List a file with its next content, before this content replaces the old one as a whole.

        A process that is killed in between leaves a line of what is not there yet, and before it the line of what is.
        """
        self._append({"path": path, "files": {path: _entry(content)}})

    def settle(self) -> None:
        """List what is at the paths that a process was writing when it was killed: the old, the new, or nothing."""
        lines, _, _ = read_chained(self.folder / NAME, NAME)
        for path, files in _latest(lines).items():
            if files is None:
                self.add(path)

    def _append(self, line: Mapping[str, Any]) -> None:
        with (self.folder / NAME).open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            whole = text.rfind(b"\n") + 1
            last = text[:whole].rsplit(b"\n", 2)[-2:-1]
            file.truncate(whole)
            with all_or_nothing(file):
                file.write(chained([line], _chain_of(last[0]) if last else "")[0])


@contextlib.contextmanager
def all_or_nothing(file: BinaryIO) -> Iterator[None]:
    """Append to a file, or leave it as it was when there is an error."""
    before = file.seek(0, os.SEEK_END)
    try:
        yield
        file.flush()
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise


def chained(lines: Sequence[Mapping[str, Any]], before: str) -> tuple[bytes, str]:
    """Lines as text, each with the hash over itself and the one before, and the last of these hashes."""
    texts = []
    for line in lines:
        before = _link(before, line)
        texts.append(json.dumps({**line, "chain": before}, ensure_ascii=False) + "\n")
    return "".join(texts).encode(), before


def _link(before: str, line: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{before}{json.dumps(line, ensure_ascii=False)}".encode()).hexdigest()


def _chain_of(line: bytes) -> str:
    with contextlib.suppress(ValueError, TypeError, KeyError):  # a damaged line breaks the chain, which is then seen
        return str(json.loads(line)["chain"])
    return ""


def read_chained(file: pathlib.Path, name: str) -> tuple[list[dict[str, Any]], list[str], bool]:
    """The lines of a chained file, what is wrong with them, and whether the last one was cut off."""
    *texts, rest = file.read_bytes().split(b"\n")
    lines, damaged, before = [], [], ""
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            chain = line.pop("chain")
            # The text, too: another way to write the same value is another byte.
            whole = chained([line], before)[0] == text + b"\n"
            lines.append(line)
        except (ValueError, AttributeError, TypeError, KeyError):
            chain, whole = "", False
        if not whole:
            damaged.append(f"{name}: line {number} was changed, or one before it was removed or moved")
        before = chain
    return lines, damaged, bool(rest)


def hashes(folder: pathlib.Path, path: str) -> Files:
    """{name: (bytes, SHA-256)} of the files at a path of a record, by name; {} if there is nothing."""
    return {name: _hash(folder / name) for name in _names(folder, folder / path)}


def _names(folder: pathlib.Path, top: pathlib.Path) -> list[str]:
    files = [top] if top.is_file() else [p for p in top.rglob("*") if p.is_file()]
    return sorted(p.relative_to(folder).as_posix() for p in files)


def _hash(file: pathlib.Path, most: int | None = None) -> tuple[int, str]:
    """The size of a file and its SHA-256, of its first bytes only if their number is given."""
    return _entry(file.read_bytes()[:most])


def _entry(content: bytes) -> tuple[int, str]:
    return len(content), hashlib.sha256(content).hexdigest()


def not_replaced(folder: pathlib.Path, path: str, begun: bool) -> Files:
    """{path: what is there} if the last thing that a process did was to announce another content; else {}.

    Args:
        folder: of the record.
        path: of a file that is announced before it is replaced.
        begun: whether a content counts as well that was listed as being written.
    """
    lines = read_chained(folder / NAME, NAME)[0] if (folder / NAME).is_file() else []
    listed = [line["files"] for line in lines if line.get("path") == path]
    if len(listed) < 2 or lines[-1].get("path") != path or listed[-1] is None:
        return {}
    now, before = hashes(folder, path), listed[-2]
    is_old = begun if before is None else {name: tuple(entry) for name, entry in before.items()} == now
    return now if is_old and tuple(listed[-1][path]) != now.get(path) else {}


def check_files(
    folder: pathlib.Path,
    ended: bool,
    elsewhere: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    gone: Collection[str] = (),
) -> Findings:
    """Compare every byte of a record with its manifest.

    Args:
        folder: of the record.
        ended: whether its process came to its end, and so wrote the manifest to its end.
        elsewhere: {name: (bytes, SHA-256)} of files that are listed in other places than the manifest.
        gone: names of files that have been of use, and may be missing.
    """
    if not (folder / NAME).is_file():
        return Findings([f"{NAME}: is missing"], [])
    lines, damaged, cut_off = read_chained(folder / NAME, NAME)
    if cut_off and ended:
        damaged.append(f"{NAME}: its last line was cut off")
    paths = _latest(lines)
    listed = {name: tuple(entry) for files in paths.values() for name, entry in (files or {}).items()}
    listed |= {name: tuple(entry) for name, entry in elsewhere.items()}
    open_paths = [path for path, files in paths.items() if files is None and path not in gone]
    found = {
        name: _hash(folder / name, listed[name][0] if name in listed and name.startswith(f"{GROWING}/") else None)
        for name in _names(folder, folder)
        if name.partition("/")[0] not in NOT_COVERED
    }
    of_content = {entry: name for name, entry in listed.items()}
    notes = []
    for name, entry in listed.items():
        if name not in found:
            damaged += [] if name in gone else [f"{name}: is missing"]
        elif found[name] != entry:
            other = of_content.get(found[name])
            size = f"has {found[name][0]} bytes instead of {entry[0]}" if found[name][0] != entry[0] else "was changed"
            damaged.append(f"{name}: {f'has the content of {other}' if other else size}")
    for path in open_paths:
        line = f"{path}: was being written when the process ended"
        is_over = ended and not path.startswith(f"{LATER}/")
        damaged.append(f"{NAME}: the line that ends {path} is missing") if is_over else notes.append(line)
    for name in found.keys() - listed.keys():
        of_open = any(name == path or name.startswith(f"{path}/") for path in open_paths)
        if _is_partial(name):
            notes.append(f"{name}: is left of a write that was cut off")
        elif name.startswith(f"{ROWS}/"):
            notes.append(f"{name}: no journal speaks of it; its process ended before it did")
        elif not of_open:
            damaged.append(f"{name}: is not listed in the manifest")
    return Findings(sorted(damaged), sorted(notes))


def _latest(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{path: its files, or None while it is being written}; lines that are damaged are left out."""
    return {line["path"]: line["files"] for line in lines if line.keys() == {"path", "files"}}


def _is_partial(name: str) -> bool:
    """Whether a file belongs to something that did not get its final name."""
    return any(".partial" in part or ".orbax-checkpoint-tmp" in part for part in name.split("/"))
