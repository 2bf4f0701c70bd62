"""How the cost of a velocity and of a flow grows with every size, and which form of the products is the cheaper one.

    python -m experiments.speed.growth [FOLDER]

Prints exponents fitted to CPU seconds, beside those of the counted multiplications. Then measures flows at growing
vocabularies and at d = 1923. If FOLDER is given, draws into it which form is faster at which sizes. Compile time is
excluded.
"""

import contextlib
import functools
import itertools
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import dynamics
from dynamics.figures.style import COLOURS, figure, save, styled
from dynamics.laws import GramFlow
from dynamics.laws import gram as gram_laws
from dynamics.models import one_layer, pairs
from dynamics.models.moving_gram import few_move
from dynamics.runs.engine import Program, integrate
from dynamics.runs.experiment import Experiment
from dynamics.runs.path import Path
from dynamics.runs.programs import compiled_paths
from dynamics.runs.stopping import awaited

WEIGHTS, GRAM = "weights", "Gram variables"
EVERY_PAIR, OF_SAMPLES = "all pairs of words", "pairs of the samples"
FORMS = EVERY_PAIR, OF_SAMPLES
ROUNDS, ROUND_S = 3, 0.3
COLUMNS = "{:<58} {:>22} {:>22} {:>14}"


class Sizes(NamedTuple):
    """The sizes of a problem: d words, n samples of L words, widths m and m1, H heads."""

    d: int
    n: int
    L: int
    m: int
    m1: int
    H: int


# No powers of two: rows at such distances push one another out of the cache.
BASE = {WEIGHTS: Sizes(1100, 130, 4, 130, 60, 1), GRAM: Sizes(900, 40, 4, 130, 60, 1)}
FACTORS = (1, 2, 3)


def counted(sizes: Sizes, variables: str, form: str) -> int:
    """Multiplications of one velocity, and one for every number of the state that is only moved."""
    d, n, L, m, m1, H = sizes
    looked_at = d**2 if form == EVERY_PAIR else n * L**2
    if variables == WEIGHTS:
        return H * (3 * looked_at * m + 6 * d * m) + 3 * m1 * m
    moving = n * L if form == OF_SAMPLES and few_move((n, L), d) else d
    return H * (4 * looked_at * d + 6 * moving * d) + 3 * H**2 * moving * d


@contextlib.contextmanager
def forced(form: str | None) -> Iterator[None]:
    """Take one form whatever it costs; None for the cheaper one. With all pairs, all entries of Gram matrices move."""
    chosen, costs = (one_layer.few_pairs, gram_laws.few_move), pairs.COSTS["cpu"]
    if form is not None:
        one_layer.few_pairs = lambda *_: form == OF_SAMPLES
        pairs.COSTS["cpu"] = costs._replace(sparse=0.0 if form == OF_SAMPLES else 1e12)
    if form == EVERY_PAIR:
        gram_laws.few_move = lambda *_: False
    _forget()
    try:
        yield
    finally:
        (one_layer.few_pairs, gram_laws.few_move), pairs.COSTS["cpu"] = chosen, costs
        _forget()


def _forget() -> None:
    """Programs are found again by shapes, which do not know the form."""
    compiled_paths.cache_clear()
    jax.clear_caches()


def problem(sizes: Sizes, variables: str) -> tuple[Any, Any]:
    """Variables and objective; the words of the samples are drawn uniformly."""
    d, n, L, m, m1, H = sizes
    random = np.random.default_rng(0)
    batch = dynamics.Batch(jnp.asarray(random.integers(0, d, (n, L)), jnp.int32), jnp.ones(n, jnp.int32))
    model = dynamics.OneLayerTransformer(vocabulary=d, width=m, neurons=m1, heads=H)
    drawn = jax.jit(model.init)(jax.random.key(0), batch.inputs[:1])
    objective = dynamics.Objective(model, drawn["constants"], batch, "logistic")
    return (drawn["params"], objective) if variables == WEIGHTS else GramFlow().variables(drawn["params"], objective)


def seconds(sizes: Sizes, variables: str, form: str) -> float:
    """CPU seconds of one velocity and one step of Euler's method, the least of ROUNDS."""
    with forced(form):
        params, objective = problem(sizes, variables)

    @jax.jit
    def repeated(objective: Any, params: Any, count: Any) -> Any:
        def step(_: Any, params: Any) -> Any:
            return jax.tree.map(lambda p, v: p + 1e-12 * v, params, objective.velocity(params))

        return jax.lax.fori_loop(0, count, step, params)

    def of(count: int) -> float:
        begin = time.process_time()
        jax.block_until_ready(repeated(objective, params, count))
        return time.process_time() - begin

    with forced(form):
        of(1)  # compiles
        count = int(np.clip(ROUND_S / of(1), 2, 2000))
        return min(of(count) for _ in range(ROUNDS)) / count


