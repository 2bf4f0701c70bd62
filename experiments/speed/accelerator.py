"""Many members at once on one kind of device: the paper's experiment, as a flow in Gram variables and by GD.

    python -m experiments.speed.accelerator --device=gpu [--largest=16384] [--record=FILE]

Measures members per second in batches of 1, 4, 16, ... members, in float64 and in float32, and compares them with
members one after another and with the rates of the device. Two rates are measured first: operations per second in a
product of matrices in full precision (no TF32), and bytes per second in a pass over memory. A share of a rate is the
counted work of the velocities per second, divided by the rate. Numbers that stay in a cache count as read from memory,
so the share of memory of a small batch can be more than 100 %. Seconds include transfers from and to the host, and
exclude compiling. Prints a table, and writes a JSON record with the name of the device.

Without such a device the table says "not measured", one line says why, and the exit code is 2.
"""

import argparse
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.config import ConfigError, require
from dynamics.runs.engine import Program, integrate
from dynamics.runs.experiment import Experiment
from dynamics.runs.path import Path
from dynamics.runs.programs import Strategy
from dynamics.runs.storage import write_json
from experiments.speed.benchmark import ROUNDS, paper, show

Dtype = Literal["float64", "float32"]
DTYPES: tuple[Dtype, ...] = ("float64", "float32")
LARGEST = {"cpu": 16}  # members of a call, by device; elsewhere MOST
MOST, FACTOR = 16384, 4
SEQUENTIAL = 16  # members that are integrated one after another, for comparison
# Laws of the paper's experiment, and the time to which they are followed: 1000 steps of GD.
PROBLEMS: dict[str, tuple[dict[str, Any], float]] = {
    "flow in Gram variables": ({"name": "gram_flow", "rtol": 1e-6, "atol": 1e-9}, 300.0),
    "GD in weights": ({"name": "gd", "learning_rate": 0.01}, 10.0),
}
# To measure a device: rows and columns of the matrices, and numbers in the array. They are larger than its caches.
SIZES = {"cpu": (1024, 2**23)}
OTHER_SIZES = (8192, 2**28)


class Rates(NamedTuple):
    """The highest rates that were measured on a device.

    Attributes:
        operations: per second, in a product of large matrices.
        bytes: per second, read and written.
    """

    operations: float
    bytes: float


class Row(NamedTuple):
    """A batch: seconds of each round, members per second, shares of the rates, speed relative to one after another."""

    problem: str
    dtype: Dtype
    members: int
    seconds: list[float]
    members_per_second: float
    share_of_products: float
    share_of_memory: float
    against_sequential: float


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the record; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True, choices=("cpu", "gpu", "tpu"))
    parser.add_argument("--largest", type=int, metavar="N", help="members of the largest batch")
    parser.add_argument("--record", type=pathlib.Path, metavar="FILE", help="default: runs/accelerator-NAME.json")
    arguments = parser.parse_args(words)
    show("what", "measured", "", "ratio")
    try:
        name = device_name(arguments.device)
    except ConfigError as error:
        show(f"batches of members on a {arguments.device}", "not measured")
        print(f"accelerator: {error}", file=sys.stderr)
        return 2
    sizes = batches(arguments.largest or LARGEST.get(arguments.device, MOST))
    known = {dtype: rates(dtype, *SIZES.get(arguments.device, OTHER_SIZES)) for dtype in DTYPES}
    for dtype, rate in known.items():
        show(f"product of matrices, {dtype}", f"{rate.operations / 1e9:.3g} Gflop/s")
        show(f"pass over memory, {dtype}", f"{rate.bytes / 1e9:.3g} GB/s")
    rows = [row for problem in PROBLEMS for dtype in DTYPES for row in measured(problem, dtype, sizes, known[dtype])]
    file = arguments.record or pathlib.Path("runs") / f"accelerator-{name.replace(' ', '-').replace('/', '-')}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, record(arguments.device, name, known, rows))
    print(file)
    return 0


def device_name(kind: str) -> str:
    """The name of the devices of a kind; from now on everything is computed on them.

    Raises:
        ConfigError: where there is none.
    """
    if kind == "cpu":
        jax.config.update("jax_platforms", kind)
    found = jax.default_backend()
    require(found == kind, "device", kind, f"there is none here that jax can use; jax computes on {found!r}")
    return jax.devices()[0].device_kind


def batches(largest: int) -> list[int]:
    """The sizes of the batches: 1, 4, 16, ... as long as they are smaller than `largest`, and then `largest` itself."""
    require(largest >= 1, "largest", largest, "must be at least 1")
    sizes = [1]
    while sizes[-1] * FACTOR < largest:
        sizes.append(sizes[-1] * FACTOR)
    return sizes if largest == 1 else [*sizes, largest]


