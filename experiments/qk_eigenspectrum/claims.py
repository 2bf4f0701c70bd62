"""Claims about the concentration of the QK-eigenspectrum: the theory is tested by sampling, the penalty by training.

There are three sources. "abstract": the abstract of arXiv:2402.02098 says it in words, and the bound is ours.
"derived": it is derived in theory.py from first principles, and is not a numbered theorem of the paper. "ours": it is
about dynamics.objectives.regularisers.SpectrumPenalty. The abstract speaks of no penalty and of no test loss.
"""

import pathlib
from typing import Any

from dynamics import seeds
from dynamics.studies.claims import Claim
from dynamics.studies.evidence import Case, Measured, case_config
from experiments.qk_eigenspectrum import measures, sampling
from experiments.qk_eigenspectrum import measures_training as training

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "qk_eigenspectrum" / "locater.py"
FIRST = 4000  # the first seed; nobody had seen one from here on when the bounds were set
SAMPLING = tuple(range(FIRST, FIRST + 5))  # seeds of the sampling, whose samples are pooled
SEEDS, SEEDS_OF_BAGS = 6, 12  # of the training; equal losses need narrower intervals than different ones
# (mean, variance, d, T, skew, rank); without a rank the full one
VARIANCES = (0.0, 1.0, 10.0, 100.0)
COLLAPSES = [(1.0, v, 64, 32) for v in VARIANCES] + [(0.0, 1.0, 64, 32), (0.0, 10.0, 64, 32)]
SPECTRA = ((1.0, 10.0), (1.0, 40.0), (1.0, 100.0), (0.5, 100.0), (-1.0, 40.0), (0.0, 1.0))
GRID: list[tuple[float, ...]] = [(*spectrum, d, T) for spectrum in SPECTRA for d, T in ((64, 16), (64, 32), (256, 16))]
GRID += [(1.0, 10.0, 64, 32, 3.0), (1.0, 40.0, 256, 16, 6.0), (0.5, 40.0, 64, 16, 6.0)]
LOW_RANK = [(1.0, v, 64, 16, 0.0, r) for v, r in ((0.0, 1), (0.0, 2), (0.0, 3), (4.0, 8), (40.0, 64))]
PLANE = [(m, v, 64, 32) for m in (0.0, 0.1, 0.3, 1.0) for v in (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0) if m + v]
EXAMPLES = [(0.0, 0.01, 64, 32), (1.0, 0.0, 64, 32), (1.0, 1000.0, 64, 32)]


def _training(variant: str, count: int = SEEDS) -> Case:
    return Case(case_config(CONFIG, variant), seeds(count, FIRST))


def _sampling(cells: Any, samples: int, walks: bool = True) -> Measured:
    return Measured({"cells": cells, "samples": samples, "seeds": SAMPLING, "walks": walks}, sampling.sampling)


CASES = {
    "walks": _sampling(COLLAPSES, 12_000),
    "independent tokens": _sampling(COLLAPSES, 4000, walks=False),
    "examples": Measured({"cells": EXAMPLES, "seed": FIRST}, sampling.maps),
    "plane": _sampling(PLANE, 500),
    "grid": _sampling(GRID, 1000),
    "low rank": _sampling(LOW_RANK, 4000),
    "markov locater": _training("markov_locater"),
    "markov none": _training("markov_none"),
    "markov shrink": _training("markov_shrink"),
    "markov zero": _training("markov_zero"),
    "bag locater": _training("bag_locater", SEEDS_OF_BAGS),
    "bag none": _training("bag_none", SEEDS_OF_BAGS),
}

DERIVED, ABSTRACT, OURS = "derived", "abstract", "ours"
WITHIN = f"within the Šidák bound at {measures.LEVEL:.0%} for all {{}}"
AFTER = "the bound, after a look at other seeds"
BEST = "at each arm's time of least loss on fresh sequences, "
PAIRED = f"the 95 % interval of the paired difference over {SEEDS} new seeds is {{}}"
WALK = "Random walk: "
PENALTY = "Penalty, trace held: "

