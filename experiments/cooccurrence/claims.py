"""What arXiv:2410.09605 proves, as checks: Theorems 3.1 to 3.3, Lemmas 4.1 to 4.7, Corollary 4.6.

The theorems are asymptotic, with hidden constants and logarithms: a check is a sign in every run, an order between
quantities, or an exponent fitted over widths, which may miss the stated one by SLACK (over a factor 4096 in m a
logarithm looks like a power of about 0.1). T1 is operational, see dynamics.trajectory.classification_time; T2 is the
last time.
"""

import pathlib
import runpy
from typing import Any

import numpy as np
import xarray as xr

from dynamics.claims import Case, Claim, Data, Finding, all_of, exponent, within
from dynamics.trajectory import classification_time

__all__ = ["CASES", "CLAIMS", "FIGURES", "TABLES", "t1"]

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cooccurrence" / "claims.py"
WIDTHS = tuple(2**k for k in range(8, 21, 3))
APPENDIX_WIDTHS = tuple(2**k for k in range(7, 20, 4))
CONTROL_WIDTHS = (2**8, 2**14, 2**20)
SIZES = (18, 36)  # n, beside the 60 of the other cases
SIZES_WIDTH = 2**14
SLACK = 0.1
LENGTH = 5  # L
TYPES = ("I1", "I2", "I3", "I4")


def _config(variant: str, **task: Any) -> Any:
    def config() -> Any:
        found = runpy.run_path(str(CONFIG))["get_config"](variant)
        found.task.update(task)
        if task:
            found.probes = ("loss", "population_loss")
        if variant == "contradiction":
            found.times.stop = 1.0  # its loss has a minimum, and the flow is stiff there
        return found

    return config


def _controls(variant: str, widths: tuple[int, ...] = CONTROL_WIDTHS) -> Case:
    return Case(_config(variant), widths, 2)


CASES = {
    "theory": Case(_config("theory"), WIDTHS, 5),
    "appendix": Case(_config("appendix"), APPENDIX_WIDTHS, 5),
    "shuffled_labels": _controls("shuffled_labels"),
    "no_common_token": _controls("no_common_token"),
    "unbalanced_labels": _controls("unbalanced_labels"),
    "frozen_attention": _controls("frozen_attention"),
    "fan_in": _controls("fan_in"),
    "contradiction": _controls("contradiction", (2**8,)),
    **{f"theory, n = {n}": Case(_config("theory", samples=n), (SIZES_WIDTH,), 5) for n in SIZES},
}


def t1(data: Any) -> Any:
    """T1 [width, seed]."""
    return xr.apply_ufunc(
        lambda margin: classification_time(data.t.values, margin), data.margin, input_core_dims=[["t"]], vectorize=True
    )


def _at(t: Any, values: Any) -> Any:
    """Values at one saved time per member; nan where that time is."""
    return values.where(values.t == t).max("t")


def _at_t1(data: Any, values: Any) -> Any:
    return _at(t1(data), values)


def _phase2(data: Any, values: Any) -> Any:
    """Values on [T1, T2]; nan before. A member without a T1 has none."""
    return values.where(data.t >= t1(data))


def _lowest(values: Any) -> Any:
    """The minimum over t of a member; nan when it has no values."""
    return values.min("t", skipna=True)


def _trend(values: Any, low: float, high: float, what: str) -> Finding:
    fit = exponent(values.width.broadcast_like(values).transpose(*values.dims), values)
    return Finding(within(fit, low, high), f"{what} {fit}")


def _always(condition: Any, what: str) -> Finding:
    """A condition in every member."""
    held = np.ravel(condition)
    return Finding(bool(held.all()), f"{what} in {held.sum()} of {held.size} runs")


def _range(values: Any, what: str) -> str:
    return f"{what} {float(values.min()):.3g} to {float(values.max()):.3g}"


def _pair(values: Any, key: str, query: str) -> Any:
    return values.sel(key=key, query=query, drop=True)


def _words(values: Any) -> tuple[Any, Any, Any]:
    """G of μ1, μ2, μ3."""
    return tuple(values.sel(word=word, drop=True) for word in ("μ1", "μ2", "μ3"))


