"""The statistics of the claims of arXiv:2410.09605, as functions (datasets, name of a case) -> Finding.

T1 is the time from which on all samples are classified with a margin, min_i y_i F_i > c, interpolated between saved
times (dynamics.analysis.events.classification_time). The paper's T1 has a margin of order 1 (its Appendix E); c = 0 is
the first time at which all are classified for good. `Phases(c)` has the statistics that depend on it. T2 is the last
time, T* the first time with a training loss of 1/m. Values at T1 and T* are interpolated as well.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dynamics.analysis.events import classification_time
from dynamics.analysis.fits import POWER, Fit, exponent
from dynamics.studies.claims import Data, Finding, all_of, inside
from experiments.cooccurrence.theory import SCORES, SIGNALS, TYPES, VALUES, Signs, signed

SLACK = 0.1  # allowed error of a fitted exponent: over these widths log m looks like a power of about 0.1
SHARP = 0.02  # allowed error of an exponent that the paper states without logarithms
LARGE = 2**11  # the width from which on exponents are fitted: Condition 1 asks for m much larger than m1 and L²
LENGTH, SAMPLES = 5, 60  # L and n of the theory's case
SIZES, SIZES_WIDTH = (18, 36), 2**14  # other n, and the width m at which n and L vary
LENGTHS = (4,)  # other L
EARLY = 0.1  # of T1: the earliest time from which Lemma 4.3 is to hold
WIDE = 2**12  # the width from which on the law of the loss is fitted
LATE = 30.0  # T1: from there on the decay of the loss in t is fitted
FRACTION = 1 / 8  # of the stated bound for μ3 in Lemma 4.2
MEMBERS = ("width", "seed")
# The exponents in m of the change until T1 (Appendix E.28).
RATES = {"scores": -1.5, "key_gram": -2.0, "query_gram": -2.0, "value_gram": -1.0, "neuron_gram": -1.0}


def clock(data: Any) -> Any:
    """The saved times [t], or [width, seed, t] where the last time differs between members."""
    return data.time if "time" in data else data.t


def at(data: Any, times: Any, values: Any) -> Any:
    """Values at a time of every member, linear between saved times; nan beyond the last one, and where the time is."""
    return xr.apply_ufunc(
        lambda t, value, time: np.interp(time, t, value, right=np.nan) if np.isfinite(time) else np.nan,
        clock(data),
        values,
        times,
        input_core_dims=[["t"], ["t"], []],
        vectorize=True,
    )


def first_time(data: Any, margin: float = 0.0) -> Any:
    """T1 with this margin [width, seed]; nan where there is none."""
    return xr.apply_ufunc(
        lambda t, values: classification_time(t, values - margin),
        clock(data),
        data.margin,
        input_core_dims=[["t"], ["t"]],
        vectorize=True,
    )


def final_time(data: Any) -> Any:
    """T* [width, seed], the first time with a training loss of 1/m, interpolated in logarithms; nan if none."""

    def crossing(t: Any, loss: Any, width: Any) -> float:
        below = np.flatnonzero(loss <= 1 / width)
        if not below.size or below[0] == 0:
            return np.nan
        i = below[0]
        share = np.log(loss[i - 1] * width) / np.log(loss[i - 1] / loss[i])
        return float(np.exp(np.log(t[i - 1]) + share * np.log(t[i] / t[i - 1])))

    return xr.apply_ufunc(
        crossing, clock(data), data.loss, data.width, input_core_dims=[["t"], ["t"], []], vectorize=True
    )


def always(condition: Any, what: str, known: Any = True) -> Finding:
    """Whether a condition holds in every member.

    Args:
        condition: of every member.
        what: what holds, in words.
        known: whether it is defined in a member; where it is not, nothing moved or the time does not exist.
    """
    condition, known = xr.broadcast(xr.DataArray(condition), xr.DataArray(known))
    held, defined = np.ravel(condition), np.ravel(known)
    holds = False if (~held & defined).any() else True if defined.all() else None
    text = f"{what} in {(held & defined).sum()} of {held.size} runs"
    return Finding(holds, text if defined.all() else f"{text}, not defined in {(~defined).sum()}")


def exponent_in_width(values: Any) -> Fit:
    """The exponent b of values ∝ m^b, over all widths and starts."""
    return exponent(values.width.broadcast_like(values).transpose(*values.dims), values)


def trend(values: Any, low: float, high: float, what: str) -> Finding:
    """Whether the exponent of values in m, for m ≥ LARGE, lies in [low, high]."""
    return within(exponent_in_width(values.where(values.width >= LARGE, drop=True)), low, high, what)


def within(fit: Fit, low: float, high: float, what: str) -> Finding:
    """Whether an exponent lies in [low, high], and what else would have been seen, unless it lies outside."""
    holds = inside(fit, low, high)
    known = holds is not False and np.isfinite(fit.detectable)
    power = f", {fit.detectable:.2g} beyond the bound would be seen with {POWER:.0%}" if known else ""
    return Finding(holds, f"{what} {fit}{power}")


def bounded_below(values: Any, what: str) -> Finding:
    """Ω(1): whether values are positive in every member, and do not fall with m faster than m^−SLACK."""
    positive = always(values > 0, "positive", values.notnull())
    seen = f"{spread(values, what)}, {positive.measured}"
    if not positive.holds:
        return Finding(positive.holds, seen)
    of_width = trend(values, -SLACK, np.inf, "exponent")
    return Finding(of_width.holds, f"{spread(values, what)}, {of_width.measured}")


def spread(values: Any, what: str) -> str:
    """The smallest and the largest value."""
    return f"{what} {float(values.min()):.3g} to {float(values.max()):.3g}"


def words(values: Any) -> tuple[Any, Any, Any]:
    """Values of μ1, μ2, μ3."""
    return tuple(values.sel(word=word, drop=True) for word in SIGNALS)


def start_scales(case: str, m: Any) -> tuple[Any, Any, int]:
    """σ0², σ1² and m1 of a case at width m."""
    if case.startswith("appendix") and "small" not in case and "mended" not in case:
        return 2 / 64, 2 / m, 256
    neurons = 256 if case.startswith("appendix") else 64
    return 0.09 / (LENGTH * m), 0.09 / (m if case == "fan_in" else neurons), neurons


@dataclass(frozen=True)
class Phases:
    """The statistics of Phase 1, until T1, and of Phase 2, [T1, T2].

    Attributes:
        margin: that of T1.
    """

    margin: float

    def t1(self, data: Any) -> Any:
        """T1 [width, seed]."""
        return first_time(data, self.margin)

    def _at_t1(self, data: Any, values: Any) -> Any:
        return at(data, self.t1(data), values)

    def _phase2(self, data: Any, values: Any) -> Any:
        """Values on [T1, T2], and nan before; all nan for members that have no T1."""
        return values.where(clock(data) >= self.t1(data))

    def classified(self, data: Data, case: str) -> Finding:
        """Whether T1 exists."""
        return always(np.isfinite(self.t1(data[case])), "T1 exists")

    def phase_one_ends(self, data: Data, case: str) -> Finding:
        """The exponent of T1 in m."""
        return trend(self.t1(data[case]), -1 - SLACK, -1 + SLACK, "T1 ∝ m^b, b =")

    def signals_at_t1(self, data: Data, case: str) -> Finding:
        """The smaller of G(μ1) and G(μ2), and −G(μ3), at T1."""
        one, two, three = words(self._at_t1(data[case], data[case].mlp))
        targets = bounded_below(np.minimum(one, two), "min(G(μ1), G(μ2)):")
        return all_of({"G(μ1), G(μ2)": targets, "G(μ3)": bounded_below(-three, "−G(μ3):")})

    def _moved(self, data: Data, case: str, name: str) -> Any:
        """The root mean square over words of the change of a Gram matrix at T1 [width, seed]."""
        runs = data[case]
        squared = self._at_t1(runs, runs[name] - runs[name].isel(t=0)) ** 2
        return np.sqrt(squared.mean([dim for dim in squared.dims if dim not in MEMBERS]))

    def grams_stay(self, data: Data, case: str) -> Finding:
        """The exponents in m of the change of the value and neuron Grams at T1, in the unit of each."""
        sigma0_squared, sigma1_squared, _ = start_scales(case, data[case].width)
        parts = {}
        for name, of_entry in (("value_gram", sigma0_squared), ("neuron_gram", sigma1_squared)):
            moved = self._moved(data, case, name)
            parts[name] = trend(moved / (of_entry * np.sqrt(moved.width)), -np.inf, SLACK, f"{name}:")
        return all_of(parts)

    def rate(self, name: str) -> Callable[[Data, str], Finding]:
        """The exponent in m of the change of a Gram matrix at T1."""

        def measure(data: Data, case: str) -> Finding:
            return trend(self._moved(data, case, name), RATES[name] - SHARP, RATES[name] + SHARP, "exponent")

        return measure

    def loss_at_t1(self, data: Data, case: str) -> Finding:
        """The loss at T1 and its exponent."""
        loss = self._at_t1(data[case], data[case].loss)
        of_width = trend(loss, -SLACK, SLACK, "exponent")
        return of_width._replace(measured=f"{spread(loss, 'loss(T1):')}, {of_width.measured}")

    def scores_move(self, data: Data, case: str) -> Finding:
        """The signs of the targets' scores on [T1, T2]."""
        return self._monotone(data[case], "scores", SCORES)

    def values_move(self, data: Data, case: str) -> Finding:
        """The signs of the targets' value Grams on [T1, T2]."""
        return self._monotone(data[case], "value_gram", VALUES)

    def value_velocities(self, data: Data, case: str) -> Finding:
        """The signs of the two velocities of value Grams on [T1, T2]."""
        return self._monotone(data[case], "value_gram", {("μ2", "μ1"): 1, ("μ1", "μ3"): -1})

    def _monotone(self, data: Any, gram: str, signs: Signs) -> Finding:
        """Whether velocities have the stated signs on [T1, T2], and the values changed in these directions."""
        parts = {}
        for part, sign in (("increase", 1), ("decrease", -1)):
            of_sign = {pair: one for pair, one in signs.items() if one == sign}
            values = signed(data[gram], of_sign)
            velocity = self._phase2(data, signed(data[f"{gram}_velocity"], of_sign))
            change = values.isel(t=-1) - self._at_t1(data, values)
            right = (velocity > 0).sum("t") / velocity.notnull().sum("t").clip(1)
            every = always(
                ((velocity.min("t") > 0) & (change > 0)).all("pair"),
                f"{part}",
                (velocity.notnull().any("t") & (np.abs(change) > 0)).all("pair"),
            )
            parts[part] = every._replace(
                measured=f"{every.measured} (at least {100 * float(right.min()):.1f} % of times)"
            )
        return all_of(parts)

    def signals_keep_signs(self, data: Data, case: str) -> Finding:
        """The signs of G on [T1, T2]."""
        one, two, three = words(self._phase2(data[case], data[case].mlp))
        smallest = {"G(μ1), G(μ2)": np.minimum(one, two).min("t"), "G(μ3)": (-three).min("t")}
        return all_of(
            {
                name: always(values > 0, f"{name} {float(values.min()):.3g} or more, right", values.notnull())
                for name, values in smallest.items()
            }
        )

    def _sums(self, runs: Any) -> dict[str, Any]:
        """The sums of G that Theorem 3.2 bounds, with the signs that make them positive."""
        one, two, three = words(runs.mlp)
        return {
            "G(μ1) + G(μ2) + G(μ3)": one + two + three,
            "G(μ1) + G(μ3)": -one - three,
            "G(μ2) + G(μ3)": -two - three,
        }

    def signals_separate(self, data: Data, case: str) -> Finding:
        """The smallest of each sum of G on [T1, T2]."""
        runs = data[case]
        return all_of(
            {
                name: bounded_below(self._phase2(runs, values).min("t"), f"{name}:")
                for name, values in self._sums(runs).items()
            }
        )

    def signals_separate_later(self, data: Data, case: str) -> Finding:
        """From which multiple of T1 on all three sums of G keep their signs, and their smallest value at T2."""
        runs = data[case]
        smallest = xr.concat(list(self._sums(runs).values()), "sum").min("sum")
        since = xr.apply_ufunc(
            classification_time, clock(runs), smallest, input_core_dims=[["t"], ["t"]], vectorize=True
        )
        multiple = since / self.t1(runs)
        exists = always(multiple.notnull(), "the signs hold at T2")
        ends = bounded_below(smallest.isel(t=-1), "smallest at T2")
        if not exists.holds:
            return Finding(exists.holds, exists.measured)
        of_width = trend(np.maximum(multiple, 1.0), -np.inf, SLACK, "exponent")
        seen = f"{spread(multiple, 'from t / T1 =')} on, {of_width.measured}; {ends.measured}"
        return Finding(all_of({"since": of_width, "ends": ends}).holds, seen)

    def velocities_balance_before(self, data: Data, case: str) -> Finding:
        """The time from which on (1 + C) max(Ġ(μ1), Ġ(μ2)) ≤ −Ġ(μ3) ≤ (1 − C)(Ġ(μ1) + Ġ(μ2)) until T1, over T1."""
        runs = data[case]
        constant, end = _constant(runs), self.t1(runs)

        def share(t: Any, values: Any, last: Any) -> float:
            inside_phase = t <= last
            wrong = np.flatnonzero(inside_phase & ~(values > 0))
            after = wrong[-1] + 1 if wrong.size else 0
            return float(t[after] / last) if np.isfinite(last) and after < len(t) else np.nan

        since = xr.apply_ufunc(share, clock(runs), constant, end, input_core_dims=[["t"], ["t"], []], vectorize=True)
        return always(since < 1, f"{spread(since, 'from t / T1 =')} on; holds before T1", since.notnull())

    def velocities_balance(self, data: Data, case: str) -> Finding:
        """The largest C with (1 + C) max(Ġ(μ1), Ġ(μ2)) ≤ −Ġ(μ3) ≤ (1 − C)(Ġ(μ1) + Ġ(μ2)) on [T1, T2]."""
        runs = data[case]
        return bounded_below(self._phase2(runs, _constant(runs)).min("t"), "largest C that holds on [T1, T2]:")

    def _g(self, runs: Any) -> list[Any]:
        """Σ g over I1, ..., I4, divided by n, on [T1, T2]."""
        return [self._phase2(runs, runs.gradient_by_type.sel(type=kind, drop=True)) for kind in TYPES]

    def _balance(self, data: Data, case: str, first: int, second: int) -> Finding:
        g = self._g(data[case])
        gap = _gap(g[first], g[second]).max("t")
        small = always(gap <= 0.5, "at most 0.5", gap.notnull())
        return small._replace(measured=f"{small.measured} ({spread(gap, 'largest on [T1, T2]:')})")

    def targets_balance(self, data: Data, case: str) -> Finding:
        """The relative gap between Σ g over I2 and over I3."""
        return self._balance(data, case, 1, 2)

    def others_balance(self, data: Data, case: str) -> Finding:
        """The relative gap between Σ g over I3 and over I4. Nothing makes these two sums equal: the control."""
        return self._balance(data, case, 2, 3)

    def types_balance(self, data: Data, case: str) -> Finding:
        """The two ratios of sums of g, and R(t), on [T1, T2]."""
        one, two, three, four = self._g(data[case])
        return self._ratios(one + two + three + four, two + three + four - one, one - two)

    def targets_as_ratio(self, data: Data, case: str) -> Finding:
        """A control: types_balance with the denominator Σ_{I2} g − Σ_{I3} g, which tends to 0: no ratio converges."""
        one, two, three, four = self._g(data[case])
        return self._ratios(one + two + three + four, two + three + four - one, two - three)

    def _ratios(self, total: Any, negatives: Any, positives: Any) -> Finding:
        ratio = negatives / positives
        return all_of(
            {
                "Σ g / (Σ_{I2∪I3∪I4} g − Σ_{I1} g)": bounded_below(
                    (negatives / total).min("t"), "first ratio, inverted:"
                ),
                "Σ g / (Σ_{I1} g − Σ_{I2} g)": bounded_below((positives / total).min("t"), "second ratio, inverted:"),
                "R(t)": _both(
                    trend(ratio.max("t"), -np.inf, SLACK, f"{spread(ratio, 'R(t):')}, max R"),
                    bounded_below(ratio.min("t"), "min R"),
                ),
            }
        )

    def score_velocities(self, data: Data, case: str) -> Finding:
        """The velocities of the four scores in units of loss σ0² √m / L, on [T1, T2]."""
        return self._score_velocities(data, case, 1.0)

    def score_velocities_over_log(self, data: Data, case: str) -> Finding:
        """The same over log(T2/T1), by which G grows."""
        runs = data[case]
        return self._score_velocities(data, case, np.log(clock(runs).max("t") / self.t1(runs)))

    def _score_velocities(self, data: Data, case: str, factor: Any) -> Finding:
        runs = data[case]
        sigma0_squared, _, _ = start_scales(case, runs.width)
        unit = runs.loss * sigma0_squared * np.sqrt(runs.width) / LENGTH
        parts = {}
        for part, sign in (("increase", 1), ("decrease", -1)):
            of_sign = {pair: one for pair, one in SCORES.items() if one == sign}
            quotient = self._phase2(runs, signed(runs.scores_velocity, of_sign) / unit)
            moves = np.abs(quotient).max(("t", "pair")) > 0
            lowest = quotient.min(("t", "pair")).where(moves)
            parts[part] = _both(
                bounded_below(lowest, f"{part}, smallest quotient"),
                trend(quotient.max(("t", "pair")) / factor, -np.inf, SLACK, "largest, exponent"),
            )
        return all_of(parts)


