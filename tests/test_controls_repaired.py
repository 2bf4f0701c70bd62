"""Every control fails for the reason it was built for: once what it breaks is repaired, the claim holds.

A control that is a case of its own differs from the judged case in one hypothesis alone, so that its repair is the
judged case. A control that measures elsewhere gets values in which what is wrong there is right.
"""

import itertools

import numpy as np
import pytest
import xarray as xr
from test_first_paper import flatten, runs
from test_kick import R, synthetic

from dynamics.studies.evidence import Case
from experiments.cooccurrence import claims, max_margin_claims, measures, population_claims
from experiments.cooccurrence.max_margin import MaxMargin
from experiments.qk_eigenspectrum import claims as qk
from experiments.xor import claims as xor

MODULES = {
    "cooccurrence": claims,
    "max_margin": max_margin_claims,
    "population": population_claims,
    "xor": xor,
    "qk_eigenspectrum": qk,
}
T = np.geomspace(1.0, 1e4, 9)
WIDTHS = [2**12, 2**16, 2**20]
SIZES = {"I1": 2.0, "I2": 1.0, "I3": 1.0, "I4": 0.5}


def stated(module):
    """All pairs of a case and a claim."""
    return [pair for _, pairs in MODULES[module].TABLES.values() for pair in pairs]


def over_widths(**values):
    """Runs [width, seed, t] at WIDTHS, with two equal starts, classified from the first time on."""
    arrays = {"margin": np.ones(len(T)), "loss": np.full(len(T), 0.5), **values}
    arrays = {name: xr.DataArray(value, dims="t") if np.ndim(value) == 1 else value for name, value in arrays.items()}
    starts = xr.DataArray(np.ones((len(WIDTHS), 2)), {"width": WIDTHS, "seed": [0, 1]}, ("width", "seed"))
    return xr.Dataset({name: array * starts for name, array in arrays.items()}, {"t": T})


def by_type(sizes):
    return xr.DataArray(np.outer(list(sizes.values()), 1 / T), {"type": list(sizes)}, ("type", "t"))


def velocities(one, two, three):
    return xr.DataArray(np.outer([one, two, three], np.ones(len(T))), {"word": ["μ1", "μ2", "μ3"]}, ("word", "t"))


def of_bounds(one):
    outputs = xr.DataArray(np.ones((2, len(T))), dims=("sample", "t"))
    return {"theory": over_widths(mlp_velocity=velocities(one, 1.0, 1.0), output=outputs)}


def of_sizes(power):
    """Coefficients ∝ n^power."""
    scores = {("μ2", "μ1"): 1.0, ("μ1", "μ2"): 1.0, ("μ3", "μ1"): -1.0, ("μ3", "μ2"): -1.0}

    def of(n):
        starts = [
            runs({pair: slope * n**power * factor for pair, slope in scores.items()}) for factor in (0.999, 1.001)
        ]
        both = xr.concat([start.assign_coords(seed=[k]) for k, start in enumerate(starts)], "seed")
        return both.assign(loss=both.loss**4).assign_coords(width=[measures.SIZES_WIDTH])

    return {f"theory, n = {n}": of(n) for n in measures.SIZES} | {"theory": of(measures.SAMPLES)}


def of_limit(law):
    """Sums of g and velocities of G in the late ratios of a max-margin law; what the samples of I4 have vanishes."""
    late, (first, second) = np.geomspace(1.0, max_margin_claims.LATE, 19), law.multipliers
    g = np.array([law.samples / 2 * first, law.samples / 6 * second, law.samples / 6 * second, 0.0])[:, None] + 0 * late
    g[3] = 1e-3 / late
    G = np.array([law.target, law.target, -law.common])[:, None] + 0 * late
    arrays = {"gradient_by_type": (("type", "t"), g), "mlp_velocity": (("word", "t"), G)}
    of = {"t": late, "type": list(SIZES), "word": ["μ1", "μ2", "μ3"]}
    return {"n = 36, L = 3": xr.Dataset(arrays, of).expand_dims(width=[2**20], seed=[0])}


def of_errors(first_right):
    sizes = [60, 66, 72, 78]
    wrong = np.where(np.array(sizes) < first_right, 0.1, 0.0)
    arrays = {
        "population_error_exact": (("samples", "checkpoint", "estimate"), wrong[:, None, None] + np.zeros((4, 2, 2)))
    }
    return {"all n, L = 5": xr.Dataset(arrays, {"samples": sizes, "estimate": ["mean", "standard error"]})}


