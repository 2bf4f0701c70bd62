"""A copy of the record in wandb, called a mirror; offline and silent unless the config says online.

A thread writes it during the solves. A failure gives one warning and ends the mirror, never the run: the record on disk
is the truth. No other module imports wandb.
"""

import pathlib
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dynamics.probes import PROBES

IMAGE_PIXELS = 128
PATIENCE_S = 60.0  # longest wait for a mirror to end
LEAST_S = 5.0  # shortest wait, in which wandb can start and close a run
FEW = 50  # up to so many members have a wandb run each


class Shown(NamedTuple):
    """The part of a trajectory that is copied to wandb.

    Attributes:
        t: saved times.
        arrays: {probe: (dimension names, values)}, dimension t first.
        coordinates: {dimension: labels}; entries of other dimensions are numbered.
        named_words: scalars are logged for this many entries of "key", "query" and "word"; pictures show all.
    """

    t: Any
    arrays: Mapping[str, tuple[tuple[str, ...], np.ndarray]]
    coordinates: Mapping[str, list[Any]]
    named_words: int


class _Mirror:
    """A queue of calls to wandb that a thread of its own makes; after the first failed call it warns once and stops."""

    def __init__(self, enabled: bool):
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._mirror, daemon=True)
        if enabled:
            self._thread.start()

    def _mirror(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
        except Exception as error:
            warnings.warn(f"wandb stopped, the run goes on: {type(error).__name__}: {error}", stacklevel=1)

    def _end(self, last: Callable[[], None], patience_s: float) -> bool:
        """Do `last` after all other work; returns False on timeout."""
        if self._thread.is_alive():
            self._work.put(last)
            self._work.put(None)
            self._thread.join(patience_s)
        return not self._thread.is_alive()


def _opened(settings: Mapping[str, Any], folder: pathlib.Path, name: str, group: str, config: Mapping[str, Any]) -> Any:
    """A new wandb run whose metrics are functions of t."""
    import wandb

    # For the whole process: with the mode of a run alone, wandb would report on itself over the network, also offline.
    wandb.setup(wandb.Settings(mode=settings["mode"]))
    run = wandb.init(
        project=settings["project"],
        group=group or None,
        name=name,
        dir=folder,
        mode=settings["mode"],
        config=dict(config),
        reinit="create_new",
        settings=wandb.Settings(
            silent=True,
            console="off",
            init_timeout=20,
            disable_git=True,
            x_disable_stats=True,
            x_save_requirements=False,  # of all installed packages; the record has the versions that matter
        ),
    )
    run.define_metric("t")
    run.define_metric("*", step_metric="t")
    return run


class Tracker(_Mirror):
    """One wandb run for one run folder. Every method returns at once, except `finish`, which waits for the mirror."""

    def __init__(self, settings: Mapping[str, Any], folder: pathlib.Path, config: Mapping[str, Any]):
        super().__init__(settings["mode"] != "disabled")
        self._work.put(lambda: self._start(settings, folder, config))

    def _start(self, settings: Mapping[str, Any], folder: pathlib.Path, config: Mapping[str, Any]) -> None:
        self._run = _opened(settings, folder, folder.name, settings["group"], config)

    def trajectory(self, law: str, shown: Shown, images: Iterable[int]) -> None:
        """Log the saved times of a law: all probes as scalars, and probes that are images also as pictures.

        Args:
            law: the prefix of every metric.
            shown: the times and probes.
            images: indices into t at which pictures are made.
        """
        self._work.put(lambda: _log(self._run, law, shown, set(images)))

    def figures(self, paths: Iterable[pathlib.Path]) -> None:
        """Add finished pictures."""

        def add() -> None:
            import wandb

            self._run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in paths})

        self._work.put(add)

    def finish(self, summary: Mapping[str, Any], failed: bool) -> None:
        """Close the wandb run with the numbers that `dynamics show` prints."""

        def close() -> None:
            self._run.summary.update(dict(summary))
            self._run.finish(exit_code=int(failed))

        self._end(close, PATIENCE_S)


