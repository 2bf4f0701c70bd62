"""The statistics of the claims of arXiv:2410.09605 about its two phases, which depend on how T1 is defined.

All are functions (datasets, name of a case) -> Finding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dynamics.analysis.events import classification_time
from dynamics.studies.claims import Data, Finding, all_of
from experiments.cooccurrence.findings import (
    LENGTH,
    SLACK,
    always,
    at,
    bounded_below,
    clock,
    first_time,
    relative_gap,
    spread,
    start_scales,
    trend,
    words,
)
from experiments.cooccurrence.theory import SCORES, TYPES, VALUES, Signs, signed

SHARP = 0.02  # allowed error of an exponent that the paper states without logarithms
MEMBERS = ("width", "seed")
# The exponents in m of the change until T1 (Appendix E.28).
RATES = {"scores": -1.5, "key_gram": -2.0, "query_gram": -2.0, "value_gram": -1.0, "neuron_gram": -1.0}


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
        gap = relative_gap(g[first], g[second]).max("t")
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


def _constant(runs: Any) -> Any:
    """The largest C with (1 + C) max(Ġ(μ1), Ġ(μ2)) ≤ −Ġ(μ3) ≤ (1 − C)(Ġ(μ1) + Ġ(μ2)) at every time."""
    one, two, three = words(runs.mlp_velocity)
    return np.minimum(-three / np.maximum(one, two) - 1, 1 + three / (one + two))
