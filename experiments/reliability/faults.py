"""Faults of disks, clocks, devices, files and wandb: a run or a sweep survives each, or says in one line what is wrong.

    python -m experiments.reliability.faults [--flips=20]

Every fault is a function of a folder to work in and returns what was seen; a fault that is survived is one after which
the work is done, or has failed with the reason in its record and one line for the user, and no number is wrong.
"""

import argparse
import contextlib
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np

import dynamics
from dynamics.runs import engine, tracking
from experiments.reliability.acts import CONFIG, Said, act, command, content, same

SURVIVED, FAILED = True, False
BLOCKED_S = 3.0  # a wandb that hangs may hold up the end of a run for so long here


class Result(NamedTuple):
    """What was seen of a fault."""

    name: str
    survived: bool
    seen: str


def failed_in_one_line(said: Said, path: pathlib.Path) -> tuple[bool, str]:
    """One line for the user; a record that exists says that the work failed and why, or is a sweep that can go on."""
    seen = said.error or "; ".join(said.lines) or f"exit code {said.code}"
    if (path / "status.json").exists():
        record = dynamics.load(path)
        seen += f"; recorded: {record.state}"
        return said.in_one_line and record.state == "failed", seen
    return said.in_one_line, seen


@contextlib.contextmanager
def _mounted(folder: pathlib.Path, options: str) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """A disk of a few pages, if this user may mount one."""
    try:
        with _mounted(folder / "work", "size=96k"):
            return failed_in_one_line(act(what, folder), folder / "work" / "x")
    except subprocess.CalledProcessError:
        return SURVIVED, "not tried: this user cannot mount a small disk"


