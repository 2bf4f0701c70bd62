"""Theorem 3.3's population loss, exact, at T*, where the training loss is 1/m: with trained attention, at six sizes.

n = 60, 120 and 240 samples, each with the smallest vocabulary that fits, d = 8n/3 + 3, and with d = nL, so that not all
random words are in the training set. The population loss is a finite sum over words (population.py).
"""

import functools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from dynamics import grid, own_seeds
from dynamics.files import load_config
from dynamics.studies.claims import Claim, Data, Finding
from dynamics.studies.evidence import Case
from experiments.cooccurrence import population  # registers the probe
from experiments.cooccurrence.controls import ALL_BUT_ATTENTION
from experiments.cooccurrence.findings import LENGTH, SLACK, exponent_in_width, within
from experiments.cooccurrence.max_margin import MaxMargin, word_counts
from experiments.cooccurrence.theory import SIGNALS

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "claims.py"
AGREEMENT = 0.1  # relative, of a population loss
WIDTHS = (2**11, 2**14, 2**17, 2**20)
LARGEST = 400  # d up to which there are two starts at each width: a flow costs d³
FIRST, BETWEEN = 7000, 100  # the first seed, and the difference between those of two cases
FROZEN = ", attention frozen"
# n and d.
SMALLEST = {f"n = {n}, d = {d}": (n, d) for n, d in ((60, 163), (120, 323), (240, 643))}
LARGER = {f"n = {n}, d = {LENGTH * n}": (n, LENGTH * n) for n in (60, 120, 240)}
SIZES = SMALLEST | LARGER


def _case(name: str, frozen: bool = False) -> Case:
    """The theory's start with another training set, late times and few probes; the same starts if frozen."""
    n, d = SIZES[name]

    def config() -> Any:
        config = load_config(CONFIG)
        config.task.update(samples=n, vocabulary=d)
        config.times.update(start=1.0, stop=300.0, count=19)
        config.update(words=len(SIGNALS), probes=("loss", "drift", "population_loss_exact"))
        if frozen:
            config.train.only = ALL_BUT_ATTENTION
        return config

    members = grid({"model.width": WIDTHS}, [{}] * (2 if d <= LARGEST else 1))
    return Case(config, own_seeds(members, FIRST + BETWEEN * list(SIZES).index(name)))


COMPANIONS = {name: name + FROZEN for name in SMALLEST}
CASES = {name: _case(name) for name in SIZES} | {COMPANIONS[name]: _case(name, frozen=True) for name in SMALLEST}


def at_training_loss(runs: Any, losses: Any) -> Any:
    """The exact population loss [width, seed] when the training loss has these values [width]; nan if it never has.

    Linear in the logarithms between saved times.
    """
    of_population = runs.population_loss_exact.sel(estimate="mean", drop=True)

    def interpolated(training: Any, values: Any, loss: Any) -> Any:
        falling = slice(None, None, -1)
        at = np.interp(np.log(loss), np.log(training[falling]), np.log(values[falling]), math.nan, math.nan)
        return np.exp(at)

    core = [["t"], ["t"], []]
    return xr.apply_ufunc(interpolated, runs.loss, of_population, losses, input_core_dims=core, vectorize=True)


def _power(data: Data, case: str, training_loss: float | None = None) -> Finding:
    """Whether the population loss falls with m: its exponent at T*, or where all widths have one training loss."""
    runs = data[case]
    losses = 1 / runs.width if training_loss is None else xr.full_like(runs.width, training_loss, float)
    values = at_training_loss(runs, losses)
    found = within(exponent_in_width(values), -math.inf, -SLACK, "∝ m^b, b =")
    means = np.exp(np.log(values).mean([dim for dim in values.dims if dim != "width"]))
    shown = ", ".join(f"{float(value):.3g}" for value in means)
    last = max(MaxMargin(SIZES[case.removesuffix(FROZEN)][0], LENGTH).fresh_margin, 0)
    return found._replace(measured=f"{shown}; {found.measured}; for m → ∞ b = {-last:.3f}")


def predicted(name: str, widths: Sequence[int], random_words: bool = True) -> Any:
    """The population loss at a training loss of 1/m, by the flow of three numbers; [width]."""
    labels, losses = jnp.array([1, -1, -1, -1]), 1 / np.array(widths)
    n, d = SIZES[name]
    G_TxD = word_counts(n, LENGTH, d, losses)
    if not random_words:
        G_TxD[:, len(SIGNALS) :] = 0
    return np.array([float(population.population_loss(jnp.asarray(G_D), labels, LENGTH)) for G_D in G_TxD])


def _follows(data: Data, case: str, random_words: bool = True) -> Finding:
    """Whether the population losses at T* in all runs are those of the flow of three numbers."""
    runs = data[case]
    widths = runs.width.values.tolist()
    stated = xr.DataArray(predicted(case.removesuffix(FROZEN), widths, random_words), {"width": widths}, "width")
    deviation = np.ravel(at_training_loss(runs, 1 / runs.width) / stated - 1)
    shown = ", ".join(f"{value:.3g}" for value in stated.values)
    differs = f"differs from {shown} by {100 * deviation.min():.2f} to {100 * deviation.max():.2f} %"
    known = np.isfinite(deviation).all()
    return Finding(bool((np.abs(deviation) <= AGREEMENT).all()) if known else None, differs)


POWER = Claim(
    "Theorem 3.3",
    "The population loss is ≤ 1/poly(m) at T*, where the training loss is 1/m",
    f"exponent in m at most −{SLACK}",
    _power,
    elsewhere={"where the training loss is 0.05": functools.partial(_power, training_loss=0.05)},
    repairs={"n = 60, d = 163": {"n = 120": "n = 120, d = 323"}},
)
FOLLOWS = Claim(
    "derived here",
    "The population loss at T* is that of the flow of three numbers, in which attention stays uniform",
    f"within {100 * AGREEMENT:.0f} % in every run",
    _follows,
    elsewhere={"G = 0 for random words": functools.partial(_follows, random_words=False)},
    post_hoc="one run outside refutes the claim; all had to be outside",
)
TABLES = {
    "population": (
        "The population loss where the training loss is 1/m: m = 2^11 to 2^20",
        [(name, claim) for claim in (POWER, FOLLOWS) for name in SIZES],
    )
}
FIGURES = "experiments.cooccurrence.population_figures"
COMPANION = ("attention frozen", COMPANIONS)
