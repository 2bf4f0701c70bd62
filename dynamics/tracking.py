"""A mirror of the record in wandb: the only module that touches it. Offline and silent unless the config says online.

It works in a thread of its own, beside the solves. A failure here is one warning and the end of the mirror, never of
the run: the record on disk is the truth.
"""

import pathlib
import queue
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["Tracker"]

IMAGE_PIXELS = 128
NAMED_WORDS = 3  # matrix probes are scalars for the targets and the common token; the images show all words
PATIENCE_S = 60.0  # a mirror that has not ended by then is left behind


class Tracker:
    """One wandb run for one run folder. Every method returns at once, but `finish`, which waits for the mirror."""

    def __init__(self, settings: Mapping[str, Any], folder: pathlib.Path, config: Mapping[str, Any]):
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._mirror, daemon=True)
        if settings["mode"] != "disabled":
            self._work.put(lambda: self._start(settings, folder, config))
            self._thread.start()

    def _mirror(self) -> None:
        try:
            while (task := self._work.get()) is not None:
                task()
        except Exception as error:
            warnings.warn(f"wandb stopped, the run goes on: {type(error).__name__}: {error}", stacklevel=1)

    def _start(self, settings: Mapping[str, Any], folder: pathlib.Path, config: Mapping[str, Any]) -> None:
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=settings["project"],
            group=settings["group"] or None,
            name=folder.name,
            dir=folder,
            mode=settings["mode"],
            config=dict(config),
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=20, disable_git=True, x_disable_stats=True
            ),
        )
        self._run.define_metric("t")
        self._run.define_metric("*", step_metric="t")

    def trajectory(
        self,
        law: str,
        t: Any,
        arrays: Mapping[str, tuple[tuple[str, ...], np.ndarray]],
        coordinates: Mapping[str, list[Any]],
        images: Iterable[int],
    ) -> None:
        """Log the saved times of a law: every probe as scalars, and its matrices as images.

        Args:
            law: its name, the prefix of every metric.
            t: saved times.
            arrays: {probe: (dimension names, values)}, dimension t first.
            coordinates: {dimension: labels}.
            images: indices into t at which matrices are drawn.
        """
        self._work.put(lambda: self._log(law, t, arrays, coordinates, set(images)))

    def _log(
        self,
        law: str,
        t: Any,
        arrays: Mapping[str, tuple[tuple[str, ...], np.ndarray]],
        coordinates: Mapping[str, list[Any]],
        images: set[int],
    ) -> None:
        columns = {}
        for probe, (dims, values) in arrays.items():
            for index in np.ndindex(*map(_shown, dims[1:], values.shape[1:])):
                column = values[(slice(None), *index)]
                if column.any():  # attention between words of which a sample has only one is zero throughout
                    labels = [str(coordinates[dim][i]) for dim, i in zip(dims[1:], index, strict=True)]
                    columns["/".join([law, probe, *labels])] = column.tolist()
        for i, time in enumerate(t.tolist()):
            row: dict[str, Any] = {"t": time, **{key: column[i] for key, column in columns.items()}}
            for probe in ("scores", "attention"):
                if i in images and probe in arrays:
                    pixels, limit = _picture(arrays[probe][1][i])
                    row[f"{law}/{probe}"] = self._wandb.Image(pixels, caption=f"t = {time:.4g}, scale ±{limit:.3g}")
            self._run.log(row)

    def figures(self, paths: Iterable[pathlib.Path]) -> None:
        """Add finished pictures."""
        self._work.put(lambda: self._run.log({f"figures/{path.stem}": self._wandb.Image(str(path)) for path in paths}))

    def finish(self, summary: Mapping[str, Any], failed: bool) -> None:
        """Close the wandb run with the numbers that `dynamics show` prints."""

        def close() -> None:
            self._run.summary.update(dict(summary))
            self._run.finish(exit_code=int(failed))

        if self._thread.is_alive():
            self._work.put(close)
            self._work.put(None)
            self._thread.join(PATIENCE_S)


def _shown(dim: str, size: int) -> int:
    return min(size, NAMED_WORDS) if dim in ("key", "query", "word") else size


def _picture(matrices: np.ndarray) -> tuple[np.ndarray, float]:
    """Matrices (key × query, the last two axes) side by side in red-white-blue on one symmetric scale."""
    limit = float(np.max(np.abs(matrices))) or 1.0
    x = np.concatenate(matrices.reshape(-1, *matrices.shape[-2:]) / limit, axis=1)
    rgb = np.stack([1 - np.maximum(-x, 0), 1 - np.abs(x), 1 - np.maximum(x, 0)], axis=-1)
    zoom = max(1, IMAGE_PIXELS // x.shape[0])
    return (255 * rgb).astype(np.uint8).repeat(zoom, axis=0).repeat(zoom, axis=1), limit