def _both(one: Finding, other: Finding) -> Finding:
    """Two bounds on one quantity."""
    holds = False if False in (one.holds, other.holds) else None if None in (one.holds, other.holds) else True
    return Finding(holds, f"{one.measured}; {other.measured}")


def _gap(one: Any, other: Any) -> Any:
    return np.abs(one - other) / np.minimum(one, other)


def _constant(runs: Any) -> Any:
    """The largest C with (1 + C) max(Ġ(μ1), Ġ(μ2)) ≤ −Ġ(μ3) ≤ (1 − C)(Ġ(μ1) + Ġ(μ2)) at every time."""
    one, two, three = words(runs.mlp_velocity)
    return np.minimum(-three / np.maximum(one, two) - 1, 1 + three / (one + two))


def loss_at_the_end(data: Data, case: str) -> Finding:
    """The exponent of the loss at T2."""
    return trend(data[case].loss.isel(t=-1), -SLACK, SLACK, "exponent")


def training_loss(data: Data, case: str) -> Finding:
    """Whether there is a time with a training loss of 1/m, and its exponent."""
    times = final_time(data[case])
    exists = always(times.notnull(), "T* exists")
    if not exists.holds:
        return exists
    return Finding(True, f"{exists.measured}; T* ∝ m^b, b = {exponent_in_width(times)}")