def rates(dtype: Dtype, size: int, count: int) -> Rates:
    """Measure what one device does at most.

    Args:
        dtype: of the numbers.
        size: rows and columns of the matrices.
        count: numbers of the array.
    """
    matrix, array = jnp.full((size, size), 0.5, dtype), jnp.ones(count, dtype)
    product = jax.jit(lambda x: x @ matrix / size)
    passed = jax.jit(lambda x: x + 1, donate_argnums=0)  # in place: a new array would be cleared by the system first
    operations = 2 * size**3 / _best(product, matrix)
    return Rates(operations, 2 * array.nbytes / _best(passed, array))


def _best(function: Callable[[Any], Any], state: Any) -> float:
    """The seconds of the fastest of some calls of a program; every call gets the result of the one before."""
    seconds = []
    for _ in range(1 + 3 * ROUNDS):  # the first compiles
        begin = time.perf_counter()
        state = jax.block_until_ready(function(state))
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


def members(problem: str, dtype: Dtype, count: int) -> list[Path]:
    """The paper's experiment under the law of a problem, from `count` seeds."""
    law, stop = PROBLEMS[problem]
    times = {**paper()["times"], "spacing": "linear", "stop": stop, "count": 2}
    config = {**paper(), "laws": {"law": law}, "dtype": dtype, "times": times, "probes": ("loss",), "checkpoints": 1}
    experiment = Experiment.from_config(config)
    return [Path(experiment.with_seed(seed), "law") for seed in range(count)]


def measured(problem: str, dtype: Dtype, sizes: Sequence[int], rate: Rates) -> Iterator[Row]:
    """Measure batches of a problem, up to the first that does not fit into the memory of the device."""
    count = min(SEQUENTIAL, sizes[-1])
    alone, _ = integrated(members(problem, dtype, count), "sequential")
    alone_s = statistics.median(alone) / count
    show(f"{problem}, {dtype}, {count} members one after another", f"{1 / alone_s:.3g} a second")
    for size in sizes:
        paths = members(problem, dtype, size)
        try:
            seconds, evaluations = integrated(paths, "batched")
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            show(f"    {size} at once", "does not fit")
            return
        median_s = statistics.median(seconds)
        work = evaluation(paths[0], size)
        operations, moved = (evaluations / size * each / median_s / jax.device_count() for each in work)
        row = Row(
            problem=problem,
            dtype=dtype,
            members=size,
            seconds=seconds,
            members_per_second=size / median_s,
            share_of_products=operations / rate.operations,
            share_of_memory=moved / rate.bytes,
            against_sequential=size * alone_s / median_s,
        )
        shares = f"{100 * row.share_of_products:.2g} % of products, {100 * row.share_of_memory:.2g} % of memory"
        ratio = f"{row.against_sequential:.2f} x one after another; {shares}"
        show(f"    {size} at once", f"{row.members_per_second:.3g} a second", "", ratio)
        yield row


def integrated(paths: Sequence[Path], strategy: Strategy) -> tuple[list[float], int]:
    """The seconds of some rounds, and the evaluations of velocities or gradients of all members in one round."""
    program = Program(paths[0], len(paths), strategy)
    rounds = [list(integrate(program, paths)) for _ in range(1 + ROUNDS)]  # the first compiles what is not compiled yet
    evaluations = np.zeros(len(paths), int)
    for part in rounds[0]:
        if "evaluations" in part.trajectory.notes:  # of a flow, up to every saved time
            noted = np.where(part.trajectory.valid, part.trajectory.notes["evaluations"], 0).max(axis=1)
            evaluations = np.maximum(evaluations, np.where(part.took_part, noted, 0))
        else:  # a gradient for each step
            evaluations += np.where(part.took_part, part.trajectory.steps, 0)
    return [sum(part.seconds for part in parts) for parts in rounds[1:]], int(evaluations.sum())


def evaluation(path: Path, size: int) -> tuple[float, float]:
    """Operations and bytes, as XLA counts them, of evaluating the velocities of `size` members at once."""
    params, objective, _ = path.experiment.abstract_start(path.law)
    of_all = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype), (params, objective))
    velocities: Any = jax.jit(jax.vmap(lambda params, objective: objective.velocity(params))).lower(*of_all)
    # Operations before compiling: libraries that multiply matrices are not counted after it.
    return velocities.cost_analysis()["flops"], velocities.compile().cost_analysis()["bytes accessed"]


def record(kind: str, name: str, known: dict[Dtype, Rates], rows: Sequence[Row]) -> dict[str, Any]:
    """What was measured, as plain values."""
    return {
        "device": name,
        "kind": kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "matmul_precision": jax.config.values["jax_default_matmul_precision"],
        "rates": {dtype: rate._asdict() for dtype, rate in known.items()},
        "rows": [row._asdict() for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
