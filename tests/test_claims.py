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
from dynamics.analysis.fits import Interval, detectable, exponent, mean_interval, weighted_order
from dynamics.report.page import page
from dynamics.studies.claims import Claim, Finding, above, all_inside, all_of, inside, judge, markdown
from dynamics.studies.evidence import Case, Measured, case_config, measure, sweeps_of
from dynamics.sweeps.overrides import grid, own_seeds
from experiments.cooccurrence import controls


def test_exponent_of_a_power():
    x = np.geomspace(1, 1e6, 7)
    fit = exponent(x, 3 * x**-0.7)
    np.testing.assert_allclose(fit[:3], [-0.7] * 3, rtol=1e-6)
    assert np.isnan(exponent(x, x - 5).slope) and str(exponent(x, x - 5)) == "none (not all positive)"


def test_interval_covers_at_its_level():
    """500 fits with noise: the true exponent is in the interval in 95 % of them, within three standard errors.

    The test for lack of fit rejects one in a hundred of these lines, as it should.
    """
    random, x = np.random.default_rng(0), np.repeat(np.geomspace(1, 1e4, 5), 3)
    fits = [exponent(x, x**-1.0 * np.exp(0.2 * random.normal(size=x.size))) for _ in range(500)]
    covered = np.mean([fit.low <= -1 <= fit.high for fit in fits])
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 500)
    assert abs(np.mean([fit.curved for fit in fits]) - 0.01) < 3 * np.sqrt(0.01 * 0.99 / 500)


def test_a_line_through_a_curve_has_no_interval():
    random, x = np.random.default_rng(1), np.repeat(np.geomspace(1, 1e4, 5), 3)
    noise = np.exp(0.01 * random.normal(size=x.size))
    line, curve = exponent(x, x**-1.0 * noise), exponent(x, x**-1.0 * np.exp(0.05 * np.log(x) ** 2) * noise)
    assert not line.curved and inside(line, -1.01, -0.99) is True
    step = np.log(10)
    stated = [-1 + 0.05 * step * (2 * k + 1) for k in range(4)]
    assert curve.curved and np.allclose([one.value for one in curve.local], stated, atol=0.01)
    assert curve.low < stated[0] and curve.high > stated[-1] and "no line" in str(curve)


def test_a_weighted_order_takes_values_near_zero():
    """The interval covers the true exponent in 95 % of 400 cases, in which a third of the smallest is negative."""
    random, x = np.random.default_rng(0), np.geomspace(0.05, 1, 5)
    errors = np.full(5, 0.1)
    fits = [weighted_order(x, x**1.0 + errors * random.normal(size=5), errors) for _ in range(400)]
    covered = np.mean([fit.low <= 1 <= fit.high for fit in fits])
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 400)
    exact = weighted_order(x, 2 * x**1.5, errors)
    assert exact.slope == pytest.approx(1.5, abs=1e-6) and exact.low < 1.5 < exact.high
    assert np.isnan(weighted_order(x, -x, errors).slope)


def test_a_detectable_mean_is_seen_at_the_stated_power():
    random, size = np.random.default_rng(0), 8
    effect = np.mean([detectable(random.normal(size=size)) for _ in range(2000)])
    seen = np.mean([mean_interval(effect + random.normal(size=size)).low > 0 for _ in range(2000)])
    assert abs(seen - 0.9) < 0.03


@pytest.mark.parametrize("bend", [0.0, 1.0])
def test_a_detectable_exponent_is_seen_at_the_stated_power(bend):
    """Of a line, the exponent itself; of a curve, whose local exponents are b and b + 1, the smaller of them."""
    random, x = np.random.default_rng(0), np.repeat([1.0, 10.0, 100.0], 4)

    def fit(b):
        curve = np.maximum(x / 10, 1) ** bend
        return exponent(x, x**b * curve * np.exp(0.1 * random.normal(size=x.size)))

    assert fit(0.0).curved == (bend > 0)
    effect = np.mean([fit(0.0).detectable for _ in range(500)])
    seen = np.mean([fit(effect).low > 0 for _ in range(500)])
    assert abs(seen - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 500)