def of_populations(values, power=0.0):
    """Population losses, which are values [width] times a power of the training loss 1/√t."""
    widths, t = list(population_claims.WIDTHS), np.geomspace(1.0, 1e14, 29)
    losses = np.einsum("m,s,t,e->mste", values, [1, 1.001], t ** (-power / 2), [1, 0])
    arrays = {"population_loss_exact": (("width", "seed", "t", "estimate"), losses), "loss": ("t", t**-0.5)}
    of = {"width": widths, "seed": [0, 1], "t": t, "estimate": ["mean", "standard error"]}
    return {"n = 120, d = 323": xr.Dataset(arrays, of)}


def of_growth(pace):
    """g grows as cosh(pace r t) with r t = t, g* = 0."""
    t = np.linspace(0, 3, 301)
    path = {"mlp": (("seed", "t", "word"), np.cosh(pace * t)[None, :, None] * np.ones((4, 1, 1)))}
    path["neuron_gram"] = (("seed", "t"), np.full((4, len(t)), 0.5 / 2**2))
    of_sets = {"rate": np.ones((1, 4)), "offset": np.zeros((1, 4)), "direction": np.ones((1, 4, 1))}
    dims = ("samples", "seed", "word")
    sets = xr.Dataset({name: (dims[: value.ndim], value) for name, value in of_sets.items()}, {"seed": range(4)})
    one = xr.Dataset(path, {"t": t, "seed": range(4)}).expand_dims(std=[1.0])
    return {"σ0": one, "plateau, d = 16": sets}


def of_plateaus(at_240):
    loss = np.array([at_240, 0.6, 0.6])[:, None] + 1e-4 * np.arange(8)
    return {"plateau": xr.Dataset({"loss": (("samples", "seed"), loss)}, {"samples": [240, 1920, 3840]})}


def of_attention(entropies, last=None):
    """Cells (mean, variance): the entropy, or the attention on the last 4, at T = 32."""
    seen = np.stack([[value] * 3 for value in (last or entropies).values()], axis=1)[..., None]
    seen = seen + 1e-3 * np.arange(3)[:, None, None]
    what = ["last 4"] if last else ["entropy"]
    cells = list((last or entropies).keys())
    arrays = {"attention": (("seed", "cell", "seen"), seen), "of_length": ("cell", [32] * len(cells))}
    arrays |= {"of_mean": ("cell", [m for m, _ in cells]), "of_variance": ("cell", [v for _, v in cells])}
    return {"one": xr.Dataset(arrays, {"seen": what})}


def of_crossings(share, without_b):
    """One cell of T = 8 in which this share of 10^6 samples crosses."""
    t = np.append(np.full(7, share * 1e6), np.nan)
    arrays = {"crossings": (("seed", "cell", "t"), t[None, None]), "without_b": ("cell", [without_b])}
    arrays |= {"of_length": ("cell", [8.0]), "of_mean": ("cell", [1.0]), "limit": (("cell", "t"), np.full((1, 8), 0.6))}
    return {"one": xr.Dataset(arrays, attrs={"samples": 10**6})}


def of_formulas(formula):
    """Independent samples whose moments are those of the formula of the case `one`."""
    moments = {"mean": formula, "variance": formula, "fourth": 3 * formula**2}
    arrays = {name: (("seed", "cell", "t"), value[None, None]) for name, value in moments.items()}
    arrays |= dict.fromkeys(("mean_formula", "variance_formula"), (("cell", "t"), formula[None]))
    return xr.Dataset(arrays, attrs={"samples": 1000})


STEADY, FALLING = np.ones(len(T)), xr.DataArray(1 / np.array(WIDTHS), {"width": WIDTHS}, ("width",))
LAW = MaxMargin(1e12, 3)
MOMENTS = np.arange(1.0, 9.0)
EQUAL = by_type({**SIZES, "I4": SIZES["I3"]})
# The roles of I3 and of what makes the denominator Σ_{I1} g − Σ_{I2} g positive.
APART = by_type({**SIZES, "I2": 2.0, "I3": 0.5})
PREDICTED = population_claims.predicted("n = 120, d = 323", population_claims.WIDTHS, random_words=False)
WIDE = np.array(population_claims.WIDTHS, float)
HALF, NEVER = np.log(32) / 3, np.log(32)
GEOMETRIC = qk.measures.theory.geometric_entropy(1.0, 32)

