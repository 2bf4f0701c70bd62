"""Commands on a small config, given in this process: what they say, and the numbers that they record."""

import contextlib
import io
import pathlib
import traceback
import warnings
from typing import NamedTuple

import jax
import numpy as np

import dynamics
import dynamics.cli

CONFIG = """
import dynamics

def get_config(mode="disabled"):
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}
    config.init = {"name": "normal", "std": 0.3, "std_of": {"W": 0.3}}
    config.laws = {"flow": {"name": "flow"}, "gd": {"name": "gd", "learning_rate": 0.05}}
    config.times.update(start=0.05, stop=2.0, count=8)
    config.update(words=6, checkpoints=2, probes=("loss", "scores"))
    config.wandb.mode = mode
    return config

def get_sweep(mode="disabled"):
    return dynamics.seeds(3)
"""


class Said(NamedTuple):
    """What a command did.

    Attributes:
        code: its exit code.
        lines: what it wrote to standard error, without progress and warnings.
        printed: what it wrote to standard output.
        error: the type of an exception that it raised, or an empty text.
    """

    code: int
    lines: list[str]
    printed: str
    error: str

    @property
    def in_one_line(self) -> bool:
        """Whether it ended with one line that says why."""
        return not self.error and self.code in (1, 2) and len(self.lines) == 1


def command(*words: str) -> Said:
    """Run a command in this process."""
    streams, error = (io.StringIO(), io.StringIO()), ""
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = dynamics.cli.main(["dynamics", *words])
        except Exception as raised:
            code, error = 1, type(raised).__name__
            place = traceback.extract_tb(raised.__traceback__)[-1]
            error += f" at {pathlib.Path(place.filename).name}:{place.lineno}"
    lines = [line for line in streams[1].getvalue().splitlines() if line.startswith("dynamics: ")]
    return Said(code, lines, streams[0].getvalue(), error)


def act(what: str, folder: pathlib.Path, mode: str = "disabled") -> Said:
    """Run or sweep the small config in folder/work/NAME."""
    file = folder / "tiny.py"
    if not file.exists():
        file.write_text(CONFIG)
    return command(what, f"--config={file}:{mode}", f"--workdir={folder / 'work'}", "--name=x", "--no-report")


def content(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All numbers of the record of a run or of a sweep.

    Raises:
        Exception: for what cannot be read.
    """
    record = dynamics.load(path)
    numbers = {f"{law}/{name}": array.values for law in record.laws for name, array in record[law].data_vars.items()}
    if isinstance(record, dynamics.Record):
        for law in record.laws:
            for t in record.checkpoints(law):
                leaves = jax.tree.leaves(record.params(law, t))
                numbers |= {f"{law}/params/{t}/{i}": leaf for i, leaf in enumerate(leaves)}
    return {name: array for name, array in numbers.items() if array.dtype.kind == "f" and not name.endswith("seconds")}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two records have the same numbers, bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key], equal_nan=True) for key in one)