def loss_decays(data: Data, case: str) -> Finding:
    """Whether loss · m · t at T2 does not depend on m, and the loss falls as 1/t from LATE T1 on, at wide m."""
    runs = data[case].where(data[case].width >= WIDE, drop=True)
    t, t1 = clock(runs), first_time(runs, 0.5)
    product = (runs.loss * runs.width * t).isel(t=-1)
    of_loss, of_t = (np.log(values.where(t >= LATE * t1)) for values in (runs.loss, t + 0 * runs.loss))
    late = xr.cov(of_loss, of_t, dim="t") / of_t.var("t", ddof=1)
    late = late.where(t.max("t") > LATE * t1)
    return all_of(
        {
            "in m": trend(product, -SLACK, SLACK, f"{spread(product, 'loss · m · t:')}, exponent in m"),
            "in t": always(np.abs(late + 1) <= SLACK, f"{spread(late, 'exponent in t:')}, within", late.notnull()),
        }
    )


def coefficients(data: Any) -> Any:
    """The changes of four scores from t = 0 to T*: C_{1,2}, C_{2,1}, −C_{3,1}, −C_{3,2} [pair, width, seed].

    C_{key, query} as in the paper: C_{1,2} is that of the key μ1 for the query μ2.
    """
    change = data.scores - data.scores.isel(t=0)
    return at(data, final_time(data), signed(change, SCORES))