# (module, control): measured case, values in which what it breaks is repaired, and values in which it is not.
ELSEWHERE = {
    ("cooccurrence", "at T2"): (
        "one",
        {"one": over_widths()},
        {"one": over_widths(loss=FALLING * xr.DataArray(STEADY, dims="t"))},
    ),
    ("cooccurrence", "for μ1"): ("theory", of_bounds(1e-3), of_bounds(1e3)),
    ("cooccurrence", "I3 and I4"): (
        "one",
        {"one": over_widths(gradient_by_type=EQUAL)},
        {"one": over_widths(gradient_by_type=by_type(SIZES))},
    ),
    ("cooccurrence", "with Σ_{I2} g − Σ_{I3} g in the denominator"): (
        "one",
        {"one": over_widths(gradient_by_type=APART)},
        {"one": over_widths(gradient_by_type=by_type(SIZES))},
    ),
    ("cooccurrence", "the targets' coefficients"): ("theory", of_sizes(-1.0), of_sizes(0.0)),
    ("cooccurrence", "at t = 0"): (
        "one",
        {"one": over_widths(gradient_by_type=EQUAL)},
        {"one": over_widths(gradient_by_type=by_type({**SIZES, "I2": 3.0}))},
    ),
    ("cooccurrence", "r = 0"): (
        "kick",
        {
            "kick": synthetic(kept=0.0)["kick"].pipe(
                lambda one: one.assign(rate_of_words=one.rate_of_words * (1 + R)).assign_attrs(samples=10**9)
            )
        },
        synthetic(),
    ),
    ("cooccurrence", "right after the kick"): (
        "kick",
        {"kick": synthetic()["kick"].pipe(lambda one: one.assign(log_ratio=one.log_ratio / 10))},
        synthetic(),
    ),
    ("max_margin", "n → ∞"): ("n = 36, L = 3", of_limit(LAW), of_limit(MaxMargin(36, 3))),
    ("max_margin", "at t = 0"): ("all n, L = 5", of_errors(70), of_errors(90)),
    ("population", "where the training loss is 0.05"): (
        "n = 120, d = 323",
        of_populations(WIDE**-0.3),
        of_populations(WIDE**0.02, power=0.3),  # falls at T* only
    ),
    ("population", "G = 0 for random words"): (
        "n = 120, d = 323",
        of_populations(PREDICTED),
        of_populations(2 * PREDICTED),
    ),
    ("xor", "n = 240"): ("plateau", of_plateaus(0.5869), of_plateaus(0.41)),
    ("xor", "the rate r/√2"): ("σ0", of_growth(0.5**0.5), of_growth(1.0)),
    ("qk_eigenspectrum", "independent tokens"): (
        "one",
        {"one": of_formulas(MOMENTS), "independent tokens": of_formulas(MOMENTS)},
        {"one": of_formulas(MOMENTS), "independent tokens": of_formulas(2 * MOMENTS)},
    ),
    ("qk_eigenspectrum", "random walk"): (
        "one",
        {"one": of_formulas(MOMENTS), "walks": of_formulas(MOMENTS)},
        {"one": of_formulas(MOMENTS), "walks": of_formulas(2 * MOMENTS)},
    ),
    ("qk_eigenspectrum", "Φ(g/√a)"): ("one", of_crossings(0.6, 0.6), of_crossings(0.6, 0.7)),
    ("qk_eigenspectrum", "Φ(SNR_t)"): ("one", of_crossings(0.6, 0.6), of_crossings(0.7, 0.6)),
    ("qk_eigenspectrum", "m = 1"): ("one", of_crossings(0.5, 0.5), of_crossings(0.6, 0.5)),
    ("qk_eigenspectrum", "v = 100"): (
        "one",
        of_attention({(1.0, 100.0): GEOMETRIC}),
        of_attention({(1.0, 100.0): 0.3}),
    ),
    ("qk_eigenspectrum", "v = 1 against 0"): (
        "one",
        of_attention({(1.0, 1.0): 0.4, (1.0, 0.0): 1.0}),
        of_attention({(1.0, 1.0): 1.0, (1.0, 0.0): 1.0}),
    ),
    ("qk_eigenspectrum", "m = 0"): (
        "one",
        of_attention({}, {(0.0, 1.0): 0.9, (0.0, 10.0): 0.5}),
        of_attention({}, {(0.0, 1.0): 0.2, (0.0, 10.0): 0.25}),
    ),
    ("qk_eigenspectrum", "m = 0, v = 0.01"): (
        "one",
        of_attention({(0.0, 0.01): HALF}),
        of_attention({(0.0, 0.01): NEVER}),
    ),
    ("qk_eigenspectrum", "v = 1000"): ("one", of_attention({(1.0, 1000.0): HALF}), of_attention({(1.0, 1000.0): 0.05})),
}