def test_equivalence_and_difference():
    interval, nothing = Interval(1.0, 0.5, 1.5), Interval(np.nan, np.nan, np.nan)
    assert inside(interval, 0.0, 2.0) is True and inside(interval, 2.0, 3.0) is False
    assert inside(interval, 1.0, 3.0) is None
    assert above(interval) is True and above(interval, 2.0) is False and above(interval, 1.0) is None
    assert inside(nothing, -np.inf, np.inf) is None and above(nothing) is None


def test_all_of():
    yes, no, unknown = Finding(True, "a"), Finding(False, "b"), Finding(None, "c")
    assert all_of({"A": yes, "B": yes}).holds is True and all_of({"A": yes, "C": unknown}).holds is None
    every = all_of({"A": yes, "C": unknown, "B": no})
    assert every == Finding(False, "a; c; b", {"A": True, "C": None, "B": False})


def claim(measure, **settings):
    return Claim("Theorem 0", "x | y", "x < 1", measure, **settings)


def test_all_inside():
    """The parts are judged by `inside`, each one shown with its name."""
    within, across = Interval(1.0, 0.5, 1.5), Interval(2.0, 1.5, 2.5)
    finding = all_inside({"one": (within, 0.0, 2.0), "two": (across, 0.0, 2.0)})
    assert finding == Finding(None, "one 1 [0.5, 1.5]; two 2 [1.5, 2.5]", {"one": True, "two": None})
    assert all_inside({"one": (within, 0.0, 2.0), "two": (across, 0.0, 1.0)}).holds is False


def test_config_of_a_case(tmp_path):
    """A variant with one law and changed keys; each call starts from the file."""
    file = tmp_path / "own.py"
    file.write_text(
        "import dynamics\n\n\ndef get_config(variant='usual'):\n    config = dynamics.base()\n"
        "    config.figures = variant\n"
        "    config.laws = {'gd': {'name': 'gd'}, 'flow': {'name': 'flow'}}\n    return config\n"
    )
    config = case_config(file, "other", "flow", times={"count": 7}, task={"name": "bag"})()
    assert (config.figures, list(config.laws), config.times.count, config.task.name) == ("other", ["flow"], 7, "bag")
    unchanged = case_config(file)()
    assert (unchanged.figures, sorted(unchanged.laws)) == ("usual", ["flow", "gd"]) and unchanged.times.count != 7


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
    assert "the control blind holds" in judge([("real", claims[1])], data)[0].reason
    assert "the control unknown is inconclusive" in judge([("real", claims[2])], data)[0].reason
    table = markdown("Title", judge([("real", claims[0])], data))
    assert table.splitlines()[-1] == ("| Theorem 0 | x \\| y | x < 1 | x = 0.5 | control: FAIL (x = 2.0) | **PASS** |")
    plain = json.loads(json.dumps(judge([("real", claims[0])], data)[0].as_dict()))
    assert plain["verdict"] == "PASS" and plain["controls"] == {"control": ["FAIL", "x = 2.0"]}


def test_a_failure_is_explained_by_what_repairs_it():
    data = {"real": 2.0, "mended": 0.5, "other": 3.0}

    def small(numbers, case):
        return Finding(bool(numbers[case] < 1), f"x = {numbers[case]}")

    def half(numbers, case):
        return Finding(bool(numbers[case] / 4 < 1), f"x / 4 = {numbers[case] / 4}")

    def of(repairs):
        (verdict,) = judge([("real", claim(small, repairs={"real": repairs}))], data)
        return verdict

    assert of({"when mended": "mended", "otherwise": "other"}).reason == "holds when mended; fails too otherwise"
    assert of({"when mended": "mended"}).explained and of({"over 4": half}).explained
    assert not of({"otherwise": "other"}).explained and not of({}).explained
    passing = claim(small, repairs={"mended": {"otherwise": "other"}})
    assert judge([("mended", passing)], data)[0].reason == ""


def test_every_part_needs_a_control():
    data = {"real": (0, 0), "first": (2, 0), "second": (0, 2)}

    def small(numbers, case):
        return all_of({name: Finding(x < 1, f"x = {x}") for name, x in zip("AB", numbers[case], strict=True)})

    def word(*controls):
        (verdict,) = judge([("real", claim(small, controls=controls))], data)
        return verdict.verdict, verdict.reason

    assert word("first", "second") == ("PASS", "")
    assert word("first") == ("INCONCLUSIVE", "no control refutes the part: B")


