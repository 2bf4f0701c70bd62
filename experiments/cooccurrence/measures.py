"""The statistics of the claims of arXiv:2410.09605, as functions (datasets, name of a case) -> Finding.

T1 is the time from which on all samples are classified, interpolated between saved times, as in
dynamics.analysis.events.classification_time. A value at T1 is the value at the first saved time from T1 on. T2 is the
last saved time.
"""

from typing import Any

import numpy as np
import xarray as xr

from dynamics.analysis.events import classification_time
from dynamics.analysis.fits import exponent
from dynamics.studies.claims import Data, Finding, all_of, inside
from experiments.cooccurrence.theory import SCORES, SIGNALS, TYPES, VALUES, Signs, signed

SIZES = (18, 36)  # n; the other cases have 60
SIZES_WIDTH = 2**14  # m at which n varies
SLACK = 0.1  # allowed error of a fitted exponent: over these widths log m looks like a power of about 0.1
LENGTH = 5  # L


def t1(data: Any) -> Any:
    """T1 [width, seed]."""
    return xr.apply_ufunc(
        lambda margin: classification_time(data.t.values, margin), data.margin, input_core_dims=[["t"]], vectorize=True
    )


def saved_t1(data: Any) -> Any:
    """The first saved time from T1 on [width, seed]."""
    return data.t.where(data.t >= t1(data)).min("t")


def _at(t: Any, values: Any) -> Any:
    """Values at the saved time t of every member; nan if t is."""
    return values.where(values.t == t).max("t")


def _at_t1(data: Any, values: Any) -> Any:
    return _at(saved_t1(data), values)


def _phase2(data: Any, values: Any) -> Any:
    """Values on [T1, T2], and nan before; all nan for members that have no T1."""
    return values.where(data.t >= t1(data))


def _lowest(values: Any) -> Any:
    """The minimum over t for every member; nan if all values are."""
    return values.min("t", skipna=True)


def _trend(values: Any, low: float, high: float, what: str) -> Finding:
    fit = exponent(values.width.broadcast_like(values).transpose(*values.dims), values)
    return Finding(inside(fit, low, high), f"{what} {fit}")


def always(condition: Any, what: str) -> Finding:
    """Whether a condition holds in every member."""
    held = np.ravel(condition)
    return Finding(bool(held.all()), f"{what} in {held.sum()} of {held.size} runs")


def _range(values: Any, what: str) -> str:
    return f"{what} {float(values.min()):.3g} to {float(values.max()):.3g}"


def _words(values: Any) -> tuple[Any, Any, Any]:
    """G of μ1, μ2, μ3."""
    return tuple(values.sel(word=word, drop=True) for word in SIGNALS)


def _variances(case: str, m: Any) -> tuple[Any, Any, int]:
    """σ0², σ1² and m1 of a case at width m."""
    if case == "appendix":
        return 2 / 64, 2 / m, 256
    return 0.09 / (LENGTH * m), 0.09 / (m if case == "fan_in" else 64), 64


def classified(data: Data, case: str) -> Finding:
    """Whether T1 exists."""
    return always(np.isfinite(t1(data[case])), "T1 exists")


def phase_one_ends(data: Data, case: str) -> Finding:
    """The exponent of T1 in m."""
    return _trend(t1(data[case]), -1 - SLACK, -1 + SLACK, "T1 ∝ m^b, b =")


def signals_at_t1(data: Data, case: str) -> Finding:
    """The smallest of G(μ1), G(μ2), −G(μ3) at T1, and its exponent."""
    one, two, three = _words(_at_t1(data[case], data[case].mlp))
    smallest = np.minimum(np.minimum(one, two), -three)
    trend = _trend(smallest, -SLACK, np.inf, "exponent")
    return trend._replace(measured=f"{_range(smallest, 'min(G(μ1), G(μ2), −G(μ3)) at T1:')}, {trend.measured}")


