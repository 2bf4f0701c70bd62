"""Claims about means and variances of SGD, on a record of configs/cooccurrence/compare_noise.py. A case is a law."""

import numpy as np

from dynamics.analysis.fits import order, weighted_order
from dynamics.studies.claims import Claim, Data, Finding
from experiments.cooccurrence.order_claims import NARROW, exponent_one

WITH_REPLACEMENT = (12, 24, 96, 192)  # batch sizes B
SAMPLES = 60  # n
CLOSE = 0.2  # allowed relative error of a ratio of variances
NEAR = 2.0  # allowed difference of two means in standard errors


def _variances(data: Data, law: str) -> np.ndarray:
    """The variance of the outputs over draws at the last time, summed over the training set [seed]."""
    return data[law].output.isel(t=-1).var("draw", ddof=1).sum("sample").values


def _over_sizes(power: float, of: str, data: Data) -> Finding:
    sizes = np.array(WITH_REPLACEMENT)
    variances = np.stack([_variances(data, f"sgd_{size}") for size in sizes], axis=1)
    return exponent_one(order(1 / sizes, variances**power), of)


def _inverse_batch_size(data: Data, case: str) -> Finding:
    del case
    return _over_sizes(1, "the variance in 1/B", data)


def _deviation(data: Data, case: str) -> Finding:
    del case
    return _over_sizes(0.5, "the standard deviation in 1/B", data)


def _gap(data: Data, law: str) -> tuple[float, float]:
    """The mean over starts and draws of the loss minus that of GD at the last time, and its standard error."""
    loss, exact = data[law].loss.isel(t=-1), data["gd"].loss.isel(t=-1)
    error = float(np.sqrt((loss.var("draw", ddof=1) / loss.draw.size).sum())) / loss.seed.size
    return float((loss.mean("draw") - exact).mean()), error


def _mean_over_sizes(data: Data, case: str) -> Finding:
    del case
    gaps, errors = np.transpose([_gap(data, f"sgd_{size}") for size in WITH_REPLACEMENT])
    return exponent_one(weighted_order(1 / np.array(WITH_REPLACEMENT), gaps, errors), "the gap in 1/B", 3 * NARROW)


def _ratio(ratios: np.ndarray, stated: float, what: str) -> Finding:
    mean, error = float(np.mean(ratios)), float(np.std(ratios, ddof=1) / np.sqrt(len(ratios)))
    return Finding(abs(mean / stated - 1) <= CLOSE, f"{what} {mean:.3f} ± {error:.3f}, stated {stated:.3f}")


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
    score = float(gap.sum() / np.sqrt(squared.sum()))
    return Finding(abs(score) <= NEAR, f"mean loss {float(gap.mean()):+.2e} away, {score:+.1f} standard errors")


def _mean_of_sgd(data: Data, case: str) -> Finding:
    return _means(data, "sgd_12", case)


def _variance_of_sgd(data: Data, case: str) -> Finding:
    return _ratio(_variances(data, case) / _variances(data, "sgd_12"), 1.0, "variance over that of SGD with B = 12")


TABLES = {
    "noise": (
        "Means and variances of SGD, η = 0.008, t = 0.4, 6 starts with 48 draws each",
        [
            (
                "sgd_12",
                Claim(
                    "arXiv:1511.06251",
                    "The variance of the outputs is proportional to 1/B (with replacement, B = 12 to 192)",
                    "1 within the exponent's interval, the interval narrower than ± 0.1",
                    _inverse_batch_size,
                    elsewhere={"standard deviation": _deviation},
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
                    "1 within the exponent's interval, the interval narrower than ± 0.3",
                    _mean_over_sizes,
                    elsewhere={"standard deviation": _deviation},
                ),
            ),
            (
                "sme",
                Claim(
                    "arXiv:1511.06251",
                    "The stochastic modified equation has the mean loss of SGD",
                    f"within {NEAR} standard errors over all starts",
                    _mean_of_sgd,
                    ("flow",),
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
