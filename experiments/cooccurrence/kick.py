"""A kick to G(μ1) along a flow: how fast Σ_{I2} g and Σ_{I3} g balance again (Lemma 4.4 of arXiv:2410.09605).

The kick is W_V → W_V + (δ/‖u‖²) u μ1ᵀ with u = Wᵀa, the smallest change of weights that adds δ to G(μ1) and nothing to
G of other words. In Gram variables, with S = ‖u‖²:

    G → G + δ μ1        C_V → C_V + (δ/S) (G μ1ᵀ + μ1 Gᵀ) + (δ²/S) μ1 μ1ᵀ        S and the scores stay

Its decay, derived here. While attention is uniform and m is large, F(X) = Σ_l G(x_l) and Ġ = S z, so that with the
sums E2, E3 of g over I2, I3, divided by n, and with n/6 samples in each of them

    d/dt (G(μ1) − G(μ2)) = −S (E2 − E3),        d/dt G(random word of sample i) = −S g_i / n    (i in I2, I3)

Every random word occurs once. So the difference f of the mean outputs of I2 and I3 moves by −S (E2 − E3) (1 + r), with
r = 6 (L − 2) / n. Between equal types E2 − E3 = f Σ_{I2∪I3} g (1 − g) / 2n to first order in f, and

    ḟ = −λ(t) f,        λ = S (1 + r) Σ_{I2∪I3} g (1 − g) / 2n,        log(E2/E3) = (1 − g) f

Three things follow. A kick δ makes f jump by δ, which decays at the rate λ: the sums balance again. Of the difference
of the words G(μ1) − G(μ2) the share r / (1 + r) stays, since the random words of I2 and I3 took up the rest. And late,
where S t g_i / n tends to λ2 of the max-margin law, λ t tends to p = (n/6 + L − 2) λ2: the kick decays as t^−p.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from dynamics import Experiment
from dynamics.config import require
from dynamics.files import load_config
from dynamics.laws import GramFlow
from dynamics.objectives.objective import Objective
from dynamics.objectives.parameters import Trained
from dynamics.runs.storage import Arrays
from dynamics.studies.claims import Data, Finding, all_of
from dynamics.studies.evidence import Evidence
from dynamics.tasks.cooccurrence import FIRST_TARGET, SECOND_TARGET
from dynamics.trajectory import COMPLETED, Trajectory
from experiments.cooccurrence.controls import shuffled
from experiments.cooccurrence.findings import always, spread
from experiments.cooccurrence.max_margin import MaxMargin

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "claims.py"
KICK_TIME, STOP = 1.0, 10.0  # T1 is about 130/m
COUNT = 60  # times between them
SMALL, LARGE = 0.1, float(np.log(4))  # δ; the large one makes E2 = 4 E3 at once
KICKS = (-SMALL, SMALL, LARGE)
TYPE_2, TYPE_3 = 1, 2  # of the task's types I1, ..., I4
SHARP = 0.02  # of the rate, relative
NEAR = 0.01  # of the share that stays


def kicked(gram: PyTree, delta: Any) -> PyTree:
    """The Gram matrices after W_V → W_V + (δ/‖u‖²) u μ1ᵀ, of one head; see the top of this module."""
    G_D, S = gram["G"][0], gram["S"]
    word_D = jnp.zeros_like(G_D).at[FIRST_TARGET].set(1)
    cross_DxD = jnp.outer(G_D, word_D)
    added_DxD = delta / S * (cross_DxD + cross_DxD.T) + delta**2 / S * jnp.outer(word_D, word_D)
    return {**gram, "G": gram["G"] + delta * word_D[None], "C_V": gram["C_V"] + added_DxD[None, :, None, :]}


def _seen(objective: Objective, gram: PyTree) -> dict[str, Array]:
    """The difference f of outputs, log(E2/E3), G(μ1) − G(μ2), and λ without its factor 1 + r."""
    output_N = objective.output(gram)
    g_N = jax.nn.sigmoid(-objective.batch.targets.astype(output_N.dtype) * output_N)
    second_N, third_N = (objective.batch.type == kind for kind in (TYPE_2, TYPE_3))
    slope = jnp.sum(jnp.where(second_N | third_N, g_N * (1 - g_N), 0)) / (2 * objective.samples)
    outputs = [jnp.mean(output_N, where=kind_N) for kind_N in (second_N, third_N)]
    return {
        "outputs": outputs[0] - outputs[1],
        "log_ratio": jnp.log(jnp.sum(jnp.where(second_N, g_N, 0)) / jnp.sum(jnp.where(third_N, g_N, 0))),
        "difference": gram["G"][0, FIRST_TARGET] - gram["G"][0, SECOND_TARGET],
        "rate_of_words": gram["S"] * slope,
    }


@eqx.filter_jit
def _flow(law: GramFlow, objective: Objective, gram: PyTree, times: Array) -> Trajectory:
    return law(objective, gram, times, functools.partial(_seen, objective), jax.random.key(0))


def _at_rate(objective: Objective, rate: float) -> Objective:
    """The same objective with W_V at a rate; a traced number, also where it is 1, so that all share a program."""
    return dataclasses.replace(objective, trained=Trained(rates={"W_V": rate}))


def kicks(samples: int, width: int, seeds: Sequence[int], shuffle: bool = False, rate: float = 1.0) -> Evidence:
    """What is seen from KICK_TIME to STOP after each of KICKS, from several starts of the theory's case.

    Args:
        samples: n.
        width: m.
        seeds: of the starts.
        shuffle: whether the labels are permuted, from t = 0 on.
        rate: of W_V after the kick.

    Returns:
        {outputs, log_ratio, difference, rate_of_words: [seed, kick, t]}; n and L as attributes.
    """
    config = load_config(CONFIG)
    config.task.samples, config.model.width = samples, width
    config.init.draw = "weights"  # their program compiles sooner than that of Gram matrices
    law = GramFlow(solver="tsit5", rtol=1e-9, atol=1e-11)
    after = jnp.geomspace(KICK_TIME, STOP, COUNT)
    # As many times as after the kick, so that there is one program.
    before = jnp.concatenate([jnp.zeros(1), jnp.geomspace(1e-3 * KICK_TIME, KICK_TIME, COUNT - 1)])
    seen = []
    for seed in seeds:
        config.seed = seed
        gram, objective = law.variables(*Experiment.from_config(config.to_dict()).start)
        if shuffle:
            objective = dataclasses.replace(objective, batch=shuffled(objective.batch, jax.random.key(seed)))
        path = _flow(law, _at_rate(objective, 1.0), gram, before)
        paths = [_flow(law, _at_rate(objective, rate), kicked(path.params, kick), after) for kick in KICKS]
        completed = all(int(one.outcome) == COMPLETED for one in (path, *paths))
        require(completed, "seed", seed, "must give flows that reach their last time")
        seen.append(jax.tree.map(lambda *of_kicks: np.stack(of_kicks), *(one.probes for one in paths)))
    stacked = jax.tree.map(lambda *of_seeds: np.stack(of_seeds), *seen)
    arrays: Arrays = {name: (("seed", "kick", "t"), values) for name, values in stacked.items()}
    labels: dict[str, Any] = {"seed": list(seeds), "kick": list(KICKS), "t": np.asarray(after)}
    return arrays, labels, {"samples": samples, "length": config.task.length}


def decays(data: Data, case: str, random_words: bool = True) -> Finding:
    """Whether a small kick decays from f at the rate λ, and leaves the share r / (1 + r) in G(μ1) − G(μ2).

    Half the difference of the flows after δ and −δ has no part of second order in δ.

    Args:
        data: the Dataset of every case.
        case: its name.
        random_words: whether the random words take part, r = 6 (L − 2) / n; if not, r = 0.
    """
    runs = data[case]
    n, length = runs.samples, runs.length
    r = 6 * (length - 2) / n if random_words else 0.0

    def odd(values: Any) -> Any:
        return (values.sel(kick=SMALL) - values.sel(kick=-SMALL)) / (2 * SMALL)

    f, rate = odd(runs.outputs), (1 + r) * runs.rate_of_words.sel(kick=[-SMALL, SMALL]).mean("kick")
    decay = np.log(np.abs(f.isel(t=0) / f.isel(t=-1))) / rate.integrate("t")
    kept, stated = odd(runs.difference).isel(t=-1), r / (1 + r)
    last, limit = rate.isel(t=-1) * STOP, (n / 6 + length - 2) * MaxMargin(n, length).multipliers[1]
    return all_of(
        {
            "rate": always(
                np.abs(decay - 1) <= SHARP,
                f"rate over λ: {float(decay.min()):.4f} to {float(decay.max()):.4f} "
                f"(λ t at t = {STOP:g}: {float(last.mean()):.3f}; late {limit:.3f}), "
                f"within {SHARP:g} of 1",
            ),
            "share": always(
                np.abs(kept - stated) <= NEAR,
                f"{spread(kept, 'share of the kick that stays:')}, within {NEAR:g} of {stated:.3f}",
            ),
        }
    )


def decays_without_random_words(data: Data, case: str) -> Finding:
    """The same for r = 0: only μ1 and μ2 answer the kick."""
    return decays(data, case, random_words=False)


def balances_again(data: Data, case: str) -> Finding:
    """Whether the gap |E2 − E3| / min(E2, E3) is at most 0.5 at STOP, after the large kick."""
    return _gap_at(data, case, -1)


def balance_when_kicked(data: Data, case: str) -> Finding:
    """The same right after the kick."""
    return _gap_at(data, case, 0)


def _gap_at(data: Data, case: str, index: int) -> Finding:
    gap = np.expm1(np.abs(data[case].log_ratio.sel(kick=LARGE).isel(t=index)))
    return always(gap <= 0.5, f"{spread(gap, f'gap at t = {float(gap.t):g}:')}, at most 0.5")
