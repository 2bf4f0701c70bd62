"""What the claims on positional and semantic attention measure, and the layer that counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import dynamics
from dynamics.probes.probe import View
from dynamics.studies import evidence
from experiments.positional_semantic import basins_claims, claims, counting


@pytest.mark.parametrize("module", [claims, basins_claims])
def test_claims_can_be_judged(module):
    """Cases, tables and configs fit together, and every config has one law."""
    evidence.check(module)
    sweeps = evidence.sweeps_of(module)
    assert all(len(sweep.members) > 1 for sweep in sweeps.values())


def test_line_finds_its_limit():
    """Exact values on a line, and an interval that covers the limit in about 95 % of noisy draws."""
    sizes, rng = np.array([100.0, 200.0, 300.0, 600.0]), np.random.default_rng(0)

    def line(noise):
        values = 2 + 3 / sizes[:, None, None] + noise * rng.normal(size=(4, 1, 5))
        at = xr.Dataset({"x": (("dimension", "start", "seed"), values)}, {"dimension": sizes, "start": ["random"]})
        return claims.line_in(at, "x", "random")

    _, _, limit, slope = line(0)
    np.testing.assert_allclose((*limit, slope), (2, 2, 2, 3), rtol=1e-9)
    found = [line(0.1)[2] for _ in range(300)]
    covered = sum(one.low <= 2 <= one.high for one in found)
    assert 270 <= covered <= 297  # 285 with a standard deviation of 4


def over_alpha(*means):
    """A difference of four seeds at α = 1 and at α = 2, with a spread of 0.1."""
    spread = 0.1 * np.array([-1.0, 1.0, -1.0, 1.0])
    rows = np.array(means)[:, None] + spread
    return {"case": xr.Dataset({"x": (("samples", "seed", "t"), rows[..., None])}, coords={"samples": [300, 600]})}


@pytest.mark.parametrize(("means", "holds"), [((-1, 1), True), ((-1, -1), False), ((1, 1), False), ((0, 1), None)])
def test_change_of_sign(means, holds):
    finding = claims.changes_sign(over_alpha(*means), "case", lambda at: at.x, (1.0, 2.0))
    assert finding.holds is holds


def test_ends_and_their_shares():
    last = xr.Dataset(
        {
            "m": (("seed", "t"), [[0.25], [0.02], [0.15], [0.20]]),
            "theta": (("seed", "t"), [[0.05], [0.5], [0.1], [0.45]]),
        }
    )
    of = basins_claims.ends(last)
    assert {end: hits.values.tolist() for end, hits in of.items()} == {
        "positional": [1, 0, 0, 0],
        "semantic": [0, 1, 0, 0],
        "neither": [0, 0, 1, 1],
    }
    # Clopper and Pearson, 0 of 10: the upper end is 1 − 0.025^(1/10).
    none = basins_claims.share(np.zeros(10))
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025**0.1)


@functools.cache
def layer(seen):
    """A small layer that counts: parameters, objective, survey."""
    config = dynamics.base()
    config.update(seed=1, dtype="float32", probes=("loss",))
    config.task = {"name": "counting", "samples": 50, "length": 5, "symbols": 4}
    config.model = {"name": "counting_head", "seen": seen, "width": 8}
    config.init.name = "model"
    config.laws = {"gd": {"name": "gd", "learning_rate": 0.1}}
    return dynamics.Experiment.from_config(config.to_dict()).drawn


def test_counts_are_right():
    _, objective, _ = layer("symbols")
    words, targets = (np.asarray(array) for array in (objective.batch.inputs, objective.batch.targets))
    by_hand = [[list(row).count(word) - 1 for word in row] for row in words]
    np.testing.assert_array_equal(targets, by_hand)
    assert targets.max() > 1


@pytest.mark.parametrize(("seen", "expected"), [("symbols", 1.0), ("places", 0.0)])
def test_share_of_meaning(seen, expected):
    """1 where only symbols count, exactly; near 0 where only places do, by chance of the places."""
    params, objective, survey = layer(seen)
    share = float(counting.by_meaning(params, View(objective, survey, params, 1)))
    assert share == pytest.approx(expected, abs=1e-5 if seen == "symbols" else 0.2)


def test_the_unseen_half_has_no_influence_until_it_is_free():
    """Permuting the places does nothing to attention by symbols, but the gradient by the other half's keys is not 0."""
    params, objective, _ = layer("symbols")
    moved = {**params, "P": params["P"][::-1]}
    np.testing.assert_array_equal(objective.output(params), objective.output(moved))
    by_place = {**params, "Q_places": params["Q_symbols"]}
    slope = jax.grad(objective.loss)(by_place)["K_places"]
    assert float(jnp.abs(slope).max()) > 0