def common_order(data: Data, case: str) -> Finding:
    """The spread of the four coefficients of the targets' scores at T*."""
    parts = {}
    change = coefficients(data[case])
    moves = (np.abs(change) > 0).all("pair")
    for part, of_sign in (("increase", change.isel(pair=[0, 1])), ("decrease", change.isel(pair=[2, 3]))):
        parts[f"{part} by T*"] = always((of_sign > 0).all("pair"), f"{part} by T*", moves)
    ratio = np.abs(change).max("pair") / np.abs(change).min("pair")
    near = always(ratio <= 10, f"{spread(ratio, 'largest over smallest size:')}, at most 10", moves)
    return all_of({**parts, "one order": near})


def random_share(data: Any) -> Any:
    """The largest coefficient at T* that involves a random word, over the mean of the targets' [width, seed]."""
    return at(data, final_time(data), data.random_score_change) / coefficients(data).mean("pair")


def small_share(data: Data, case: str) -> Finding:
    """Whether that share is below one half in every run."""
    share = random_share(data[case])
    moves = (np.abs(coefficients(data[case])) > 0).all("pair")
    held = always((share > 0) & (share < 0.5), "below one half", moves)
    return Finding(held.holds, f"{spread(share, 'share at T*:')}, {held.measured}")


def share_falls(data: Data, case: str) -> Finding:
    """The exponent of that share in n, at one width and L, which decides; beside it, that in L, and what it is."""
    found = _falls(random_share, data, case)
    by_length = {L: np.ravel(random_share(data[f"theory, L = {L}"])) for L in LENGTHS}
    by_length[LENGTH] = np.ravel(random_share(data[case]).sel(width=SIZES_WIDTH))
    in_length = exponent(*_flat(by_length))
    lengths = ", ".join(
        f"{np.mean(share) / (1 / SAMPLES + L / np.sqrt(SIZES_WIDTH)):.2g} at L = {L}"
        for L, share in sorted(by_length.items())
    )
    of_both = f"share ∝ n^b, {found.measured}; ∝ L^b, b = {in_length}; over 1/n + L/√m: {lengths}"
    return found._replace(measured=of_both)