def read_only_folder(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """A folder in which nothing can be written."""
    try:
        with _mounted(folder / "work", "ro,size=96k"):
            return failed_in_one_line(act(what, folder), folder / "work" / "x")
    except subprocess.CalledProcessError:
        return SURVIVED, "not tried: this user cannot mount a small disk"


def clock_going_backwards(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """Every look at the clock gives an earlier time."""
    begin, looks = time.time(), iter(range(10**9))
    earlier = mock.Mock(side_effect=lambda: begin - 60.0 * next(looks))
    with mock.patch.object(time, "time", earlier):
        said = act(what, folder)
    read = content(folder / "work" / "x")
    return said.code == 0 and bool(read), f"exit code {said.code}, {len(read)} arrays {said.error}"


def lost_device(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """The second call of a program raises what jax raises when a device is gone; the next launch does the rest."""
    stretch, calls = engine.Program.stretch, iter(range(10**9))

    def lost(*inputs: Any) -> Any:
        if next(calls) == 1:
            raise jax.errors.JaxRuntimeError("INTERNAL: device is lost\nand more lines")
        return stretch(*inputs)

    with mock.patch.object(engine.Program, "stretch", lost):
        said = act(what, folder)
    if what == "run":
        return failed_in_one_line(said, folder / "work" / "x")
    again = act(what, folder)
    return again.code == 0 and not said.error, f"exit code {said.code}, then {again.code} {said.error}"


def two_processes(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """Two at a time with one folder: the second run says so, two sweeps share the work."""
    (folder / "tiny.py").write_text(CONFIG)
    words = [sys.executable, "-P", "-m", "dynamics", what, f"--config={folder / 'tiny.py'}", "--name=x"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [
        subprocess.Popen(
            [*words, f"--workdir={folder / 'work'}"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        for _ in range(2)
    ]
    errors = [process.communicate()[1].decode() for process in both]
    codes = sorted(process.returncode for process in both)
    lines = [line for text in errors for line in text.splitlines() if "; choose another" in line]
    traces = sum("Traceback" in text for text in errors)
    read = content(folder / "work" / "x")
    good = codes == ([0, 2] if what == "run" else [0, 0]) and not traces and len(lines) == (what == "run")
    return good and bool(read), f"exit codes {codes}, {' '.join(lines)[-120:]} {traces} tracebacks"


def _wandb(what: str, folder: pathlib.Path, mode: str, *patches: Any) -> tuple[bool, str]:
    with contextlib.ExitStack() as stack:
        for patch in (*patches, mock.patch.object(tracking, "PATIENCE_S", BLOCKED_S)):
            stack.enter_context(patch)
        begin = time.monotonic()
        said = act(what, folder, mode)
        seconds = time.monotonic() - begin
    read = content(folder / "work" / "x")
    return said.code == 0 and bool(read), f"exit code {said.code} after {seconds:.1f} s {said.error}"


def wandb_absent(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """It is not installed."""
    return _wandb(what, folder, "offline", mock.patch.dict(sys.modules, {"wandb": None}))


def wandb_broken(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """It raises, and it ends the process, as some of its errors do."""
    refuse = mock.Mock(side_effect=SystemExit(1) if what == "run" else RuntimeError("no quota"))
    return _wandb(what, folder, "offline", mock.patch("wandb.init", refuse))


def wandb_hanging(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """It never answers."""
    forever = threading.Event()
    return _wandb(what, folder, "offline", mock.patch("wandb.init", mock.Mock(side_effect=lambda **_: forever.wait())))


def wandb_without_network(what: str, folder: pathlib.Path) -> tuple[bool, str]:
    """Its server is not reached."""
    nowhere = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_MODE": ""}
    return _wandb(what, folder, "online", mock.patch.dict(os.environ, nowhere))


def _read(path: pathlib.Path, good: dict[str, np.ndarray]) -> tuple[bool, str]:
    """Whether a damaged record still gives the right numbers or says what is damaged, and a text on what it did."""
    shown = command("show", str(path))
    if shown.error:
        return FAILED, f"show: {shown.error}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = content(path)
    except dynamics.ConfigError as error:
        return "damaged" in str(error), "named"
    except Exception as error:
        # The arrays of xarray are read when they are used, outside of this library.
        return "checksum" in str(error), "checksum" if "checksum" in str(error) else f"{type(error).__name__}: {error}"
    if same(read, good):
        return SURVIVED, "the same numbers"
    # A sweep whose journal has lost a line has nan there, and the status of those members is "interrupted".
    known = {key: array for key, array in good.items() if key in read and array.shape == read[key].shape}
    left_out = {key: np.where(np.isnan(read[key]), array, read[key]) for key, array in known.items()}
    said = "interrupted" in shown.printed and same(left_out, known)
    return said, "paths are left out, and said to be interrupted" if said else "a wrong number without a word"


def damaged(what: str, folder: pathlib.Path, flips: int, every: int = 1) -> list[Result]:
    """Truncate files of a finished record, all or one of `every`, and flip random bits of those that hold numbers."""
    act(what, folder)
    whole = folder / "work" / "x"
    good, generator, results = content(whole), random.Random(0), []
    files = sorted(path for path in whole.rglob("*") if path.is_file() and path.stat().st_size > 0)
    numbers = [path for path in files if {"c", "d"} & set(path.parts) or path.suffix == ".npz"]
    for path in files[::every]:
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        results.append(Result(f"{what}: truncated {path.relative_to(whole)}", *_read(whole, good)))
        path.write_bytes(raw)
    for _ in range(flips):
        path = generator.choice(numbers)
        raw = path.read_bytes()
        changed = bytearray(raw)
        changed[generator.randrange(len(raw))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        results.append(Result(f"{what}: a flipped bit of {path.relative_to(whole)}", *_read(whole, good)))
        path.write_bytes(raw)
    return results


FAULTS: tuple[Callable[[str, pathlib.Path], tuple[bool, str]], ...] = (
    full_disk,
    read_only_folder,
    clock_going_backwards,
    lost_device,
    two_processes,
    wandb_absent,
    wandb_broken,
    wandb_hanging,
    wandb_without_network,
)


def tried(fault: Callable[[str, pathlib.Path], tuple[bool, str]], what: str) -> Result:
    """One fault of "run" or of "sweep", in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        return Result(f"{what}: {fault.__name__.replace('_', ' ')}", *fault(what, pathlib.Path(folder)))


def main(words: list[str]) -> int:
    """Try all faults and print what was seen; 1 if one was not survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=20)
    flips = parser.parse_args(words).flips
    results = []
    for what in ("run", "sweep"):
        results += [tried(fault, what) for fault in FAULTS]
        with tempfile.TemporaryDirectory() as folder:
            results += damaged(what, pathlib.Path(folder), flips)
    for result in results:
        print(f"{'survived' if result.survived else 'FAILED'} {result.name}: {result.seen}", flush=True)
    print(f"faults tried {len(results)} / survived {sum(result.survived for result in results)}")
    return int(not all(result.survived for result in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
