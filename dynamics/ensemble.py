"""One law of many experiments: equal shapes share one compiled program, and as many run at once as there are cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from dynamics.experiment import Experiment, form, solve, traced
from dynamics.trajectory import Trajectory, joined

__all__ = ["ensemble"]


def ensemble(members: Sequence[Experiment], law: str) -> Iterator[tuple[PyTree, Trajectory]]:
    """Integrate a law of every experiment.

    Args:
        members: they may differ in anything; learning rates, tolerances, initial scales, seeds, times and, with a start
            drawn in Gram variables, widths do not compile again.
        law: its name in all of them.

    Yields:
        In the order of the members: the parameters at t = 0, and the trajectory with numpy leaves; its rows are the
        saved times, nan from the time on at which it failed.
    """
    keys = [form(found, law) for found in members]
    first = dict(zip(reversed(keys), reversed(members), strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        programs = {key: pool.submit(_compiled, found, law) for key, found in first.items()}

        def one(found: Experiment, key: Any) -> tuple[PyTree, Trajectory]:
            start, _ = found.start_of(law)
            found_parts = [part for part, _ in solve(found, law, programs[key].result())]
            return jax.tree.map(np.asarray, start), _filled(joined(found_parts), found.times)

        yield from pool.map(one, members, keys)


def _compiled(found: Experiment, law: str) -> Callable[..., Trajectory]:
    return traced(found, law).lower().compile()


def _filled(trajectory: Trajectory, times: np.ndarray) -> Trajectory:
    """The rows of all saved times: nan where the law did not get to."""
    missing = len(times) - len(trajectory.t)

    def fill(values: Any) -> np.ndarray:
        return np.concatenate([values, np.full((missing, *values.shape[1:]), np.nan)])

    valid = np.arange(len(times)) < len(trajectory.t)
    return trajectory._replace(t=times, probes={k: fill(v) for k, v in trajectory.probes.items()}, valid=valid)