def _variances(case: str, m: Any) -> tuple[Any, Any, int]:
    """σ0², σ1² and m1 of a case at width m."""
    if case == "appendix":
        return 2 / 64, 2 / m, 256
    return 0.09 / (LENGTH * m), 0.09 / (m if case == "fan_in" else 64), 64


def classified(data: Data, case: str) -> Finding:
    return _always(np.isfinite(t1(data[case])), "T1 exists")


def phase_one_ends(data: Data, case: str) -> Finding:
    return _trend(t1(data[case]), -1 - SLACK, -1 + SLACK, "T1 ∝ m^b, b =")


def signals_at_t1(data: Data, case: str) -> Finding:
    one, two, three = _words(_at_t1(data[case], data[case].mlp))
    smallest = np.minimum(np.minimum(one, two), -three)
    trend = _trend(smallest, -SLACK, np.inf, "exponent")
    return trend._replace(measured=f"{_range(smallest, 'min(G(μ1), G(μ2), −G(μ3)) at T1:')}, {trend.measured}")


def grams_stay(data: Data, case: str) -> Finding:
    found = data[case]
    sigma0_squared, sigma1_squared, _ = _variances(case, found.width)
    findings = []
    for name in ("scores", "key_gram", "query_gram", "value_gram", "neuron_gram"):
        change = np.abs(found[name] - found[name].isel(t=0)).where(found.t <= t1(found))
        moved = change.max([dim for dim in change.dims if dim not in ("width", "seed")])
        unit = (sigma1_squared if name == "neuron_gram" else sigma0_squared) * np.sqrt(found.width)
        findings.append(_trend(moved / unit, -np.inf, SLACK, f"{name}:"))
    return all_of(*findings)


def loss_at_t1(data: Data, case: str) -> Finding:
    loss = _at_t1(data[case], data[case].loss)
    trend = _trend(loss, -SLACK, SLACK, "exponent")
    return trend._replace(measured=f"{_range(loss, 'loss(T1):')}, {trend.measured}")


def loss_at_the_end(data: Data, case: str) -> Finding:
    return _trend(data[case].loss.isel(t=-1), -SLACK, SLACK, "exponent")


def scores_move(data: Data, case: str) -> Finding:
    found = data[case]
    signs = {("μ2", "μ1"): 1, ("μ1", "μ2"): 1, ("μ3", "μ1"): -1, ("μ3", "μ2"): -1}
    return _monotone(found, found.scores, found.scores_velocity, signs)


def values_move(data: Data, case: str) -> Finding:
    found = data[case]
    signs = {("μ1", "μ2"): 1, ("μ1", "μ3"): -1, ("μ2", "μ3"): -1}
    return _monotone(found, found.value_gram, found.value_gram_velocity, signs)


def _monotone(data: Any, values: Any, velocity: Any, signs: dict[tuple[str, str], int]) -> Finding:
    """Velocities of one sign on [T1, T2], and the recorded values changed that way."""
    right, moving = [], []
    for pair, sign in signs.items():
        phase2 = _phase2(data, sign * _pair(velocity, *pair))
        right.append(float((phase2 > 0).sum() / max(int(phase2.notnull().sum()), 1)))
        change = sign * (_pair(values, *pair).isel(t=-1) - _at_t1(data, _pair(values, *pair)))
        moving.append((_lowest(phase2) > 0) & (change > 0))
    share = min(right)
    every = _always(np.logical_and.reduce(moving), "all signs")
    return every._replace(measured=f"{every.measured}; at least {100 * share:.1f} % of the times of each")


def _separation(found: Any) -> Any:
    """The smallest of G(μ1) + G(μ2) + G(μ3), −G(μ1) − G(μ3), −G(μ2) − G(μ3) over t."""
    one, two, three = _words(found.mlp)
    return np.minimum(one + two + three, np.minimum(-one - three, -two - three))


def signals_separate(data: Data, case: str) -> Finding:
    found = data[case]
    smallest = _lowest(_phase2(found, _separation(found)))
    trend = _trend(smallest, -SLACK, np.inf, "exponent")
    return trend._replace(measured=f"{_range(smallest, 'smallest of the three on [T1, T2]:')}, {trend.measured}")