@pytest.mark.parametrize("module", MODULES)
def test_every_control_elsewhere_holds_once_it_is_repaired(module):
    """All measures of the tables that have this name: with the values of the control they fail, repaired they hold."""
    measured = {(name, measure) for _, claim in stated(module) for name, measure in claim.elsewhere.items()}
    assert {name for name, _ in measured} == {name for of, name in ELSEWHERE if of == module}
    for name, measure in measured:
        case, repaired, broken = ELSEWHERE[module, name]
        assert measure(repaired, case).holds is True, (name, measure(repaired, case))
        assert measure(broken, case).holds is False, (name, measure(broken, case))


# (module, control): the case that it becomes once it is repaired, and the keys in which it differs from it.
CASES = {
    ("max_margin", "n = 18, L = 5"): ("n = 72, L = 5", {"task.samples"}),
    ("max_margin", "all n, L = 4"): ("all n, L = 5", {"task.length", "init.std"}),
    ("xor", "AND"): ("m = 16", {"task.name"}),
    ("xor", "shuffled labels"): ("m = 16", {"task.name"}),
    ("xor", "n = 960, frozen"): ("n = 960", {"train.only"}),
    ("xor", "n = 60"): ("n = 960", {"task.samples"}),
    ("xor", "σ0, frozen"): ("σ0", {"train.only", "init.std"}),  # at the first of its σ0
    ("xor", "Adam"): ("GD", {"laws.law.name", "laws.law.learning_rate", "times.stop", "times.multiple_of"}),
    ("qk_eigenspectrum", "markov shrink"): ("markov locater", {"regulariser.tau", "regulariser.pin"}),
    ("qk_eigenspectrum", "markov zero"): ("markov locater", {"regulariser.tau"}),
    ("qk_eigenspectrum", "markov locater"): ("bag locater", {"task.name"}),
}
# Where one name is the control of several claims: those of m = 16 in exactly-one.
CASES_OF = {"AND": ("AND", {"task.name"}), "m = 16, frozen": ("m = 16, frozen", {"train.only"})}
ELSEWHERE_TESTED = {
    "cooccurrence",  # tests/test_first_paper.py: test_a_control_breaks_one_hypothesis
    ("qk_eigenspectrum", "low rank"),  # tests/test_qk_claims.py: test_the_limit_fails_at_low_rank_and_only_there
}


def settings_of(module, name):
    case = MODULES[module].CASES[name]
    assert isinstance(case, Case), name
    return flatten(case.config().copy_and_resolve_references().to_dict())


@pytest.mark.parametrize("module", ["max_margin", "population", "xor", "qk_eigenspectrum"])
def test_a_control_differs_in_one_hypothesis(module):
    """And the case that it becomes without it is one in which the tables judge the same statement."""
    for judged, claim in stated(module):
        for control in claim.controls:
            if (module, control) in ELSEWHERE_TESTED or (module, claim.statement) in SWEEPS:
                continue
            repaired, keys = CASES_OF[judged] if (module, control) == ("xor", "m = 16") else CASES[module, control]
            ours, theirs = settings_of(module, control), settings_of(module, repaired)
            assert {key for key in ours | theirs if ours.get(key) != theirs.get(key)} == keys, (control, repaired)
            assert any(case == repaired and other.source == claim.source for case, other in stated(module))


# The exponents of the time of escape: each is refuted by sweeps over other numbers.
SWEEPS = {("xor", claim.statement): (case, claim) for case, claim in stated("xor") if "exponent in" in claim.bound}


