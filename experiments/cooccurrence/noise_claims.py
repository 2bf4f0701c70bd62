"""Claims about means and variances of SGD, on a record of configs/cooccurrence/compare_noise.py. A case is a law."""

import numpy as np

from dynamics.analysis.fits import Interval, mean_interval, order, weighted_order
from dynamics.studies.claims import Claim, Data, Finding, inside
from experiments.cooccurrence.order_claims import MEAN, VARIANCE, exponent_one

WITH_REPLACEMENT = (12, 24, 96, 192)  # batch sizes B
SAMPLES = 60  # n
CLOSE = 0.2  # allowed relative error of a ratio of variances
NEAR = 1.96  # half the length of an interval in standard errors
SHARE = 0.25  # allowed difference of two mean losses, as a share of the excess of SGD over the flow


def _variances(data: Data, law: str) -> np.ndarray:
    """The variance of the outputs over draws at the last time, summed over the training set [seed]."""
    return data[law].output.isel(t=-1).var("draw", ddof=1).sum("sample").values


def _inverse_batch_size(data: Data, case: str) -> Finding:
    del case
    sizes = np.array(WITH_REPLACEMENT)
    variances = np.stack([_variances(data, f"sgd_{size}") for size in sizes], axis=1)
    return exponent_one(order(1 / sizes, variances), "the variance in 1/B", VARIANCE)


def _over_starts(data: Data, case: str) -> Finding:
    """The same for the variance over starts of the first draw, in which the noise of the starts prevails."""
    del case
    sizes = np.array(WITH_REPLACEMENT)
    first = [data[f"sgd_{size}"].output.isel(t=-1, draw=0).var("seed", ddof=1).sum("sample") for size in sizes]
    return exponent_one(order(1 / sizes, np.array(first)[None]), "the variance over starts in 1/B", VARIANCE)


def _gap(data: Data, law: str, reference: str) -> tuple[float, float]:
    """The mean over starts and draws of the loss minus that of a law at the last time, and its standard error."""
    loss, exact = data[law].loss.isel(t=-1), data[reference].loss.isel(t=-1)
    error = float(np.sqrt((loss.var("draw", ddof=1) / loss.draw.size).sum())) / loss.seed.size
    return float((loss.mean("draw") - exact).mean()), error


def _over_sizes_from(data: Data, reference: str) -> Finding:
    gaps, errors = np.transpose([_gap(data, f"sgd_{size}", reference) for size in WITH_REPLACEMENT])
    return exponent_one(weighted_order(1 / np.array(WITH_REPLACEMENT), gaps, errors), "the gap in 1/B", MEAN)


def _mean_over_sizes(data: Data, case: str) -> Finding:
    del case
    return _over_sizes_from(data, "gd")


def _from_the_flow(data: Data, case: str) -> Finding:
    """The same for the distance from the flow, which has a part that does not depend on B."""
    del case
    return _over_sizes_from(data, "flow")


def _ratio(ratios: np.ndarray, stated: float, what: str) -> Finding:
    interval = mean_interval(ratios)
    holds = inside(interval, stated * (1 - CLOSE), stated * (1 + CLOSE))
    return Finding(holds, f"{what} {interval}, stated {stated:.3f}")


def _without_replacement(data: Data, case: str, factor: bool = True) -> Finding:
    size = int(case.split("_")[1])
    ratios = size * _variances(data, case) / (12 * _variances(data, "sgd_12"))
    stated = (SAMPLES - size) / (SAMPLES - 1) if factor else 1.0
    return _ratio(ratios, stated, "B times the variance over that with replacement")


def _without_its_factor(data: Data, case: str) -> Finding:
    return _without_replacement(data, case, factor=False)


def _means(data: Data, law: str, other: str) -> Finding:
    first, second = (data[name].loss.isel(t=-1) for name in (law, other))
    gap = first.mean("draw") - (second.mean("draw") if "draw" in second.dims else second)
    squared = sum(loss.var("draw", ddof=1) / loss.sizes["draw"] for loss in (first, second) if "draw" in loss.dims)
    # The gaps of different seeds are independent, so that their variances add.
    mean, error = float(gap.mean()), float(np.sqrt(squared.sum())) / gap.size
    half = NEAR * error
    excess = float((data["sgd_12"].loss.isel(t=-1).mean("draw") - data["flow"].loss.isel(t=-1)).mean())
    holds = inside(Interval(mean, mean - half, mean + half), -SHARE * excess, SHARE * excess)
    return Finding(holds, f"mean loss {mean:+.2e} ± {half:.1e} away, the excess of SGD over the flow is {excess:.2e}")


def _mean_of_sgd(data: Data, case: str) -> Finding:
    return _means(data, "sgd_12", case)


def _variance_of_sgd(data: Data, case: str) -> Finding:
    return _ratio(_variances(data, case) / _variances(data, "sgd_12"), 1.0, "variance over that of SGD with B = 12")


TABLES = {
    "noise": (
        "Means and variances of SGD, η = 0.008, t = 0.4, 12 starts with 48 draws each",
        [
            (
                "sgd_12",
                Claim(
                    "arXiv:1511.06251",
                    "The variance of the outputs is proportional to 1/B (with replacement, B = 12 to 192)",
                    f"exponent within 1 ± {VARIANCE}",
                    _inverse_batch_size,
                    elsewhere={"over starts": _over_starts},
                    post_hoc="the bound",
                ),
            ),
            (
                "sgd_30_distinct",
                Claim(
                    "sampling without replacement",
                    "Without replacement the variance has the factor (n − B)/(n − 1)",
                    f"within {CLOSE} of it",
                    _without_replacement,
                    elsewhere={"without the factor": _without_its_factor},
                ),
            ),
            (
                "sgd_12",
                Claim(
                    "arXiv:1511.06251",
                    "The mean loss exceeds that of GD by an amount proportional to 1/B (B = 12 to 192)",
                    f"exponent within 1 ± {MEAN}",
                    _mean_over_sizes,
                    elsewhere={"from the flow": _from_the_flow},
                    post_hoc="the bound",
                ),
            ),
            (
                "sme",
                Claim(
                    "arXiv:1511.06251",
                    "The stochastic modified equation has the mean loss of SGD",
                    f"interval of the difference within {100 * SHARE:g} % of SGD's excess over the flow",
                    _mean_of_sgd,
                    ("flow",),
                    post_hoc="the bound",
                ),
            ),
            (
                "sme",
                Claim(
                    "arXiv:1511.06251",
                    "The stochastic modified equation has the variance of SGD",
                    f"ratio within 1 ± {CLOSE}",
                    _variance_of_sgd,
                    ("sgd_24",),
                ),
            ),
        ],
    )
}