def signals_separate_in_the_end(data: Data, case: str) -> Finding:
    found = data[case]
    separation = _separation(found)
    wrong = found.t.where(~(separation > 0)).max("t")
    since = found.t.where(found.t > wrong).min("t") / t1(found)
    trend = _trend(since, -np.inf, SLACK, "exponent")
    ends = _trend(separation.isel(t=-1), -SLACK, np.inf, "of the smallest at T2")
    return all_of(trend._replace(measured=f"{_range(since, 'from t / T1 =')} on, {trend.measured}"), ends)


def _t_star(data: Any) -> Any:
    """The first time with a training loss below 1/m [width, seed]; nan without one."""
    return data.t.where(data.loss <= 1 / data.width).min("t")


def training_loss(data: Data, case: str) -> Finding:
    return _trend(_t_star(data[case]), -3, 3, "first t with loss ≤ 1/m ∝ m^b, b =")


def population_loss(data: Data, case: str) -> Finding:
    found = data[case]
    estimate = _at(_t_star(found), found.population_loss)
    mean = estimate.sel(estimate="mean", drop=True)
    error = float(estimate.sel(estimate="standard error").max())
    trend = _trend(mean, -np.inf, -SLACK, "exponent")
    seen = f"{_range(mean, 'population loss there:')} (± {error:.2g}), {trend.measured}"
    if case == "theory":
        by_size = {n: data[f"theory, n = {n}"].population_loss.isel(t=-1) for n in SIZES}
        by_size[60] = found.population_loss.sel(width=SIZES_WIDTH).isel(t=-1)
        sizes = ", ".join(f"{float(x.sel(estimate='mean').mean()):.3g} at n = {n}" for n, x in by_size.items())
        seen += f"; at T2 and m = {SIZES_WIDTH}: {sizes}"
    return trend._replace(measured=seen)


def _signal_coefficients(found: Any) -> Any:
    """C_{1,2}, C_{2,1}, −C_{3,1}, −C_{3,2}, by the paper's indices C_{key, query} [4, width, seed]."""
    change = found.score_change
    pairs = {("μ1", "μ2"): 1, ("μ2", "μ1"): 1, ("μ3", "μ1"): -1, ("μ3", "μ2"): -1}
    return xr.concat([s * change.sel(any_key=k, any_query=q, drop=True) for (k, q), s in pairs.items()], "pair")


def common_order(data: Data, case: str) -> Finding:
    signal = _signal_coefficients(data[case])
    spread = signal.max("pair") / signal.min("pair")
    found = _always((signal.min("pair") > 0) & (spread <= 10), "positive and within a factor 10")
    return found._replace(measured=f"{found.measured}; {_range(spread, 'largest over smallest:')}")


def _random_share(found: Any) -> Any:
    """The largest coefficient of a random word over the mean of the signals' [width, seed]."""
    names = found.any_key.values
    is_random = xr.DataArray(np.arange(len(names)) >= 3, dims="any_key", coords={"any_key": names})
    involved = is_random | is_random.rename(any_key="any_query")
    return np.abs(found.score_change).where(involved).max(("any_key", "any_query")) / _signal_coefficients(found).mean(
        "pair"
    )


def random_words(data: Data, case: str) -> Finding:
    share = _random_share(data[case])
    small = _always((share > 0) & (share < 0.5), "share below one half")
    small = small._replace(measured=f"{small.measured}; {_range(share, 'share:')}")
    if case != "theory":
        return small
    shares = {n: _random_share(data[f"theory, n = {n}"]).values.ravel() for n in SIZES}
    shares[60] = share.sel(width=SIZES_WIDTH).values
    fit = exponent(np.repeat(list(shares), [len(s) for s in shares.values()]), np.concatenate(list(shares.values())))
    return all_of(small, Finding(within(fit, -1.5, -0.5), f"share ∝ n^b, b = {fit}"))


