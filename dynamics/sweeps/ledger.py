"""Who runs which path of a sweep, and how it ended; safe when processes die and when machines share only a folder.

    SWEEP/workers/NAME         a process: touched while it lives, and locked
    SWEEP/claims/ID.N          a link to the worker that made the Nth attempt at a path
    SWEEP/journal/NAME.jsonl   how attempts ended, a line each

A link is made in one step or not at all, and only one process can make it, so that no path is integrated twice at a
time. An attempt that has neither an outcome nor a living worker is interrupted, and its path can be claimed again.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import platform
import secrets
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dynamics.files import read_json
from dynamics.runs.manifest import chained

STATES = ("waiting", "running", "done", "failed", "diverged", "interrupted")
FINISHED = ("done", "diverged")  # outcomes of the config; run again on request only
BEAT_S, STALE_S = 5.0, 60.0  # a worker touches its file that often; on another machine it is dead after so long without


class Entry(NamedTuple):
    """The state of a path, or of a member, in the ledger.

    Attributes:
        state: one of STATES.
        attempts: made so far.
        line: of the journal: reason, seconds, host, numbers, where its rows are; empty until it has ended.
    """

    state: str
    attempts: int
    line: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """One line, empty when there is nothing to say."""
        return self.line.get("reason", "")


class Ledger:
    """The ledger in a sweep folder."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.workers, self.claims, self.journal = folder / "workers", folder / "claims", folder / "journal"

    def create(self) -> None:
        """Make its folders where they are missing."""
        for path in (self.workers, self.claims, self.journal):
            path.mkdir(parents=True, exist_ok=True)

    def entries(self, ids: Iterable[str], now: float | None = None) -> dict[str, Entry]:
        """The entry of every id; `now` is the time of the file server, measured if it is not given."""
        now = self._now() if now is None else now
        attempts: dict[str, int] = {}
        with os.scandir(self.claims) as claims:
            for claim in claims:
                path, _, number = claim.name.rpartition(".")
                attempts[path] = max(attempts.get(path, 0), int(number))
        outcomes = {(line["id"], line["attempt"]): line for line in self.lines()}
        finished = {path: attempt for (path, attempt), line in outcomes.items() if line["state"] in FINISHED}
        living: dict[str, bool] = {}
        entries = {}
        for path in ids:
            attempt = attempts.get(path, 0)
            line = outcomes.get((path, attempt))
            if line is None and path in finished:  # it was claimed again by a worker that took its worker for dead
                line = outcomes[path, finished[path]]
            if attempt == 0:
                entries[path] = Entry("waiting", 0, {})
            elif line is not None:
                entries[path] = Entry(line["state"], attempt, line)
            else:
                name = os.readlink(self.claims / f"{path}.{attempt}")
                if name not in living:
                    living[name] = self._lives(name, now)
                host = {"host": name.rpartition("-")[0].rpartition("-")[0]}
                lost = {**host, "reason": "its process is gone"}
                entries[path] = Entry(*(("running", attempt, host) if living[name] else ("interrupted", attempt, lost)))
        return entries

    def lines(self) -> list[dict[str, Any]]:
        """The lines of all journals; a last line that was cut off is left out.

        A line that is damaged is left out with a warning: its paths count as interrupted, and are integrated again.
        """
        lines = []
        for path in sorted(self.journal.iterdir()):
            *complete, _ = path.read_bytes().split(b"\n")
            for number, line in enumerate(complete):
                try:
                    found = json.loads(line)
                    lines.append({**found, **{key: found[key] for key in ("id", "attempt", "state")}})
                except (KeyError, TypeError, ValueError):
                    warnings.warn(f"line {number + 1} of {path} is damaged; its paths will run again", stacklevel=1)
        return lines

    def size(self) -> int:
        """The total size of the journals in bytes. It grows whenever a path ends."""
        return sum(path.stat().st_size for path in self.journal.iterdir())

    def _now(self) -> float:
        """The time on the machine that stamps the workers' files, since clocks differ."""
        path = self.folder / ".clock"
        try:
            path.touch()
            return path.stat().st_mtime
        except PermissionError:
            return time.time()

    def _lives(self, name: str, now: float) -> bool:
        path = self.workers / name
        try:
            if json.loads(path.read_text())["machine"] == _machine():
                with path.open() as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False  # a living worker holds the lock
            return now - path.stat().st_mtime < STALE_S
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False