def slope(values: list[float], sizes: list[float]) -> float:
    """The exponent p of the power law values = c · sizes^p, fitted to the logarithms by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def exponents() -> None:
    """Print how the seconds of one velocity grow with each size: its fitted exponent, beside that of the count."""
    print(COLUMNS.format("one velocity", EVERY_PAIR, OF_SAMPLES, ""), flush=True)
    for variables, size in itertools.product((WEIGHTS, GRAM), Sizes._fields):
        cells = []
        for form in FORMS:
            factors = FACTORS if size != "d" or form == OF_SAMPLES else FACTORS[:2]
            at = [BASE[variables]._replace(**{size: factor * getattr(BASE[variables], size)}) for factor in factors]
            lengths = [float(factor) for factor in factors]
            measured = slope([seconds(sizes, variables, form) for sizes in at], lengths)
            expected = slope([float(counted(sizes, variables, form)) for sizes in at], lengths)
            cells.append(f"{measured:.2f} ({expected:.2f})")
        base = ", ".join(f"{name} = {value}" for name, value in BASE[variables]._asdict().items())
        what = f"{variables}, exponent in {size}, fitted (counted)"
        print(COLUMNS.format(what, *cells, base if size == "d" else ""), flush=True)


def law(variables: str) -> dict[str, Any]:
    """The flow of the bars."""
    return {"name": "flow" if variables == WEIGHTS else "gram_flow", "rtol": 1e-6, "atol": 1e-8}


class Flow(NamedTuple):
    """What a flow took: wall and CPU seconds, evaluations of the velocity, megabytes that its program needs."""

    wall: float
    cpu: float
    evaluations: int
    megabytes: float


def flow(task: dict[str, Any], width: int, variables: str, times: tuple[float, int], solves: int = 2) -> Flow:
    """Measure the last of some solves, the others compile; `times` are the end t and how often the loss is saved."""
    config = dynamics.base()
    config.task = {"name": "cooccurrence", **task}
    config.model = {"name": "one_layer", "width": width, "neurons": 64, "heads": 1}
    std = {"std": 0.3 / (task["length"] * width) ** 0.5, "std_of": {"W": 0.3 / 8}}
    config.init = {"name": "normal", **std}
    config.laws, config.probes, config.checkpoints = {"law": law(variables)}, ("loss",), 1
    stop, count = times
    config.times.update(stop=stop, count=count)
    path = Path(Experiment.from_config(config.to_dict()), "law")
    program = Program(path, size=1)
    program.wait()
    for _ in range(solves):
        begin, wall, evaluations = time.process_time(), 0.0, 0
        for part in integrate(program, [path]):
            wall += part.seconds
            evaluations = int(part.trajectory.memory.evaluations[0])
        cpu = time.process_time() - begin
    compiled, _ = awaited(program._turns[0][0])
    return Flow(wall, cpu, evaluations, compiled.memory_analysis().temp_size_in_bytes / 1e6)


def vocabularies() -> None:
    """Flows of 60 samples at growing vocabularies: the integrator and what it holds are part of the cost."""
    for variables, vocabulary in ((WEIGHTS, (500, 1000, 2000, 4000, 8000)), (GRAM, (500, 1000, 2000, 4000))):
        flows = {}
        for d in vocabulary:
            task = {"samples": 60, "length": 5, "vocabulary": d, "words": "uniform"}
            flows[d] = flow(task, 128, variables, (10.0, 50))
            per_evaluation = f"{1e3 * flows[d].cpu / flows[d].evaluations:.2f} ms of CPU"
            print(
                COLUMNS.format(
                    f"flow in {variables}, n = 60, d = {d}, one evaluation",
                    per_evaluation,
                    f"{flows[d].megabytes:.0f} MB",
                    "",
                ),
                flush=True,
            )
        fitted = slope([one.cpu / one.evaluations for one in flows.values()], [float(d) for d in flows])
        print(COLUMNS.format("    exponent in d", f"{fitted:.2f}", "", ""), flush=True)


def product(d: int, m: int) -> tuple[float, float]:
    """Wall and CPU seconds of a product d × m by m × d, the least of ten."""
    left, right = jnp.ones((d, m)), jnp.ones((m, d))
    multiply = jax.jit(jnp.matmul)
    multiply(left, right).block_until_ready()
    measured = []
    for _ in range(10):
        wall, cpu = time.perf_counter(), time.process_time()
        multiply(left, right).block_until_ready()
        measured.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(wall for wall, _ in measured), min(cpu for _, cpu in measured)


def large() -> None:
    """Flows with n = 720, L = 5, every random word once, d = 1923, m = 256, to t = 300; loss at 200 times.

    Over all pairs of words in Gram variables the flow ends at t = 3, after a third of the evaluations and of the times;
    its seconds are scaled to all evaluations.
    """
    task = {"samples": 720, "length": 5, "words": "distinct"}
    for variables, times in ((WEIGHTS, (300.0, 200)), (GRAM, (3.0, 60))):
        with forced(EVERY_PAIR):
            before = flow(task, 256, variables, times, solves=1)
        now = flow(task, 256, variables, (300.0, 200))
        wall, cpu = product(1923, 256)
        print(COLUMNS.format("product 1923x256 by 256x1923", f"{1e3 * wall:.1f} ms", f"{1e3 * cpu:.1f} ms of CPU", ""))
        for form, one in ((EVERY_PAIR, before), (OF_SAMPLES, now)):
            whole = now.evaluations / one.evaluations
            seen = f"{one.wall * whole:.1f} s, {one.wall * whole / wall:.0f} products"
            of_cpu = f"{one.cpu * whole:.1f} s, {one.cpu * whole / cpu:.0f} products"
            what = f"flow in {variables}, d = 1923, {form}"
            print(COLUMNS.format(what, seen, of_cpu + " of CPU", f"{one.megabytes:.0f} MB"), flush=True)


SAMPLES = 15, 60, 240
VOCABULARIES = {WEIGHTS: (64, 100, 163, 256, 410, 640), GRAM: (48, 64, 100, 163, 256, 410)}


@styled
def draw(folder: pathlib.Path) -> None:
    """Draw which form of the products is faster and by what factor, with the line at which the rule changes form."""
    drawn = figure(9.6, 4.0, right=0.3, wspace=0.25)
    for axes, variables in zip(drawn.subplots(1, 2), (WEIGHTS, GRAM), strict=True):
        vocabulary = VOCABULARIES[variables]
        for d, n in itertools.product(vocabulary, SAMPLES):
            sizes = BASE[variables]._replace(d=d, n=n, L=5)
            ratio = seconds(sizes, variables, EVERY_PAIR) / seconds(sizes, variables, OF_SAMPLES)
            print(COLUMNS.format(f"{variables}, d = {d}, n = {n}", f"{ratio:.2f}", "", ""), flush=True)
            colour = COLOURS["blue" if ratio > 1 else "vermilion"]
            axes.scatter(d, n, s=30 * abs(np.log2(ratio)) + 4, color=colour, linewidths=0)
        line = np.geomspace(min(vocabulary), max(vocabulary), 50)
        cost = 5 * pairs.column_cost(5, BASE[variables].m) if variables == WEIGHTS else 25 * pairs.COSTS["cpu"].sparse
        axes.plot(line, line**2 / cost, color=COLOURS["black"], linewidth=1, label="the rule: below it, samples")
        if variables == GRAM:
            axes.plot(line, 4 * line / 25, "--", color=COLOURS["black"], linewidth=1, label="below it, only what moves")
        axes.set(xscale="log", yscale="log", xlabel="words, d", ylabel="samples, n", title=variables)
        axes.set_ylim(min(SAMPLES) / 2, max(SAMPLES) * 2)
        axes.set_xticks(vocabulary, [str(d) for d in vocabulary])
        axes.set_yticks(SAMPLES, [str(n) for n in SAMPLES])
        axes.minorticks_off()
        axes.legend(loc="upper left", fontsize=7)
    drawn.suptitle(
        "Blue: the pairs of the samples are faster, red: all pairs; area by the ratio", x=0.01, y=0.99, ha="left"
    )
    save(
        drawn,
        folder,
        "growth",
        "experiments.speed.growth · one velocity, CPU seconds · L = 5, m = 130, float64, 2 cores",
    )


def main() -> None:
    """Measure everything."""
    jax.config.update("jax_platforms", "cpu")
    steps: list[Callable[[], None]] = [exponents, vocabularies, large]
    if len(sys.argv) > 1:
        steps.append(functools.partial(draw, pathlib.Path(sys.argv[1])))
    for step in steps:
        step()


if __name__ == "__main__":
    main()