def grams_stay(data: Data, case: str) -> Finding:
    """The exponents in m of the largest change of every Gram matrix until T1, in the unit of that matrix."""
    runs = data[case]
    sigma0_squared, sigma1_squared, _ = _variances(case, runs.width)
    findings = []
    for name in ("scores", "key_gram", "query_gram", "value_gram", "neuron_gram"):
        change = np.abs(runs[name] - runs[name].isel(t=0)).where(runs.t <= saved_t1(runs))
        moved = change.max([dim for dim in change.dims if dim not in ("width", "seed")])
        unit = (sigma1_squared if name == "neuron_gram" else sigma0_squared) * np.sqrt(runs.width)
        findings.append(_trend(moved / unit, -np.inf, SLACK, f"{name}:"))
    return all_of(*findings)


def loss_at_t1(data: Data, case: str) -> Finding:
    """The loss at T1 and its exponent."""
    loss = _at_t1(data[case], data[case].loss)
    trend = _trend(loss, -SLACK, SLACK, "exponent")
    return trend._replace(measured=f"{_range(loss, 'loss(T1):')}, {trend.measured}")


def loss_at_the_end(data: Data, case: str) -> Finding:
    """The exponent of the loss at T2."""
    return _trend(data[case].loss.isel(t=-1), -SLACK, SLACK, "exponent")


def scores_move(data: Data, case: str) -> Finding:
    """The signs of the targets' scores on [T1, T2]."""
    return _monotone(data[case], "scores", SCORES)


def values_move(data: Data, case: str) -> Finding:
    """The signs of the targets' value Grams on [T1, T2]."""
    return _monotone(data[case], "value_gram", VALUES)


def _monotone(data: Any, gram: str, signs: Signs) -> Finding:
    """Whether velocities have the stated signs on [T1, T2], and the values changed in these directions."""
    values, phase2 = signed(data[gram], signs), _phase2(data, signed(data[f"{gram}_velocity"], signs))
    everything = [dim for dim in phase2.dims if dim != "pair"]
    right = (phase2 > 0).sum(everything) / phase2.notnull().sum(everything).clip(1)
    change = values.isel(t=-1) - _at_t1(data, values)
    every = always(((_lowest(phase2) > 0) & (change > 0)).all("pair"), "all signs")
    share = float(right.min())
    return every._replace(measured=f"{every.measured}; at least {100 * share:.1f} % of the times of each")


def _separation(runs: Any) -> Any:
    """The smallest of G(μ1) + G(μ2) + G(μ3), −G(μ1) − G(μ3), −G(μ2) − G(μ3) over t."""
    one, two, three = _words(runs.mlp)
    return np.minimum(one + two + three, np.minimum(-one - three, -two - three))


def signals_separate(data: Data, case: str) -> Finding:
    """The smallest of the three sums of G on [T1, T2]."""
    runs = data[case]
    smallest = _lowest(_phase2(runs, _separation(runs)))
    trend = _trend(smallest, -SLACK, np.inf, "exponent")
    return trend._replace(measured=f"{_range(smallest, 'smallest of the three on [T1, T2]:')}, {trend.measured}")


def signals_separate_in_the_end(data: Data, case: str) -> Finding:
    """The time after which the three sums of G keep their signs, over T1, and its exponent."""
    runs = data[case]
    separation = _separation(runs)
    wrong = runs.t.where(~(separation > 0)).max("t")
    since = runs.t.where(runs.t > wrong).min("t") / saved_t1(runs)
    trend = _trend(since, -np.inf, SLACK, "exponent")
    ends = _trend(separation.isel(t=-1), -SLACK, np.inf, "of the smallest at T2")
    return all_of(trend._replace(measured=f"{_range(since, 'from t / T1 =')} on, {trend.measured}"), ends)


def _t_star(data: Any) -> Any:
    """The first saved time with a training loss of at most 1/m [width, seed]; nan if there is none."""
    return data.t.where(data.loss <= 1 / data.width).min("t")