class Worker:
    """This process, as one that integrates paths; a context manager. Its claims end with it."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self.host = platform.node()
        self.name = f"{self.host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._path = ledger.workers / self.name
        self._journal = ledger.journal / f"{self.name}.jsonl"
        self._chain = ""  # see dynamics.runs.manifest
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Worker":
        beside = self._path.with_name(f".{self.name}")
        beside.write_text(json.dumps({"machine": _machine(), "pid": os.getpid()}))
        self._file = beside.open()
        fcntl.flock(self._file, fcntl.LOCK_EX)
        beside.rename(self._path)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()
        self._path.unlink(missing_ok=True)  # so that other machines see its end at once
        self._file.close()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def claim(self, path: str, attempt: int) -> bool:
        """Claim an attempt; returns False if another worker has it."""
        try:
            os.symlink(self.name, self._ledger.claims / f"{path}.{attempt}")
        except FileExistsError:
            return False
        return True

    def owns(self, path: str, attempt: int) -> bool:
        """Whether no other worker took this one for dead and made a later attempt."""
        return not os.path.lexists(self._ledger.claims / f"{path}.{attempt + 1}")

    def commit(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write outcomes, all of them or none; from then on they count.

        Raises:
            OSError: when the disk is full; nothing is written.
        """
        stamp = {"host": self.host, "worker": self.name, "time": time.time()}
        text, chain = chained([{**line, **stamp} for line in lines], self._chain)
        handle = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            before = os.fstat(handle).st_size
            try:
                written = os.write(handle, text)
                if written < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._journal))
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, before)
                raise
            self._chain = chain
        finally:
            os.close(handle)


# A member's state is the first of these that one of its paths has.
PRECEDENCE = ("running", "interrupted", "waiting", "failed", "diverged", "done")


class Members(NamedTuple):
    """The paths that the members of a folder need; see dynamics.sweeps.paths.Plan.

    Attributes:
        paths: {id of a member: {law: id of its path}}.
        refused: {id of a member: why it cannot run}; the ledger has an entry for it under the member's own id.
    """

    paths: Mapping[str, Mapping[str, str]]
    refused: Mapping[str, str]

    @property
    def ids(self) -> list[str]:
        """The ids in the ledger: those of all paths, and of the members that are refused."""
        return [*dict.fromkeys(path for paths in self.paths.values() for path in paths.values()), *self.refused]

    def id_of(self, member: str, law: str) -> str:
        """The id in the ledger of one law of a member."""
        return member if member in self.refused else self.paths[member][law]

    def entries(self, of_paths: Mapping[str, Entry]) -> dict[str, Entry]:
        """The entry of every member."""
        return {member: self._entry(member, of_paths) for member in self.paths}

    def _entry(self, member: str, of_paths: Mapping[str, Entry]) -> Entry:
        if member in self.refused:
            return of_paths[member]
        entries = {law: of_paths[path] for law, path in self.paths[member].items()}
        state = min((entry.state for entry in entries.values()), key=PRECEDENCE.index)
        reasons = {law: entry.reason for law, entry in entries.items() if entry.state != "done" and entry.reason}
        line: dict[str, Any] = {
            "reason": "; ".join(f"{law}: {reason}" for law, reason in reasons.items()),
            "laws": {law: entry.line["numbers"] for law, entry in entries.items() if "numbers" in entry.line},
        }
        seconds = [entry.line["seconds"] for entry in entries.values() if "seconds" in entry.line]
        line |= {"seconds": sum(seconds)} if seconds else {}
        hosts = list(dict.fromkeys(entry.line["host"] for entry in entries.values() if "host" in entry.line))
        line |= {"host": " ".join(hosts)} if hosts else {}
        return Entry(state, max(entry.attempts for entry in entries.values()), line)

    def ended(self, lines: Iterable[Mapping[str, Any]], before: set[str]) -> list[str]:
        """The members whose last path ended with these lines of the journal; the new ids are added to `before`."""
        new = {line["id"] for line in lines} - before
        before |= new
        needed = {member: self.ids_of(member) for member in self.paths}
        return [member for member, ids in needed.items() if ids <= before and ids & new]

    def ids_of(self, member: str) -> set[str]:
        """The ids in the ledger of all laws of a member."""
        return {member} if member in self.refused else set(self.paths[member].values())


def read_members(folder: pathlib.Path) -> Members:
    """The members of a sweep folder."""
    content = read_json(folder / "sweep.json")
    return Members(content["paths"], content["refused"])


def entries_of(folder: pathlib.Path) -> dict[str, Entry]:
    """The entry of every member of a sweep folder."""
    members = read_members(folder)
    return members.entries(Ledger(folder).entries(members.ids))


def is_full(error: OSError) -> bool:
    """Whether a disk or a quota is full, or a file has reached its largest size."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _machine() -> str:
    """This machine since it was started; locks tell about processes of the same machine only."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
    return f"{platform.node()} {boot.read_text().strip() if boot.exists() else ''}"