def targets_fall(data: Data, case: str) -> Finding:
    """The exponent of the targets' coefficients in n."""
    return _falls(lambda runs: coefficients(runs).mean("pair"), data, case)


def _falls(of: Callable[[Any], Any], data: Data, case: str) -> Finding:
    by_size = {n: np.ravel(of(data[f"theory, n = {n}"])) for n in SIZES}
    by_size[SAMPLES] = np.ravel(of(data[case]).sel(width=SIZES_WIDTH))
    return within(exponent(*_flat(by_size)), -1.5, -0.5, "b =")


def _flat(by_place: Mapping[int, Any]) -> tuple[Any, Any]:
    """The places, each as often as it has values, and all values."""
    sizes = [len(values) for values in by_place.values()]
    return np.repeat(list(by_place), sizes), np.concatenate(list(by_place.values()))


def diagonal_signs(data: Data, case: str) -> Finding:
    """Whether the score of each of μ1, μ2, μ3 for itself has grown by T*: C_{1,1}, C_{2,2}, C_{3,3} > 0."""
    runs = data[case]
    change = runs.scores - runs.scores.isel(t=0)
    own = at(runs, final_time(runs), signed(change, {(word, word): 1 for word in SIGNALS}))
    return always((own > 0).all("pair"), "positive", (np.abs(own) > 0).all("pair"))