def start_of_targets(data: Data, case: str) -> Finding:
    found = data[case]
    sigma0_squared, sigma1_squared, m1 = _variances(case, found.width)
    one, two, _ = _words(found.mlp_velocity.isel(t=0))
    slope = np.minimum(one, two) / (m1 * (sigma0_squared + sigma1_squared) * found.width)
    trend = _trend(slope, -SLACK, SLACK, "exponent")
    return trend._replace(measured=f"{_range(slope, 'over (σ0² + σ1²) m:')}, {trend.measured}")


def start_of_common(data: Data, case: str) -> Finding:
    found = data[case]
    m = found.width
    sigma0_squared, sigma1_squared, m1 = _variances(case, m)
    one, two, three = _words(found.mlp_velocity.isel(t=0))
    largest = np.abs(found.output.isel(t=0)).max("sample")
    noise = sigma1_squared * np.sqrt(m * m1) + sigma0_squared * np.sqrt(m * LENGTH)
    bound = noise + (sigma0_squared + sigma1_squared) * m * largest
    share = np.abs(three) / np.minimum(one, two)
    smaller = _always((share > 0) & (share < 0.5), "|Ġ(μ3)| below half of Ġ(μ1), Ġ(μ2)")
    over = np.abs(three) / m1 / bound
    bounded = _always(over <= 1, f"{_range(over, 'over the stated bound:')}, at most 1")
    return all_of(smaller._replace(measured=f"{smaller.measured} ({_range(share, 'share')})"), bounded)


def velocities_balance(data: Data, case: str) -> Finding:
    found = data[case]
    one, two, three = _words(_phase2(found, found.mlp_velocity))
    constant = _lowest(np.minimum(-three / np.maximum(one, two) - 1, 1 + three / (one + two)))
    trend = _trend(constant, -SLACK, np.inf, "exponent")
    return trend._replace(measured=f"{_range(constant, 'largest C that holds on [T1, T2]:')}, {trend.measured}")


def _g(found: Any) -> list[Any]:
    """Σ g over I1, ..., I4, divided by n, on [T1, T2]."""
    return [_phase2(found, found.gradient_by_type.sel(type=kind, drop=True)) for kind in TYPES]


def _balance(data: Data, case: str, first: int, second: int) -> Finding:
    found = data[case]
    one, two = _g(found)[first], _g(found)[second]
    gap = (np.abs(one - two) / np.minimum(one, two)).max("t")
    small = _always(gap <= 0.5, "at most 0.5")
    return small._replace(measured=f"{small.measured} ({_range(gap, 'largest on [T1, T2]:')})")


def targets_balance(data: Data, case: str) -> Finding:
    return _balance(data, case, 1, 2)


def others_balance(data: Data, case: str) -> Finding:
    return _balance(data, case, 2, 3)


def types_balance(data: Data, case: str) -> Finding:
    found = data[case]
    one, two, three, four = _g(found)
    total = one + two + three + four
    negatives, positives = two + three + four - one, one - two
    both = np.minimum(_lowest(negatives / total), _lowest(positives / total))
    ratio = negatives / positives
    return all_of(
        _trend(1 / both, -np.inf, SLACK, f"{_range(1 / both, 'larger of the two ratios:')}, exponent"),
        _trend(ratio.max("t"), -np.inf, SLACK, f"{_range(ratio, 'R(t):')}, max R"),
        _trend(_lowest(ratio), -SLACK, np.inf, "min R"),
    )


def value_velocities(data: Data, case: str) -> Finding:
    found = data[case]
    signs = {("μ2", "μ1"): 1, ("μ1", "μ3"): -1}
    return _monotone(found, found.value_gram, found.value_gram_velocity, signs)


def score_velocities(data: Data, case: str) -> Finding:
    found = data[case]
    m = found.width
    sigma0_squared, _, _ = _variances(case, m)
    unit = found.loss * sigma0_squared * np.sqrt(m) / LENGTH
    pairs = {("μ2", "μ1"): 1, ("μ1", "μ2"): 1, ("μ3", "μ1"): -1, ("μ3", "μ2"): -1}
    quotients = xr.concat([s * _pair(found.scores_velocity, *pair) / unit for pair, s in pairs.items()], "pair")
    phase2 = _phase2(found, quotients)
    lowest, largest = _lowest(phase2).min("pair"), phase2.max(("t", "pair"))
    return all_of(
        _trend(lowest, -SLACK, np.inf, f"{_range(phase2, 'quotients')}, exponent of the smallest"),
        _trend(largest, -np.inf, SLACK, "of the largest"),
    )