class SweepTracker(_Mirror):
    """One wandb group for one sweep: a wandb run for each member, or one with a table of all members.

    At the end the sweep waits for it at most as long as the members took, and then goes on.
    """

    def __init__(self, settings: Mapping[str, Any], folder: pathlib.Path, name: str, members: int):
        """Begin.

        Args:
            settings: the group `wandb` of the config; if `each_member` is not given, members have wandb runs in sweeps
                of up to FEW members.
            folder: the sweep folder.
            name: the name of the wandb group, if the config does not give one.
            members: the number of members.
        """
        super().__init__(settings["mode"] != "disabled")
        each = settings["each_member"]
        self._each = members <= FEW if each is None else each
        self._settings, self._folder, self._group = settings, folder, settings["group"] or name
        self._begin = time.monotonic()
        self._mirrored = 0

    def member(
        self, name: str, read: Callable[[], tuple[Mapping[str, Any], Mapping[str, Shown], Mapping[str, Any]]]
    ) -> None:
        """Add a member that has ended.

        Args:
            name: the name of its wandb run.
            read: returns its config, {law: what is shown} and its summary; called later, in the thread.
        """

        def add() -> None:
            config, laws, summary = read()
            run = _opened(self._settings, self._folder, name, self._group, config)
            for law, shown in laws.items():
                _log(run, law, shown, set())
            run.summary.update(dict(summary))
            run.finish(exit_code=int(summary["state"] != "done"))
            self._mirrored += 1

        if self._each:
            self._work.put(add)

    def finish(self, config: Mapping[str, Any], table: Sequence[Mapping[str, Any]]) -> None:
        """Close the wandb group; if members have no wandb runs of their own, first add a table of all members."""

        def close() -> None:
            if not self._each:
                import wandb

                run = _opened(self._settings, self._folder, "members", self._group, config)
                columns: list[Any] = list(dict.fromkeys(key for row in table for key in row))
                run.log({"members": wandb.Table(columns, [[row.get(key) for key in columns] for row in table])})
                run.finish()

        passed = time.monotonic() - self._begin
        if not self._end(close, min(max(passed, LEAST_S), PATIENCE_S)):
            warnings.warn(f"wandb was too slow and has {self._mirrored} members; the record has all", stacklevel=1)


def _log(run: Any, law: str, shown: Shown, images: set[int]) -> None:
    import wandb

    columns = {}
    for probe, (dims, values) in shown.arrays.items():
        sizes = [
            min(size, shown.named_words) if dim in ("key", "query", "word") else size
            for dim, size in zip(dims[1:], values.shape[1:], strict=True)
        ]
        for index in np.ndindex(*sizes):
            column = values[(slice(None), *index)]
            if column.any():  # attention between words that never share a sample is always zero
                labels = [_label(shown, dim, i) for dim, i in zip(dims[1:], index, strict=True)]
                columns["/".join([law, probe, *labels])] = column.tolist()
    pictured = [probe for probe in shown.arrays if probe in PROBES and PROBES[probe].image]
    for i, t in enumerate(shown.t.tolist()):
        row: dict[str, Any] = {"t": t, **{key: column[i] for key, column in columns.items()}}
        for probe in pictured if i in images else ():
            pixels, limit = _picture(shown.arrays[probe][1][i])
            row[f"{law}/{probe}"] = wandb.Image(pixels, caption=f"t = {t:.4g}, scale ±{limit:.3g}")
        run.log(row)


def _label(shown: Shown, dim: str, i: int) -> str:
    return str(shown.coordinates[dim][i] if dim in shown.coordinates else i)


def _picture(matrices: np.ndarray) -> tuple[np.ndarray, float]:
    """Matrices (key × query, the last two axes) side by side in red-white-blue on one symmetric scale."""
    limit = float(np.max(np.abs(matrices))) or 1.0
    x = np.concatenate(matrices.reshape(-1, *matrices.shape[-2:]) / limit, axis=1)
    rgb = np.stack([1 - np.maximum(-x, 0), 1 - np.abs(x), 1 - np.maximum(x, 0)], axis=-1)
    zoom = max(1, IMAGE_PIXELS // x.shape[0])
    return (255 * rgb).astype(np.uint8).repeat(zoom, axis=0).repeat(zoom, axis=1), limit