def diagonal_signs_wide(data: Data, case: str) -> Finding:
    """The same for m ≥ LARGE."""
    runs = data[case]
    return diagonal_signs({case: runs.where(runs.width >= LARGE, drop=True)}, case)


def start_of_targets(data: Data, case: str) -> Finding:
    """Ġ(μ1), Ġ(μ2) at t = 0 over m1 (σ0² + σ1²) m."""
    runs = data[case]
    sigma0_squared, sigma1_squared, m1 = start_scales(case, runs.width)
    one, two, _ = words(runs.mlp_velocity.isel(t=0))
    slope = np.minimum(one, two) / (m1 * (sigma0_squared + sigma1_squared) * runs.width)
    positive = always(slope > 0, "positive")
    if not positive.holds:
        return Finding(False, f"{spread(slope, 'over (σ0² + σ1²) m:')}, {positive.measured}")
    of_width = trend(slope, -SLACK, SLACK, "exponent")
    return of_width._replace(measured=f"{spread(slope, 'over (σ0² + σ1²) m:')}, {of_width.measured}")


def start_of_common(data: Data, case: str) -> Finding:
    """Ġ(μ3) at t = 0 over the targets'."""
    one, two, three = words(data[case].mlp_velocity.isel(t=0))
    share = np.abs(three) / np.minimum(one, two)
    smaller = always((share > 0) & (share < 0.5), "|Ġ(μ3)| below half of Ġ(μ1), Ġ(μ2)")
    return smaller._replace(measured=f"{smaller.measured} ({spread(share, 'share')})")


