"""Fits against closed forms, verdicts against their definition, evidence against single solves, controls by data."""

import importlib
import json
import re
import types

import jax
import ml_collections
import numpy as np
import pytest
import xarray
from conftest import ROOT, small_config
from scipy import stats

import dynamics
import dynamics.cli
import experiments
from dynamics.analysis.fits import exponent
from dynamics.laws import GramFlow
from dynamics.studies.claims import Claim, Finding, all_of, judge, markdown, within
from dynamics.studies.evidence import Case, Measured, measure, sweeps_of
from dynamics.sweeps.overrides import grid, own_seeds
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

    def small(numbers, case):
        return Finding(None if np.isnan(numbers[case]) else bool(numbers[case] < 1), f"x = {numbers[case]}")

    claims = (
        claim(small, controls=("control",)),
        claim(small, controls=("control", "blind")),
        claim(small, controls=("unknown",)),
        claim(small, elsewhere={"there": lambda numbers, case: small(numbers, "blind")}),
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
    config.probes = (*config.probes, "parameters")
    return config


def claimed(workdir, module, code=0):
    """The record of `dynamics claims` of a module on the Python path."""
    importlib.invalidate_caches()
    arguments = [f"--module={module}", f"--workdir={workdir}/runs", "--name=run"]
    assert dynamics.cli.main(["dynamics", "claims", *arguments]) == code
    return dynamics.load(workdir / "runs" / "run")


def toy(folder, monkeypatch, name, text):
    """A module of claims outside the repository, on the Python path."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return name


MODULE = """
from test_claims import gram_config
from dynamics.studies.claims import Claim, Finding
from dynamics.studies.evidence import Case
from dynamics.sweeps.overrides import grid, own_seeds
def small(data, case):
    return Finding(bool(data[case].loss.max() < LIMIT), "the loss")
CASES = {"small": Case(gram_config, own_seeds(grid({"model.width": (2**6, 2**12)}, [{}] * 2)))}
CLAIMS = (Claim("Theorem 0", "L is small", "a limit", small, fails=FAILS),)
FIGURES, TABLES = "", {"small": ("Title", [("small", claim) for claim in CLAIMS])}
"""


def test_evidence_is_that_of_single_solves(tmp_path, monkeypatch):
    name = toy(tmp_path, monkeypatch, "toy_evidence", f"LIMIT, FAILS = 1e9, {{}}\n{MODULE}")
    record = claimed(tmp_path, name)
    data = record["small"].load()
    assert record.cases == ["small"] and (data.status == "done").all()
    assert data.loss.dims == ("width", "seed", "t") and data.scores.dims == ("width", "seed", "t", "key", "query")
    assert data.parameters.dims == ("width", "seed", "checkpoint", "parameter")
    for number, width, seed in ((1, 64, 1), (2, 4096, 0)):
        config = gram_config(**{"model.width": width, "seed": number})
        alone = dynamics.solve(dynamics.Experiment.from_config(config.to_dict()), "flow")
        member = data.sel(width=width, seed=seed)
        # Another program rounds differently; both keep the tolerance of the flow.
        np.testing.assert_allclose(member.loss, alone.probes["loss"], rtol=config.laws.flow.rtol)
        exact = alone.at_checkpoints["parameters"]
        np.testing.assert_allclose(member.parameters, exact, rtol=1e-9, atol=1e-10)
    assert len(np.unique(data.loss.isel(t=0))) == 4


def module_with(cases):
    module = types.ModuleType("toy")
    module.CASES = cases
    return module


def test_a_case_has_one_law():
    def two_laws():
        return ml_collections.ConfigDict(small_config())

    module = module_with({"small": Case(two_laws, [{"seed": 0}])})
    with pytest.raises(dynamics.ConfigError, match=r"laws = \['flow', 'gd'\]: must be one law in the case 'small'"):
        sweeps_of(module)
    module = module_with({"small": Case(gram_config, own_seeds(grid({"model.width": (8, 16)})))})
    assert [member.overrides["seed"] for member in sweeps_of(module)["small"].members] == [0, 1]


def test_evidence_is_measured_again_only_for_other_settings(tmp_path):
    calls, reported = [], []

    def walk(length, seed):
        calls.append((length, seed))
        return {"position": (("step",), np.arange(length) + seed)}, {"step": range(length)}, {"seed": seed}

    for length, seed in ((3, 0), (3, 0), (4, 0), (4, 1), (4, 1)):
        cases = {"walk": Measured({"length": length, "seed": seed}, walk), "evolved": Case(gram_config, [{}])}
        measure(module_with(cases), tmp_path, reported.append)
    assert calls == [(3, 0), (4, 0), (4, 1)] and reported == ["walk"] * 3
    data = xarray.open_zarr(tmp_path / "measured.zarr" / "walk", consolidated=False)
    assert data.position.values.tolist() == [1, 2, 3, 4] and data.attrs["seed"] == 1


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
    experiment = dynamics.Experiment.from_config(gram_config().to_dict())
    params, objective = experiment.start
    free, frozen = (jax.jit(law.velocity)(objective, params) for law in (GramFlow(), controls.FrozenAttention()))
    for name in free:
        assert np.abs(free[name]).max() > 0
        expected = 0 if name in ("A", "C_K", "C_Q") else free[name]
        np.testing.assert_allclose(frozen[name], np.broadcast_to(expected, frozen[name].shape), rtol=1e-12)


@pytest.mark.parametrize(("limit", "fails", "code"), [(1e9, "{}", 0), (0.0, "{}", 1), (0.0, "{'small': 'why'}", 0)])
def test_exit_code(tmp_path, monkeypatch, capsys, limit, fails, code):
    """1 exactly when a claim that should pass does not."""
    name = toy(
        tmp_path, monkeypatch, f"toy_{code}_{len(fails)}_{limit > 0}", f"LIMIT, FAILS = {limit}, {fails}\n{MODULE}"
    )
    record = claimed(tmp_path, name, code)
    shown = capsys.readouterr().out
    assert f"{code} that should pass do not" in shown and "the loss" in shown
    judged = json.loads((record.path / "claims.json").read_text())["tables"]["small"]
    assert judged[0]["verdict"] == ("PASS" if limit else "FAIL")
    assert dynamics.cli.main(["dynamics", "show", str(record.path)]) == 0
    assert "| Theorem 0 |" in capsys.readouterr().out


def test_the_claims_of_a_folder_of_experiments(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "experiments" / "toy_paper"
    folder.mkdir(parents=True)
    (folder / "claims.py").write_text(f"LIMIT, FAILS = 1e9, {{}}\n{MODULE}")
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(tmp_path / "experiments")])
    assert dynamics.cli.main(["dynamics", "claims", "toy_paper", f"--workdir={tmp_path}/runs"]) == 0
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["toy_paper-claims-1"]
    assert "1 pass, 0 known not to hold" in capsys.readouterr().out


PAPER = """
import dataclasses
import typing

import jax
import jax.numpy as jnp

import dynamics


@dataclasses.dataclass(frozen=True)
class Liked:
    '''y = sign exactly when word 0 occurs.'''

    samples: int
    length: int
    vocabulary: int
    sign: int = 1

    loss: typing.ClassVar[str] = "logistic"
    population: typing.ClassVar[int] = 8
    named_words: typing.ClassVar[int] = 1
    capabilities: typing.ClassVar[frozenset[str]] = frozenset({"signed_labels"})
    dims: typing.ClassVar[dict] = {}
    types: typing.ClassVar[tuple[str, ...]] = ("sample",)

    @property
    def word_names(self):
        return tuple(f"w{i}" for i in range(self.vocabulary))

    @property
    def coordinates(self):
        return {"type": list(self.types), "sample": list(range(self.samples))}

    def sample(self, key, n, source=None):
        tokens = jax.random.randint(key, (n, self.length), 0, self.vocabulary, jnp.int32)
        label = jnp.where((tokens == 0).any(axis=1), self.sign, -self.sign).astype(jnp.int32)
        return dynamics.Batch(tokens, label, jnp.zeros(n, jnp.int32), source)

    def training_set(self, key):
        return self.sample(key, self.samples)


dynamics.TASKS["liked"] = Liked


@dynamics.probe(needs=("gram",))
def liking(params, view):
    '''G of word 0 minus the mean of G over the others.'''
    G = view.gram(params).G[0]
    return G[0] - jnp.mean(G[1:])


def config(sign):
    made = dynamics.base()
    made.task = {"name": "liked", "samples": 40, "length": 3, "vocabulary": 6, "sign": sign}
    made.model = {"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}
    made.laws = {"gd": {"name": "gd", "learning_rate": 0.1}}
    made.times.update(start=0.1, stop=20.0, count=4)
    made.update(words=6, checkpoints=1, probes=("loss", "margin", "liking"))
    made.wandb.mode = "disabled"
    return made


def grows(data, case):
    change = data[case].liking.isel(t=-1) - data[case].liking.isel(t=0)
    return dynamics.Finding(bool((change > 0).all()), f"change at least {float(change.min()):.3g}")


CASES = {
    "liked": dynamics.Case(lambda: config(1), dynamics.seeds(2)),
    "disliked": dynamics.Case(lambda: config(-1), dynamics.seeds(2)),
}
CLAIM = dynamics.Claim("Theorem 1", "G(w0) − mean G grows", "positive for every seed", grows, ("disliked",))
TABLES = {"toy": ("A toy paper", [("liked", CLAIM)])}
"""


def test_a_paper_of_ones_own_needs_public_names_only(tmp_path, monkeypatch):
    """Task, probe, config and a claim with its control, in a module outside the repository."""
    used = set(re.findall(r"\bdynamics\.(\w+)", PAPER))
    assert len(used) >= 8 and used <= set(dir(dynamics)) and str(ROOT) not in str(tmp_path)
    before = [dict(registry) for registry in (dynamics.TASKS, dynamics.PROBES)]
    try:
        record = claimed(tmp_path, toy(tmp_path, monkeypatch, "toy_of_ones_own", PAPER))
    finally:
        for registry, content in zip((dynamics.TASKS, dynamics.PROBES), before, strict=True):
            registry.clear()
            registry.update(content)
    (verdict,) = json.loads((record.path / "claims.json").read_text())["tables"]["toy"]
    assert verdict["verdict"] == "PASS" and verdict["controls"]["disliked"][0] == "FAIL"
    assert record.cases == ["liked", "disliked"]
    assert record["liked"].liking.dims == record["disliked"].liking.dims == ("seed", "t")