def training_loss(data: Data, case: str) -> Finding:
    """The exponent of the first time with a training loss of 1/m."""
    return _trend(_t_star(data[case]), -3.0, 3.0, "first t with loss ≤ 1/m ∝ m^b, b =")


def population_loss(data: Data, case: str) -> Finding:
    """The population loss at the first time with a training loss of 1/m, and its exponent."""
    runs = data[case]
    estimate = _at(_t_star(runs), runs.population_loss)
    mean = estimate.sel(estimate="mean", drop=True)
    error = float(estimate.sel(estimate="standard error").max())
    trend = _trend(mean, -np.inf, -SLACK, "exponent")
    seen = f"{_range(mean, 'population loss there:')} (± {error:.2g}), {trend.measured}"
    if case == "theory":
        by_size = {n: data[f"theory, n = {n}"].population_loss.isel(t=-1) for n in SIZES}
        by_size[60] = runs.population_loss.sel(width=SIZES_WIDTH).isel(t=-1)
        sizes = ", ".join(f"{float(x.sel(estimate='mean').mean()):.3g} at n = {n}" for n, x in by_size.items())
        seen += f"; at T2 and m = {SIZES_WIDTH}: {sizes}"
    return trend._replace(measured=seen)


def score_change(data: Any) -> Any:
    """The change of W_KᵀW_Q from t = 0 to the end, over the whole vocabulary [..., key, query]."""
    table = data.score_table.rename(any_key="key", any_query="query")
    return table.isel(checkpoint=-1, drop=True) - table.isel(checkpoint=0, drop=True)


def _signal_coefficients(data: Any) -> Any:
    """C_{1,2}, C_{2,1}, −C_{3,1}, −C_{3,2} [4, width, seed]; the paper's indices are C_{key, query}."""
    return signed(score_change(data), SCORES)


def common_order(data: Data, case: str) -> Finding:
    """The spread of the four coefficients of the targets' scores."""
    signal = _signal_coefficients(data[case])
    spread = signal.max("pair") / signal.min("pair")
    every = always((signal.min("pair") > 0) & (spread <= 10), "positive and within a factor 10")
    return every._replace(measured=f"{every.measured}; {_range(spread, 'largest over smallest:')}")


def _random_share(data: Any) -> Any:
    """The largest coefficient that involves a random word, over the mean of the targets' [width, seed]."""
    change = score_change(data)
    involved = ~change["key"].isin(SIGNALS) | ~change["query"].isin(SIGNALS)
    return np.abs(change).where(involved).max(("key", "query")) / _signal_coefficients(data).mean("pair")


def random_words(data: Data, case: str) -> Finding:
    """The largest coefficient of a random word over the mean of the signals', and its exponent in n."""
    share = _random_share(data[case])
    small = always((share > 0) & (share < 0.5), "share below one half")
    small = small._replace(measured=f"{small.measured}; {_range(share, 'share:')}")
    if case != "theory":
        return small
    shares = {n: _random_share(data[f"theory, n = {n}"]).values.ravel() for n in SIZES}
    shares[60] = share.sel(width=SIZES_WIDTH).values
    fit = exponent(np.repeat(list(shares), [len(s) for s in shares.values()]), np.concatenate(list(shares.values())))
    return all_of(small, Finding(inside(fit, -1.5, -0.5), f"share ∝ n^b, b = {fit}"))


def start_of_targets(data: Data, case: str) -> Finding:
    """Ġ(μ1), Ġ(μ2) at t = 0 over m1 (σ0² + σ1²) m."""
    runs = data[case]
    sigma0_squared, sigma1_squared, m1 = _variances(case, runs.width)
    one, two, _ = _words(runs.mlp_velocity.isel(t=0))
    slope = np.minimum(one, two) / (m1 * (sigma0_squared + sigma1_squared) * runs.width)
    trend = _trend(slope, -SLACK, SLACK, "exponent")
    return trend._replace(measured=f"{_range(slope, 'over (σ0² + σ1²) m:')}, {trend.measured}")