CLAIMS = (
    (
        "walks",
        Claim(
            DERIVED,
            WALK + "E z_t = t g",
            WITHIN.format("means"),
            measures.means(),
            elsewhere={"independent tokens": measures.means("independent tokens")},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            WALK + "Var z_t = t² a + t T b",
            WITHIN.format("variances"),
            measures.variances(),
            elsewhere={"independent tokens": measures.variances("independent tokens")},
        ),
    ),
    (
        "independent tokens",
        Claim(
            DERIVED,
            "Independent tokens: E z_t = 0 for t < T, E z_T = g",
            WITHIN.format("means"),
            measures.means(),
            elsewhere={"random walk": measures.means("walks")},
        ),
    ),
    (
        "independent tokens",
        Claim(
            DERIVED,
            "Independent tokens: Var z_t = b for t < T, Var z_T = a + b",
            WITHIN.format("variances"),
            measures.variances(),
            elsewhere={"random walk": measures.variances("walks")},
        ),
    ),
    (
        "grid",
        Claim(
            DERIVED,
            WALK + "P(z_T > z_t) at t = T/2 is Imhof's integral",
            WITHIN.format("spectra"),
            measures.crossings,
            elsewhere={"Φ(g/√a)": measures.crossings_without_b},
        ),
    ),
    (
        "low rank",
        Claim(
            DERIVED,
            WALK + "P(z_T > z_t) at t = T/2 is Imhof's integral at every rank, also where Φ(SNR_t) is wrong",
            WITHIN.format("ranks"),
            measures.at_every_rank,
            elsewhere={"Φ(SNR_t)": measures.crossings_in_the_limit},
        ),
    ),
    (
        "grid",
        Claim(
            DERIVED,
            WALK + "P(z_T > z_t) → Φ(SNR_t) at t = T/2 as op/F = ‖Σ^½WΣ^½‖_op/‖Σ^½WΣ^½‖_F → 0, here at d = 64 and 256",
            f"|P − Φ| at most {measures.LIMIT:g} for the exact P",
            measures.limit_at_half,
            ("low rank",),
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            WALK + "P(z_T > z_t) → Φ(SNR_t) at every t, d = 64",
            f"|P − Φ| at most {measures.LIMIT:g}, with the whole simultaneous interval",
            measures.limit,
            ("low rank",),
            elsewhere={"Φ(g/√a)": measures.limit_without_b},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            "Without mean, v > 0: no key is preferred",
            f"|P − ½| at most {measures.EVEN:g} at every t, with the whole simultaneous interval",
            measures.even(0.0),
            elsewhere={"m = 1": measures.even(1.0)},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            "Without variance attention is geometric, H = H_geo(g, T)",
            f"|H − H_geo| at most {measures.ENTROPY:g}, with the whole interval",
            measures.geometric(0.0),
            elsewhere={"v = 100": measures.geometric(100.0)},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            "Variance collapses the entropy",
            f"H at v = 100 at most {measures.COLLAPSED:g} of H at v = 1, with the whole interval",
            measures.entropy_collapses(100.0, 1.0),
            elsewhere={"v = 1 against 0": measures.entropy_collapses(1.0, 0.0)},
        ),
    ),
    (
        "walks",
        Claim(
            ABSTRACT,
            "Attention is localised when the eigenvalues have a mean that is not 0 and little variance",
            "attention on the last 4 falls with v, from above one half; every interval excludes the opposite",
            measures.localisation_falls(1.0),
            elsewhere={"m = 0": measures.localisation_falls(0.0)},
        ),
    ),
    (
        "plane",
        Claim(
            ABSTRACT,
            "Little variance avoids the collapse of rank and that of entropy",
            f"H between {measures.ONE_KEY:g} and {measures.UNIFORM:g} of log T, with the whole interval",
            measures.no_collapse(1.0, 0.1),
            elsewhere={
                "m = 0, v = 0.01": measures.no_collapse(0.0, 0.01),
                "v = 1000": measures.no_collapse(1.0, 1000.0),
            },
            post_hoc="both ends of the bound",
        ),
    ),
    (
        "markov locater",
        Claim(
            OURS,
            PENALTY + "the deviation of the eigenvalues is lower",
            BEST + f"at most {training.CONCENTRATED:g} of that without, with the whole interval",
            training.concentrates(training.eigenvalue_deviation),
            repairs={
                "markov locater": {
                    "relative to the mean eigenvalue": training.concentrates(training.deviation_over_mean),
                    "at the end of training": training.concentrates(training.eigenvalue_deviation, training.at_end),
                }
            },
        ),
    ),
    (
        "markov locater",
        Claim(
            OURS,
            PENALTY + "relative to the mean eigenvalue the spectrum concentrates, v/m² is lower",
            BEST + f"deviation/|mean| at most {training.CONCENTRATED:g} of that without, with the whole interval",
            training.concentrates(training.deviation_over_mean),
            ("markov shrink", "markov zero"),
            post_hoc=AFTER,
        ),
    ),
    (
        "markov locater",
        Claim(
            OURS,
            PENALTY + "the entropy of attention is lower",
            BEST + PAIRED.format(f"below −{training.NATS:g} nats"),
            training.falls(training.entropy, training.NATS),
            ("markov shrink", "markov zero"),
            post_hoc=AFTER,
        ),
    ),
    (
        "markov locater",
        Claim(
            OURS,
            PENALTY + "attention is more on the current token",
            BEST + PAIRED.format(f"above {training.SHARE:g}"),
            training.rises(training.on_current_token, training.SHARE),
            ("markov shrink", "markov zero"),
            post_hoc=AFTER,
        ),
    ),
    (
        "markov locater",
        Claim(
            OURS,
            PENALTY + "a task of order 1 is learnt better: the best loss on fresh sequences is lower",
            f"gain above {training.MUCH:.1%}, with the whole 95 % interval of the paired gain over {SEEDS} new seeds",
            training.generalises,
            ("markov shrink", "markov zero"),
            post_hoc=AFTER,
        ),
    ),
    (
        "bag locater",
        Claim(
            OURS,
            PENALTY + "a bag of words is learnt as well as without: the best loss on fresh sequences is equal",
            f"gain within ± {training.SAME:.0%}, with the whole 95 % interval over {SEEDS_OF_BAGS} new seeds",
            training.learns_as_well,
            ("markov locater",),
            post_hoc=AFTER,
        ),
    ),
)

FIGURES = "experiments.qk_eigenspectrum.claim_figures"
TABLES = {"claims": ("Concentration of the QK-eigenspectrum", list(CLAIMS))}
