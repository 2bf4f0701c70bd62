"""Several processes of jax.distributed that integrate together; no other file knows about them."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from dynamics.config import require


def join(coordinator: str, processes: int, process: int) -> None:
    """Make this process one of several that integrate together.

    Args:
        coordinator: HOST:PORT, the same for all; the first process listens there.
        processes: how many there are.
        process: which one this is, from 0 on.
    """
    allowed = f"must be at least 0 and below --processes = {processes}"
    require(0 <= process < processes, "--process", process, allowed)
    jax.distributed.initialize(coordinator, processes, process)


def several() -> bool:
    """Whether there is more than one process."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this process claims and writes; the others only integrate with it."""
    return jax.process_index() == 0


def on_host(tree: PyTree) -> PyTree:
    """The whole of arrays that are spread over the devices of all processes, as numpy arrays in every process."""
    if several():
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.asarray, tree)


def broadcast(numbers: Sequence[int], size: int) -> list[int]:
    """The first process's numbers, in every process, padded with -1 to `size`; the others' arguments are ignored."""
    message = np.full(size, -1)
    message[: len(numbers)] = numbers
    return multihost_utils.broadcast_one_to_all(message).tolist()