def start_of_common(data: Data, case: str) -> Finding:
    """Ġ(μ3) at t = 0 over the targets', and over the stated bound."""
    runs = data[case]
    m = runs.width
    sigma0_squared, sigma1_squared, m1 = _variances(case, m)
    one, two, three = _words(runs.mlp_velocity.isel(t=0))
    largest = np.abs(runs.output.isel(t=0)).max("sample")
    noise = sigma1_squared * np.sqrt(m * m1) + sigma0_squared * np.sqrt(m * LENGTH)
    bound = noise + (sigma0_squared + sigma1_squared) * m * largest
    share = np.abs(three) / np.minimum(one, two)
    smaller = always((share > 0) & (share < 0.5), "|Ġ(μ3)| below half of Ġ(μ1), Ġ(μ2)")
    over = np.abs(three) / m1 / bound
    bounded = always(over <= 1, f"{_range(over, 'over the stated bound:')}, at most 1")
    return all_of(smaller._replace(measured=f"{smaller.measured} ({_range(share, 'share')})"), bounded)


def velocities_balance(data: Data, case: str) -> Finding:
    """The largest C with (1 + C) max(Ġ(μ1), Ġ(μ2)) ≤ −Ġ(μ3) ≤ (1 − C)(Ġ(μ1) + Ġ(μ2)) on [T1, T2]."""
    runs = data[case]
    one, two, three = _words(_phase2(runs, runs.mlp_velocity))
    constant = _lowest(np.minimum(-three / np.maximum(one, two) - 1, 1 + three / (one + two)))
    trend = _trend(constant, -SLACK, np.inf, "exponent")
    return trend._replace(measured=f"{_range(constant, 'largest C that holds on [T1, T2]:')}, {trend.measured}")


def _g(runs: Any) -> list[Any]:
    """Σ g over I1, ..., I4, divided by n, on [T1, T2]."""
    return [_phase2(runs, runs.gradient_by_type.sel(type=kind, drop=True)) for kind in TYPES]


def _balance(data: Data, case: str, first: int, second: int) -> Finding:
    runs = data[case]
    one, two = _g(runs)[first], _g(runs)[second]
    gap = (np.abs(one - two) / np.minimum(one, two)).max("t")
    small = always(gap <= 0.5, "at most 0.5")
    return small._replace(measured=f"{small.measured} ({_range(gap, 'largest on [T1, T2]:')})")


def targets_balance(data: Data, case: str) -> Finding:
    """The relative gap between Σ g over I2 and over I3."""
    return _balance(data, case, 1, 2)


def others_balance(data: Data, case: str) -> Finding:
    """The relative gap between Σ g over I3 and over I4, which no mechanism balances."""
    return _balance(data, case, 2, 3)


def types_balance(data: Data, case: str) -> Finding:
    """The two ratios of sums of g, and R(t), on [T1, T2]."""
    runs = data[case]
    one, two, three, four = _g(runs)
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
    """The signs of the two velocities of value Grams on [T1, T2]."""
    return _monotone(data[case], "value_gram", {("μ2", "μ1"): 1, ("μ1", "μ3"): -1})


def score_velocities(data: Data, case: str) -> Finding:
    """The velocities of the four scores in units of loss σ0² √m / L, on [T1, T2]."""
    runs = data[case]
    m = runs.width
    sigma0_squared, _, _ = _variances(case, m)
    unit = runs.loss * sigma0_squared * np.sqrt(m) / LENGTH
    phase2 = _phase2(runs, signed(runs.scores_velocity, SCORES) / unit)
    lowest, largest = _lowest(phase2).min("pair"), phase2.max(("t", "pair"))
    return all_of(
        _trend(lowest, -SLACK, np.inf, f"{_range(phase2, 'quotients')}, exponent of the smallest"),
        _trend(largest, -np.inf, SLACK, "of the largest"),
    )
