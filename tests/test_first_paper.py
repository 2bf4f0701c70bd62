"""What the first paper's claims measure, on values that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from conftest import ROOT, small_config

import dynamics
from dynamics.files import load_config
from dynamics.probes import View, evaluator
from experiments.cooccurrence import cases, claims, controls, findings, measures, optimizer_claims, probes  # noqa: F401  (registers probes)
from experiments.cooccurrence.phases import Phases
from experiments.cooccurrence.theory import SCORES, SIGNALS, score_signs, signed

T = np.array([0.0, 1.0, 3.0, 4.0])
WORDS = ["μ1", "μ2", "μ3", "μ4", "μ5", "μ6"]


def matrix(changes):
    """[t, key, query]: entries that grow linearly in t, by so much a unit, all others constant."""
    values = np.zeros((len(T), len(WORDS), len(WORDS)))
    for (key, query), slope in changes.items():
        values[:, WORDS.index(key), WORDS.index(query)] = slope * T
    return ("t", "key", "query"), values


def runs(changes, margin=(-1.0, -1.0, 3.0, 5.0), loss=(1.0, 0.5, 1 / 32, 1 / 512)):
    """One run [width, seed] of width 64, whose margin and loss are given; its largest change of a random word is t."""
    dims, values = matrix(changes)
    velocity = np.gradient(values, T, axis=0)
    arrays = {"margin": ("t", np.array(margin)), "loss": ("t", np.array(loss)), "random_score_change": ("t", T)}
    arrays |= {"scores": (dims, values), "scores_velocity": (dims, velocity)}
    return xr.Dataset(arrays, {"t": T, "key": WORDS, "query": WORDS}).expand_dims(width=[64], seed=[0])


def test_signs_of_the_theorem():
    assert score_signs(*SIGNALS) == SCORES
    values = runs({("μ2", "μ1"): 2.0, ("μ3", "μ2"): 5.0}).scores.isel(t=-1, width=0, seed=0)
    assert signed(values, SCORES).values.tolist() == [8.0, 0.0, 0.0, -20.0]


def test_t1_lies_between_saved_times():
    """From t = 1 to 3 the margin grows from -1 to 3."""
    assert findings.first_time(runs({})).values == 1.5 and findings.first_time(runs({}), 0.5).values == 1.75
    for never in ((-1.0, 1.0, 1.0, -1.0), (1.0, 1.0, 1.0, 0.4)):
        assert np.isnan(findings.first_time(runs({}, never), 0.5)).all()
    assert findings.first_time(runs({}, (1.0,) * 4)).values == 0.0  # right from the start, not never
    assert Phases(0.5).classified({"one": runs({})}, "one").holds is True
    assert Phases(0.5).classified({"one": runs({}, (-1.0,) * 4)}, "one").holds is False


def test_the_final_time_lies_between_saved_times():
    """The loss falls to 1/m = 1/64 between 1/32 at t = 3 and 1/512 at t = 4: a quarter of the way in logarithms."""
    np.testing.assert_allclose(findings.final_time(runs({})).values, 3 * (4 / 3) ** 0.25, rtol=1e-12)
    assert np.isnan(findings.final_time(runs({}, loss=(1.0, 1.0, 1.0, 1.0)))).all()


def test_values_beyond_the_last_time_are_unknown():
    data = runs({})
    for time, value in ((2.0, 1.0), (4.0, 5.0), (4.1, np.nan), (np.nan, np.nan)):
        np.testing.assert_equal(findings.at(data, xr.full_like(data.margin.isel(t=0), time), data.margin).item(), value)


def test_times_may_differ_between_members():
    one, other = runs({}), runs({}).assign_coords(width=[128])
    both = xr.concat([one, other], "width")
    times = np.stack([T, 2 * T])[:, None]
    both = both.assign(time=(("width", "seed", "t"), times))
    assert findings.first_time(both).values.ravel().tolist() == [1.5, 3.0]
    assert findings.at(both, findings.first_time(both), both.margin).values.ravel().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("pair", SCORES)
def test_every_sign_matters(pair):
    """The claim holds when all four scores move as stated, and fails when one moves the other way.

    Where nothing moves, nothing is refuted.
    """
    stated = {key: float(sign) for key, sign in SCORES.items()}
    data = {"stated": runs(stated), "other": runs({**stated, pair: -stated[pair]})}
    words = dict(zip(SIGNALS, ("μ4", "μ5", "μ6"), strict=True))
    data["random words"] = runs({(words[key], words[query]): sign for (key, query), sign in stated.items()})
    moves = Phases(0.0).scores_move
    assert [moves(data, case).holds for case in data] == [True, False, None]
    part, kept = ("increase", "decrease") if SCORES[pair] > 0 else ("decrease", "increase")
    assert moves(data, "other").parts == {part: False, kept: True}
    for measure in (optimizer_claims._scores_move, optimizer_claims._scores_end):
        assert [measure(data, case).holds for case in data] == [True, False, False]
    for measure in (optimizer_claims._others_move, optimizer_claims._others_end):
        assert [measure(data, case).holds for case in data] == [False, False, True]


def test_coefficients_are_changes_until_the_final_time():
    """All four change with t, so that their quotients are those of the slopes, and that of a random word is 1/3."""
    data = {"one": runs({("μ2", "μ1"): 1.0, ("μ1", "μ2"): 2.0, ("μ3", "μ1"): -4.0, ("μ3", "μ2"): -5.0})}
    np.testing.assert_allclose(measures.coefficients(data["one"]).sum("pair"), 12 * findings.final_time(data["one"]))
    shown = measures.common_order(data, "one")
    assert shown.holds is True and "largest over smallest size: 5 to 5" in shown.measured
    share = measures.small_share(data, "one")
    assert share.holds is True and "share at T*: 0.333 to 0.333" in share.measured
    still = {"one": runs({})}
    assert measures.common_order(still, "one").holds is None and measures.small_share(still, "one").holds is None
    spread = {"one": runs({("μ2", "μ1"): 1.0, ("μ1", "μ2"): 2.0, ("μ3", "μ1"): -4.0, ("μ3", "μ2"): -11.0})}
    assert measures.common_order(spread, "one").parts["one order"] is False


def test_bounded_below():
    def of(values):
        width = [2**11, 2**14, 2**17]
        return findings.bounded_below(
            xr.DataArray([values], {"seed": [0], "width": width}, ("seed", "width")), "x"
        ).holds

    narrow = xr.DataArray([[9.0, 1.0, 1.0, 1.0]], {"seed": [0], "width": [64, 2**11, 2**14, 2**17]}, ("seed", "width"))
    assert findings.bounded_below(narrow, "x").holds is True  # only wide models are fitted
    assert of([1.0, 1.01, 1.0]) is True and of([1.0, -1.0, 1.0]) is False and of([1.0, np.nan, 1.0]) is None
    assert of([1.0, 0.5, 0.25]) is False  # falls as m^(-1/3)


def test_the_loss_law():
    """1/(m t) at wide m holds in both parts, 1/(m² t) and 1/(m t²) fail in one."""
    t = np.geomspace(1e-3, 1e3, 60)

    def of(power_m, power_t):
        cases = []
        for width in (2**12, 2**14, 2**17):
            loss = ("t", (t * width) ** -1.0 * width ** (1 - power_m) * t ** (1 - power_t))
            data = xr.Dataset({"loss": loss, "margin": ("t", t * width - 100)}, {"t": t})
            cases += [data.expand_dims(width=[width], seed=[0])]
        return measures.loss_decays({"one": xr.concat(cases, "width")}, "one").parts

    assert of(1.0, 1.0) == {"in m": True, "in t": True}
    assert of(1.5, 1.0) == {"in m": False, "in t": True} and of(1.0, 1.5)["in t"] is False


def test_unequal_targets():
    settings = {"samples": 60, "length": 5, "words": "distinct"}
    batch = jax.jit(controls.UnequalTargets(**settings).training_set)(jax.random.key(0))
    equal = jax.jit(dynamics.Cooccurrence(**settings).training_set)(jax.random.key(0))
    assert np.bincount(batch.type).tolist() == [30, 15, 5, 10] and (batch.targets == equal.targets).all()
    has = np.stack([(np.asarray(batch.inputs) == word).any(axis=1) for word in range(2)])
    assert (has[0] == (np.asarray(batch.type) <= 1)).all()
    assert (has[1] == ((np.asarray(batch.type) == 0) | (np.asarray(batch.type) == 2))).all()


def test_a_control_breaks_one_hypothesis():
    """Its config differs from the theory's in the task alone, or in the scale of W alone.

    So with that hypothesis restored it is the case `theory`, in which the claims pass.
    """

    def flat(variant):
        config = load_config(ROOT / "configs" / "cooccurrence" / "claims.py", variant)
        return flatten(config.copy_and_resolve_references().to_dict())

    theory = flat("theory")
    stated = {claim.controls for claim in claims._claims(0.5)} | {claim.controls for _, claim in claims.FURTHER}
    named = sorted({name for names in stated for name in names})
    kicks = {name: claims.CASES[name].settings for name in named if name.startswith("kick, ")}
    assert len(kicks) == 2 and all(len(set(settings) - set(cases.KICKED)) == 1 for settings in kicks.values())
    assert all(settings[key] == cases.KICKED[key] for settings in kicks.values() for key in cases.KICKED)
    for control in (name for name in named if name not in kicks):
        changed = {key for key, value in flat(control).items() if theory[key] != value}
        assert changed == ({"init.std_of.W"} if control == "fan_in" else {"task.name"}), control
        assert control in ("fan_in", flat(control)["task.name"])


def flatten(settings, prefix=""):
    """{dotted key: value}."""
    flat = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def test_the_score_table_is_that_of_the_weights():
    experiment = dynamics.Experiment.from_config(small_config())
    params, objective, survey = experiment.drawn
    view = View(objective, survey, params, experiment.words)
    table = jax.jit(lambda: evaluator(("score_table",), view)(params))()["score_table"]
    np.testing.assert_allclose(table, jnp.asarray(params["W_K"]).T @ params["W_Q"], rtol=1e-12, atol=1e-14)


def test_the_largest_change_of_a_random_word():
    experiment = dynamics.Experiment.from_config(small_config())
    start, objective, survey = experiment.drawn
    params = {**start, "W_K": jnp.asarray(start["W_K"]).at[0, 4].add(3.0).at[1, 1].add(100.0)}
    view = View(objective, survey, start, experiment.words)
    seen = jax.jit(lambda: evaluator(("score_table", "random_score_change"), view)(params))()
    change = np.abs(seen["score_table"] - jnp.asarray(start["W_K"]).T @ start["W_Q"])
    change[:3, :3] = 0
    np.testing.assert_allclose(seen["random_score_change"], change.max(), rtol=1e-12)
