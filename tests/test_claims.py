"""Fits against closed forms, verdicts against their definition, evidence against single solves, controls by data."""

import json

import jax
import ml_collections
import numpy as np
import pytest
from conftest import small_config
from dynamics.runs.ensemble import Ensemble
from scipy import stats

import dynamics
import dynamics.cli
import experiments
from dynamics.analysis.fits import exponent
from dynamics.laws import GramFlow
from dynamics.studies.claims import Case, Claim, Finding, all_of, gather, judge, markdown, within
from experiments.cooccurrence import controls


def test_exponent_of_a_power():
    x = np.geomspace(1, 1e6, 7)
    fit = exponent(x, 3 * x**-0.7)
    np.testing.assert_allclose(fit, [-0.7] * 3, rtol=1e-6)
    assert np.isnan(exponent(x, x - 5)).all() and str(exponent(x, x - 5)) == "none (not all positive)"


def test_interval_covers_at_its_level():
    """500 fits with noise: the true exponent is in the interval in 95 % of them, within three standard errors."""
    random, x = np.random.default_rng(0), np.repeat(np.geomspace(1, 1e4, 5), 3)
    fits = [exponent(x, x**-1.0 * np.exp(0.2 * random.normal(size=x.size))) for _ in range(500)]
    covered = np.mean([fit.low <= -1 <= fit.high for fit in fits])
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 500)


def test_within():
    x = np.array([1.0, 10.0, 100.0, 1000.0])
    fit = exponent(x, x ** np.array([-1.0, -1.05, -0.95, -1.0]))
    assert fit.low < -1 < fit.high
    assert within(fit, -2.0, 0.0) is True and within(fit, -0.5, 0.0) is False and within(fit, -1.0, 0.0) is None
    assert within(exponent(x, -x), -2.0, 0.0) is False


def test_all_of():
    yes, no, unknown = Finding(True, "a"), Finding(False, "b"), Finding(None, "c")
    assert all_of(yes, yes).holds is True and all_of(yes, unknown).holds is None
    assert all_of(yes, unknown, no) == Finding(False, "a; c; b")


def claim(measure, **settings):
    return Claim("Theorem 0", "x | y", "x < 1", measure, **settings)


def test_verdicts():
    data = {"real": 0.5, "control": 2.0, "blind": 0.5, "unknown": np.nan}

    def small(found, case):
        return Finding(None if np.isnan(found[case]) else bool(found[case] < 1), f"x = {found[case]}")

    claims = (
        claim(small, controls=("control",)),
        claim(small, controls=("control", "blind")),
        claim(small, controls=("unknown",)),
        claim(small, elsewhere={"there": lambda found, case: small(found, "blind")}),
    )
    words = [verdict.verdict for verdict in judge([("real", c) for c in claims], data)]
    assert words == ["PASS", "INCONCLUSIVE", "INCONCLUSIVE", "INCONCLUSIVE"]
    assert [v.verdict for v in judge([("control", claims[0])], data)] == ["FAIL"]
    assert [v.verdict for v in judge([("unknown", claims[0])], data)] == ["INCONCLUSIVE"]
    known = judge([("blind", claim(small, controls=("control",), fails={"blind": "why"}))], data)[0]
    assert known.verdict == "PASS" and known.known == "why"
    table = markdown("Title", judge([("real", claims[0])], data))
    assert table.splitlines()[-1] == ("| Theorem 0 | x \\| y | x < 1 | x = 0.5 | control: FAIL (x = 2.0) | **PASS** |")
    plain = json.loads(json.dumps(judge([("real", claims[0])], data)[0].as_dict()))
    assert plain["verdict"] == "PASS" and plain["controls"] == {"control": ["FAIL", "x = 2.0"]}


def gram_config(**changes):
    config = ml_collections.ConfigDict(small_config(**{"init.draw": "gram", **changes}))
    config.laws = {"flow": {"name": "gram_flow", "rtol": 1e-7, "atol": 1e-9}}
    config.checkpoints = 1
    return config


@pytest.mark.slow
def test_evidence_is_that_of_single_solves(tmp_path):
    case = Case(gram_config, (2**6, 2**12), 2)
    record = gather({"small": case}, tmp_path, "run", "some.module")
    data = record["small"].load()
    assert data.loss.dims == ("width", "seed", "t") and data.scores.dims == ("width", "seed", "t", "key", "query")
    assert data.score_change.dims == ("width", "seed", "any_key", "any_query")
    assert record.state == "done" and record.config.figures == "some.module"
    for number, width, seed in ((1, 64, 1), (2, 4096, 0)):
        found = dynamics.Experiment.from_config(gram_config(**{"model.width": width, "seed": number}).to_dict())
        alone = dynamics.joined([part for part, _ in dynamics.solve(found, "flow")])
        member = data.sel(width=width, seed=seed)
        # Another program of the same steps: equal but for rounding.
        np.testing.assert_allclose(member.loss, alone.probes["loss"], rtol=1e-12)
        change = alone.params["A"][0] - found.start[0]["A"][0]
        np.testing.assert_allclose(member.score_change, change, rtol=1e-10, atol=1e-12)
    assert len(np.unique(data.loss.isel(t=0))) == 4


