"""The other statistics of the claims of arXiv:2410.09605: of the loss, the coefficients at T*, and the start.

All are functions (datasets, name of a case) -> Finding.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from dynamics.analysis.fits import exponent
from dynamics.studies.claims import Data, Finding, all_of
from experiments.cooccurrence.findings import (
    LARGE,
    LENGTH,
    SLACK,
    always,
    at,
    clock,
    exponent_in_width,
    final_time,
    first_time,
    relative_gap,
    spread,
    start_scales,
    trend,
    within,
    words,
)
from experiments.cooccurrence.theory import SCORES, SIGNALS, signed

SAMPLES = 60  # n of the theory's case
SIZES, SIZES_WIDTH = (18, 36), 2**14  # other n, and the width m at which n and L vary
LENGTHS = (4,)  # other L
WIDE = 2**12  # the width from which on the law of the loss is fitted
LATE = 30.0  # T1: from there on the decay of the loss in t is fitted
FRACTION = 1 / 8  # of the stated bound for μ3 in Lemma 4.2


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
    there = relative_gap(g.sel(type="I2", drop=True), g.sel(type="I3", drop=True)).isel(t=index)
    when = "T2" if index else "t = 0"
    return always(there <= 0.5, f"{spread(there, f'gap at {when}:')}, at most 0.5")