def test_a_companion_is_a_column():
    data = {"real": 0.5, "frozen": 2.0, "control": 3.0}

    def small(numbers, case):
        return Finding(bool(numbers[case] < 1), f"x = {numbers[case]}")

    verdicts = judge([("real", claim(small, controls=("control",)))], data, {"real": "frozen"})
    assert verdicts[0].verdict == "PASS" and verdicts[0].companion == ("FAIL", "x = 2.0")
    table = markdown("Title", verdicts, "attention frozen").splitlines()
    assert "| attention frozen |" in table[2] and "| FAIL (x = 2.0) |" in table[-1]


@pytest.mark.parametrize(
    ("stabilised", "drift", "word"), [(0, 1e-6, "INCONCLUSIVE"), (1, 1e-6, "PASS"), (0, 5.9e-7, "PASS")]
)
def test_a_drift_above_its_allowance_decides_nothing(stabilised, drift, word):
    """6 rtol is allowed, and 0.06 rtol^(2/3) with steps of the stabilised method."""
    arrays = {"drift": ("t", [0.0, drift]), "stabilised": ("t", [0, stabilised])}
    data = {"real": xarray.Dataset(arrays, attrs={"rtol": 1e-7}), "control": xarray.Dataset()}
    holds = claim(lambda data, case: Finding(case == "real", "it"), controls=("control",))
    (verdict,) = judge([("real", holds)], data)
    assert verdict.verdict == word and ("above its allowance" in verdict.measured) == (word == "INCONCLUSIVE")


def test_post_hoc_is_in_the_row():
    holds = claim(lambda data, case: Finding(True, "it"), post_hoc="the bound")
    assert (
        markdown("Title", judge([("real", holds)], {"real": 1}))
        .splitlines()[-1]
        .endswith("**PASS**; post hoc: the bound |")
    )


def gram_config(**changes):
    config = ml_collections.ConfigDict(small_config(**{"init.draw": "gram", **changes}))
    config.laws = {"flow": {"name": "gram_flow", "rtol": 1e-7, "atol": 1e-9}}
    config.checkpoints = 1
    config.probes = (*config.probes, "parameters")
    return config


def claimed(workdir, module, code=0):
    """The record of `dynamics claims` of a module on the Python path."""
    importlib.invalidate_caches()
    arguments = [f"--module={module}", f"--workdir={workdir}/runs", "--name=run", "--no-report"]
    assert dynamics.cli.main(["dynamics", "claims", *arguments]) == code
    return dynamics.load(workdir / "runs" / "run")


def toy(folder, monkeypatch, name, text):
    """A module of claims outside the repository, on the Python path."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return name


MODULE = """
from test_claims import gram_config
from dynamics.report.page import page
from dynamics.studies.claims import Claim, Finding
from dynamics.studies.evidence import Case
from dynamics.sweeps.overrides import grid, own_seeds
def small(data, case):
    return Finding(bool(data[case].loss.max() < LIMIT), "the loss")