def test_a_law_that_is_not_there(tmp_path):
    def weights():
        return ml_collections.ConfigDict(small_config())

    with pytest.raises(dynamics.ConfigError, match=r"laws = .*: must have 'adam'"):
        gather({"small": Case(weights, (8,), 1, "adam")}, tmp_path, "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_member_that_fails_is_nan_from_then_on():
    config = gram_config()
    config.laws.flow.max_steps = 3
    found = [dynamics.Experiment.from_config(c.to_dict()) for c in (gram_config(), config)]
    (*_, whole), (*_, cut) = Ensemble(found, "flow")
    assert whole.valid.all() and np.isfinite(whole.probes["loss"]).all()
    reached = int(cut.valid.sum())
    assert 1 <= reached < len(cut.t) == len(whole.t)
    assert np.isfinite(cut.probes["loss"][:reached]).all() and np.isnan(cut.probes["loss"][reached:]).all()


def test_widths_and_seeds_share_a_program():
    members = [dynamics.Experiment.from_config(gram_config(**{"model.width": m}).to_dict()) for m in (16, 10**6)]
    kinds = {dynamics.runs.programs.form(found, "flow") for found in members}
    assert len(kinds) == 1
    other = gram_config(**{"task.samples": 6})
    assert dynamics.runs.programs.form(dynamics.Experiment.from_config(other.to_dict()), "flow") not in kinds


def test_tasks_and_numbers_of_members_share_a_program():
    def ensemble(members, **changes):
        config = gram_config(**changes)
        config.probes = ("loss", "population_loss")
        found = dynamics.Experiment.from_config(config.to_dict())
        (_, program), *_ = Ensemble([found] * members, "flow", size=3)._calls
        return program

    one = ensemble(1)
    shuffled = ensemble(2, **{"task.name": "shuffled_labels"})
    assert shuffled._paths is one._paths and shuffled._starts is not one._starts
    assert ensemble(1, **{"task.length": 5})._paths is not one._paths


def test_controls_are_what_they_say():
    settings = {"samples": 60, "length": 5, "words": "distinct"}
    key = jax.random.key(3)

    def training_set(task):
        return jax.jit(task(**settings).training_set)(key)

    real = training_set(dynamics.Cooccurrence)
    tokens, label = np.asarray(real.tokens), np.asarray(real.label)

    shuffled = training_set(controls.ShuffledLabels)
    np.testing.assert_array_equal(shuffled.tokens, tokens)
    assert sorted(shuffled.label.tolist()) == sorted(label.tolist())
    assert stats.pearsonr(np.asarray(shuffled.label), label).statistic < 0.5

    same = training_set(controls.Contradiction)
    labels = {}
    for row, y in zip(np.sort(np.asarray(same.tokens), axis=1).tolist(), same.label.tolist(), strict=True):
        labels.setdefault(tuple(row), set()).add(y)
    assert len(labels) == 4 and {-1, 1} in labels.values()

    missing = np.asarray(training_set(controls.NoCommonToken).tokens)
    assert (missing != 2).all() and (missing == tokens).mean() == 0.8 and missing.max() < 163

    unbalanced = training_set(controls.UnbalancedLabels)
    assert int(np.asarray(unbalanced.label).sum()) == 20


def test_frozen_attention_moves_the_rest():
    found = dynamics.Experiment.from_config(gram_config().to_dict())
    params, objective = found.start
    free, frozen = (jax.jit(law.velocity)(objective, params) for law in (GramFlow(), controls.FrozenAttention()))
    for name in free:
        assert np.abs(free[name]).max() > 0
        expected = 0 if name in ("A", "C_K", "C_Q") else free[name]
        np.testing.assert_allclose(frozen[name], np.broadcast_to(expected, frozen[name].shape), rtol=1e-12)


MODULE = """
from test_claims import gram_config
from dynamics.studies.claims import Case, Claim, Finding
def small(data, case):
    return Finding(bool(data[case].loss.max() < LIMIT), "the loss")
CASES = {"small": Case(gram_config, (64,), 2)}
CLAIMS = (Claim("Theorem 0", "L is small", "a limit", small, fails=FAILS),)
FIGURES, TABLES = "", {"small": ("Title", [("small", claim) for claim in CLAIMS])}
"""


@pytest.mark.parametrize(("limit", "fails", "code"), [(9.0, "{}", 0), (0.0, "{}", 1), (0.0, "{'small': 'why'}", 0)])
def test_exit_code(tmp_path, monkeypatch, capsys, limit, fails, code):
    """1 exactly when a claim that should pass does not."""
    name = f"toy{abs(hash((limit, fails)))}"
    folder = tmp_path / "experiments" / name
    folder.mkdir(parents=True)
    (folder / "claims.py").write_text(f"LIMIT, FAILS = {limit}, {fails}\n{MODULE}")
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(tmp_path / "experiments")])
    assert dynamics.cli.main(["dynamics", "claims", name, f"--workdir={tmp_path}/runs"]) == code
    shown = capsys.readouterr().out
    assert f"{code} that should pass do not" in shown and "the loss" in shown
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "claims.json").read_text())["small"][0]["verdict"] == ("PASS" if limit else "FAIL")
    assert dynamics.cli.main(["dynamics", "ls", f"--workdir={tmp_path}/runs"]) == 0