def start_of_common_bound(data: Data, case: str) -> Finding:
    """Ġ(μ3) at t = 0 over the stated bound."""
    runs = data[case]
    m = runs.width
    sigma0_squared, sigma1_squared, m1 = start_scales(case, m)
    _, _, three = words(runs.mlp_velocity.isel(t=0))
    largest = np.abs(runs.output.isel(t=0)).max("sample")
    noise = sigma1_squared * np.sqrt(m * m1) + sigma0_squared * np.sqrt(m * LENGTH)
    over = np.abs(three) / m1 / (noise + (sigma0_squared + sigma1_squared) * m * largest)
    return always(over <= FRACTION, f"{spread(over, 'over the stated bound:')}, at most {FRACTION:g}")


def targets_at_the_bound(data: Data, case: str) -> Finding:
    """Ġ(μ1) at t = 0 over the bound that is stated for μ3."""
    runs = data[case]
    swapped = runs.assign(mlp_velocity=runs.mlp_velocity.assign_coords(word=_swapped(runs.word.values)))
    return start_of_common_bound({case: swapped}, case)


def _swapped(names: Any) -> list[str]:
    swap = {"μ1": "μ3", "μ3": "μ1"}
    return [swap.get(str(name), str(name)) for name in names]


def balance_returns(data: Data, case: str) -> Finding:
    """With three times as many samples of I2 as of I3, whether the gap of Σ g is at most 0.5 at T2, from 2 at first."""
    return _gap_at(data, case, -1)


def balance_at_the_start(data: Data, case: str) -> Finding:
    """The same at t = 0."""
    return _gap_at(data, case, 0)


def _gap_at(data: Data, case: str, index: int) -> Finding:
    g = data[case].gradient_by_type
    gap = _gap(g.sel(type="I2", drop=True), g.sel(type="I3", drop=True))
    there = gap.isel(t=index)
    when = "T2" if index else "t = 0"
    return always(there <= 0.5, f"{spread(there, f'gap at {when}:')}, at most 0.5")