CASES = {"small": Case(gram_config, own_seeds(grid({"model.width": (2**6, 2**12)}, [{}] * 2)))}
CLAIMS = (Claim("Theorem 0", "L is small", "a limit", small, repairs=REPAIRS),)
FIGURES, TABLES = "", {"small": ("Title", [("small", claim) for claim in CLAIMS])}
"""


@pytest.mark.slow
def test_evidence_is_that_of_single_solves(tmp_path, monkeypatch):
    name = toy(tmp_path, monkeypatch, "toy_evidence", f"LIMIT, REPAIRS = 1e9, {{}}\n{MODULE}")
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
    assert calls == [(3, 0), (4, 0), (4, 1)] and reported == ["walk: measured"] * 3
    data = xarray.open_zarr(tmp_path / "measured.zarr" / "walk", consolidated=False)
    assert data.position.values.tolist() == [1, 2, 3, 4] and data.attrs["seed"] == 1


def test_controls_are_what_they_say():
    settings = {"samples": 60, "length": 5, "words": "distinct"}
    key = jax.random.key(3)

    def training_set(task):
        return jax.jit(task(**settings).training_set)(key)

    real = training_set(dynamics.Cooccurrence)
    tokens, label = np.asarray(real.inputs), np.asarray(real.targets)

    shuffled = training_set(controls.ShuffledLabels)
    np.testing.assert_array_equal(shuffled.inputs, tokens)
    assert sorted(shuffled.targets.tolist()) == sorted(label.tolist())
    assert stats.pearsonr(np.asarray(shuffled.targets), label).statistic < 0.5

    same = training_set(controls.Contradiction)
    labels = {}
    for row, y in zip(np.sort(np.asarray(same.inputs), axis=1).tolist(), same.targets.tolist(), strict=True):
        labels.setdefault(tuple(row), set()).add(y)
    assert len(labels) == 4 and {-1, 1} in labels.values()

    missing = np.asarray(training_set(controls.NoCommonToken).inputs)
    assert (missing != 2).all() and (missing == tokens).mean() == 0.8 and missing.max() < 163

    unbalanced = training_set(controls.UnbalancedLabels)
    assert int(np.asarray(unbalanced.targets).sum()) == 20


HOLDS = "{'small': {'in words': lambda data, case: Finding(True, 'it')}}"


@pytest.mark.parametrize(("limit", "repairs", "code"), [(1e9, "{}", 0), (0.0, "{}", 1), (0.0, HOLDS, 0)])
def test_exit_code(tmp_path, monkeypatch, capsys, limit, repairs, code):
    """1 exactly when a claim does not pass and no repair explains it."""
    name = toy(
        tmp_path,
        monkeypatch,
        f"toy_{code}_{len(repairs)}_{limit > 0}",
        f"from dynamics.studies.claims import Finding\nLIMIT, REPAIRS = {limit}, {repairs}\n{MODULE}",
    )
    record = claimed(tmp_path, name, code)
    shown = capsys.readouterr().out
    assert f"{code} that should pass do not" in shown and "the loss" in shown
    judged = json.loads((record.path / "claims.json").read_text())["tables"]["small"]
    assert judged[0]["verdict"] == ("PASS" if limit else "FAIL")
    (verdicts,) = re.findall(r'<ol class="claims">(.*?)</ol>', page([record]), re.S)
    assert f'<span class="verdict {judged[0]["verdict"]}">' in verdicts and "L is small" in verdicts
    assert ("with in words" in verdicts) == bool(judged[0]["repairs"]) and "<h2>Title</h2>" in page([record])
    assert dynamics.cli.main(["dynamics", "show", str(record.path)]) == 0
    assert "| Theorem 0 |" in capsys.readouterr().out


def test_the_claims_of_a_folder_of_experiments(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "experiments" / "toy_paper"
    folder.mkdir(parents=True)
    (folder / "claims.py").write_text(f"LIMIT, REPAIRS = 1e9, {{}}\n{MODULE}")
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(tmp_path / "experiments")])
    assert dynamics.cli.main(["dynamics", "claims", "toy_paper", f"--workdir={tmp_path}/runs"]) == 0
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["toy_paper-claims-1"]
    assert "1 pass, 0 fail and hold after a repair" in capsys.readouterr().out


PAPER = """
import dataclasses
import typing

import jax
import jax.numpy as jnp

import dynamics


@dataclasses.dataclass(frozen=True)
class Liked(dynamics.Task):
    '''y = sign exactly when word 0 occurs.'''

    length: int
    vocabulary: int
    sign: int = 1

    loss: typing.ClassVar[str] = "logistic"
    dims: typing.ClassVar[dict] = {"inputs": ("position",)}
    capabilities: typing.ClassVar[frozenset[str]] = frozenset({"signed_targets"})

    @property
    def sizes(self):
        return {"vocabulary": self.vocabulary, "length": self.length}

    @property
    def word_names(self):
        return tuple(f"w{i}" for i in range(self.vocabulary))

    def sample(self, key, n, source=None):
        tokens = jax.random.randint(key, (n, self.length), 0, self.vocabulary, jnp.int32)
        label = jnp.where((tokens == 0).any(axis=1), self.sign, -self.sign).astype(jnp.int32)
        return dynamics.Batch(tokens, label)


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