# Why a claim is known to fail in a set-up. Those of the appendix were told apart by mending one hypothesis at a time:
# the variants appendix_distinct, appendix_small and appendix_mended of the config.
LATER = "true from a few T1 on only, see the next row: the samples are first classified with the help of random words"
MEMORISED = "what it has learnt of the random words stays; it falls with n and hardly with m"
NOT_WIDE = "m = 128 < m1 = 256 is not wide (Condition 1); likewise with distinct words and a small start"
LARGE = "the Kaiming start has |F(0)| far above 0; with the theory's start it holds"
RECUR = "61 random words for 160 places (Assumption 2.3) and a large start; with both mended it holds"
EITHER = "61 random words for 160 places (Assumption 2.3) and a large start; with either mended it holds"

CLAIMS = (
    Claim(
        "Theorem 3.1",
        "All samples are classified at T1 and stay so",
        "T1 exists in every run",
        classified,
        ("contradiction",),
    ),
    Claim(
        "Theorem 3.1",
        "T1 = Õ(1/m)",
        f"exponent of T1 in m within −1 ± {SLACK}",
        phase_one_ends,
        ("fan_in",),
        fails={"appendix": NOT_WIDE},
    ),
    Claim(
        "Theorem 3.1",
        "G(μ1), G(μ2) ≥ Ω(1) and G(μ3) ≤ −Ω(1) at T1",
        f"positive in every run, exponent in m at least −{SLACK}",
        signals_at_t1,
        ("shuffled_labels", "no_common_token"),
    ),
    Claim(
        "Theorem 3.1",
        "The Grams νᵀW.ᵀW.μ (first 8 words) and ⟨w_i, w_j⟩ (mean of a_i a_j ⟨w_i, w_j⟩) stay near their start until T1",
        f"exponent of the largest change over σ0²√m, σ1²√m at most {SLACK}",
        grams_stay,
        ("fan_in",),
    ),
    Claim(
        "Theorem 3.1",
        "loss(T1) = Θ(1)",
        f"exponent in m within ±{SLACK}",
        loss_at_t1,
        elsewhere={"at T2": loss_at_the_end},
    ),
    Claim(
        "Theorem 3.2",
        "Scores (key, query) (μ2, μ1), (μ1, μ2) increase and (μ3, μ1), (μ3, μ2) decrease on [T1, T2]",
        "the sign of every velocity at every saved time, and of every change, in every run",
        scores_move,
        ("shuffled_labels", "frozen_attention"),
    ),
    Claim(
        "Theorem 3.2",
        "μ1ᵀW_VᵀW_Vμ2 increases, μ1ᵀW_VᵀW_Vμ3 and μ2ᵀW_VᵀW_Vμ3 decrease on [T1, T2]",
        "the sign of every velocity at every saved time, and of every change, in every run",
        values_move,
        ("shuffled_labels", "no_common_token"),
    ),
    Claim(
        "Theorem 3.2",
        "G(μ1) + G(μ2) + G(μ3) ≥ Ω(1), G(μ1) + G(μ3) ≤ −Ω(1), G(μ2) + G(μ3) ≤ −Ω(1) on [T1, T2]",
        f"positive in every run, exponent in m at least −{SLACK}",
        signals_separate,
        ("shuffled_labels", "no_common_token"),
        fails={"theory": LATER, "appendix": LATER},
    ),
    Claim(
        "Theorem 3.2",
        "The same from some t = Õ(T1) on",
        f"exponent of that t over T1 in m at most {SLACK}, of the smallest of the three at T2 at least −{SLACK}",
        signals_separate_in_the_end,
        ("shuffled_labels", "no_common_token"),
        fails={"appendix": RECUR},
    ),
    Claim(
        "Theorem 3.3",
        "The training loss is ≤ 1/poly(m) at some T* = Θ(poly(m))",
        "the loss falls below 1/m in every run, exponent of the time in m within ±3",
        training_loss,
        ("contradiction",),
    ),
    Claim(
        "Theorem 3.3",
        "The population loss is ≤ 1/poly(m) at T*",
        f"where the training loss is 1/m: exponent in m at most −{SLACK}",
        population_loss,
        ("shuffled_labels",),
        fails={"theory": MEMORISED, "appendix": MEMORISED},
    ),
    Claim(
        "Theorem 3.3",
        "C_{1,2}, C_{2,1}, −C_{3,1}, −C_{3,2} are of one common order at T*",
        "all positive and within a factor 10 of one another in every run",
        common_order,
        ("shuffled_labels", "frozen_attention"),
    ),
    Claim(
        "Theorem 3.3",
        "Every coefficient that involves a random word is smaller by a factor of about 1/n",
        "largest of them below half of the mean signal in every run, exponent of the share in n within [−1.5, −0.5]",
        random_words,
        ("shuffled_labels",),
        fails={"appendix": EITHER},
    ),
    Claim(
        "Lemma 4.1",
        "d/dt a_j w_j W_V μ = Θ((σ0² + σ1²) m) at t = 0 for μ1, μ2 (mean over j)",
        f"positive in every run, exponent of the quotient in m within ±{SLACK}",
        start_of_targets,
        ("shuffled_labels",),
        fails={"appendix": LARGE},
    ),
    Claim(
        "Lemma 4.2",
        "The same for μ3 is Õ(σ1²√(m m1) + σ0²√(mL) + (σ0² + σ1²) m max|F(0)|), much smaller",
        "below half of μ1's and μ2's, and at most that expression itself, in every run",
        start_of_common,
        ("unbalanced_labels",),
        fails={"appendix": LARGE},
    ),
    Claim(
        "Lemmas 4.3, 4.5",
        "(1 + C) max(Ġ(μ1), Ġ(μ2)) ≤ −Ġ(μ3) ≤ (1 − C)(Ġ(μ1) + Ġ(μ2)) from T1 on, a constant C > 0",
        f"C positive in every run, exponent in m at least −{SLACK}",
        velocities_balance,
        ("shuffled_labels", "no_common_token"),
        fails={"appendix": RECUR},
    ),
    Claim(
        "Lemma 4.4",
        "|Σ_{I2} g − Σ_{I3} g| / min(Σ_{I2} g, Σ_{I3} g) ≪ 1 on [T1, T2]",
        "at most 0.5 in every run",
        targets_balance,
        elsewhere={"I3 and I4": others_balance},
        fails={"appendix": EITHER},
    ),
    Claim(
        "Lemma 4.5",
        "Σ g / (Σ_{I2∪I3∪I4} g − Σ_{I1} g) = O(1), Σ g / (Σ_{I1} g − Σ_{I2} g) = O(1), R(t) in a fixed range",
        f"positive on [T1, T2] in every run; exponents in m of the ratios and of max R at most {SLACK}, of min R at "
        f"least −{SLACK}",
        types_balance,
        ("shuffled_labels",),
    ),
    Claim(
        "Corollary 4.6",
        "d/dt μ2ᵀW_VᵀW_Vμ1 > 0 and d/dt μ1ᵀW_VᵀW_Vμ3 < 0 on [T1, T2]",
        "the sign of every velocity at every saved time in every run",
        value_velocities,
        ("shuffled_labels", "no_common_token"),
    ),
    Claim(
        "Lemma 4.7",
        "d/dt νᵀW_KᵀW_Qμ = Θ̃(loss σ0² m) / (L√m) for μ ≠ ν in {μ1, μ2}, minus that for ν = μ3",
        f"positive quotients; exponents in m of the smallest on [T1, T2] at least −{SLACK}, of the largest at most "
        f"{SLACK}",
        score_velocities,
        ("shuffled_labels",),
    ),
)

FIGURES = "experiments.cooccurrence.claim_figures"
TABLES = {
    "theory": "Under the theory's data and initialisation: m = 2^8 to 2^20, 5 seeds each",
    "appendix": "The paper's own experiment (Appendix A, true Kaiming): m = 2^7 to 2^19, 5 seeds each",
}