def swept(power, bend=0.0):
    """Times of escape ∝ x^(power + bend log x) of four training sets, which differ by 1 %."""
    x, t = np.array([1.0, 2.0, 4.0, 8.0]), np.geomspace(0.01, 1e4, 101)
    times = 10 * x ** (power + bend * np.log(x)) * (1 + 0.01 * np.random.default_rng(0).normal(size=(4, 4)))
    loss = 0.25 + 0.1 * np.log(times[..., None] / t)
    return {"one": xr.Dataset({"loss": (("seed", "x", "t"), loss)}, {"seed": range(4), "x": x, "t": t})}


def test_an_exponent_of_sets():
    """A line through times that lie on one, and local exponents where all sets bend."""
    straight, bent = (xor.measures.escape_time(swept(-1.0, bend)["one"]).values for bend in (0.0, 0.1))
    x = np.array([1.0, 2.0, 4.0, 8.0])
    line, curve = (xor.measures.exponent_of_sets(x, times) for times in (straight, bent))
    assert not line.curved and abs(line.slope + 1) < 0.02 and line.high - line.low < 0.05
    stated = [-1 + 0.1 * np.log(a * b) for a, b in itertools.pairwise(x)]
    assert curve.curved and curve.low < min(stated) and max(stated) < curve.high
    np.testing.assert_allclose([one.value for one in curve.local], stated, atol=0.02)
    assert np.isnan(xor.measures.exponent_of_sets(x, np.where(x == 2, np.nan, straight)).slope)
    # A shift of a whole set changes nothing, since each has a line of its own.
    moved = xor.measures.exponent_of_sets(x, straight * np.array([1, 2, 3, 4])[:, None])
    np.testing.assert_allclose(moved[:3], line[:3], rtol=1e-12)


def test_a_line_is_rejected_as_often_as_stated():
    """Where sets have lines of their own and independent errors, the probability of the misfit is uniform."""
    random, x = np.random.default_rng(1), np.array([1.0, 2.0, 4.0, 8.0])
    lines = [random.normal(size=(2, 4, 1)) for _ in range(500)]
    drawn = [np.exp(a + b * np.log(x) + 0.01 * random.normal(size=(4, 4))) for a, b in lines]
    rejected = np.mean([xor.measures.exponent_of_sets(x, times).misfit < 0.1 for times in drawn])
    assert 0.06 < rejected < 0.14


def test_exponents_of_the_escape():
    """A sweep that is the control of a claim holds with the exponent that the claim states, and fails with its own."""
    own = {"width": 0.0, "σ0": -1.05, "S": -0.73, "m1": -0.08, "samples": 0.0}
    assert len(SWEEPS) == len(own)
    for case, claim in SWEEPS.values():
        assert claim.measure(swept(own[case]), "one").holds is True, case
        for control in claim.controls:
            assert claim.measure(swept(own[control]), "one").holds is False, (case, control)
            sweeps, ours = [MODULES["xor"].CASES[name].members for name in (case, control)]
            assert set(sweeps[0]) != set(ours[0])


def test_a_law_at_the_pace_of_the_flow():
    """The control Adam would hold if it left the plateau when the flow does."""
    for case, claim in stated("xor"):
        if claim.controls == ("Adam",):
            paces = {"flow": swept(0.0)["one"].isel(x=0), "Adam": swept(-1.0)["one"].isel(x=3)}
            assert claim.measure({**paces}, "Adam").holds is False, case
            assert claim.measure({**paces, "Adam": paces["flow"]}, "Adam").holds is True, case


@pytest.mark.parametrize("module", MODULES)
def test_every_flow_records_its_drift(module):
    """Without it a broken certificate could not make a verdict inconclusive."""
    for name, case in MODULES[module].CASES.items():
        config = case.config() if isinstance(case, Case) else None
        if config is not None and "rtol" in next(iter(config.laws.values())):
            assert "drift" in config.probes, name


@pytest.mark.parametrize("module", ["cooccurrence", "population"])
def test_cases_share_no_start(module):
    """Except with those of the same starts with frozen attention."""
    cases = {name: case for name, case in MODULES[module].CASES.items() if isinstance(case, Case)}
    seeds = [m["seed"] for name, case in cases.items() if "frozen" not in name for m in case.members]
    assert len(seeds) == len(set(seeds))
    for name, frozen in MODULES[module].COMPANION[1].items():
        assert {m["seed"] for m in cases[frozen].members} <= {m["seed"] for m in cases[name].members}
