"""Claims about the concentration of the QK-eigenspectrum: the theory is tested by sampling, the penalty by training.

Claims with the source "derived" are derived in theory.py from first principles; none is a numbered theorem of
arXiv:2402.02098. Claims with the source "abstract" are those of its abstract about the regulariser. The published form
of the regulariser was not available; dynamics.objectives.regularisers.SpectrumPenalty is used in its place.
"""

import pathlib
from typing import Any

from dynamics import seeds
from dynamics.config import load_config
from dynamics.studies.claims import Claim
from dynamics.studies.evidence import Case, Measured
from experiments.qk_eigenspectrum import measures

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "qk_eigenspectrum" / "locater.py"
SEED = 7000  # of the sampling
SEEDS, FIRST = 6, 10  # of the training, none of which was seen when the bounds were set
# (mean, variance, d, T, skew)
VARIANCES = (0.0, 1.0, 10.0, 100.0)
COLLAPSES = [(1.0, v, 64, 32, 0.0) for v in VARIANCES] + [(0.0, 1.0, 64, 32, 0.0), (0.0, 10.0, 64, 32, 0.0)]
SPECTRA = ((1.0, 10.0), (1.0, 40.0), (1.0, 100.0), (0.5, 100.0), (-1.0, 40.0), (0.0, 1.0))
GRID = [(*spectrum, d, T, 0.0) for spectrum in SPECTRA for d, T in ((64, 16), (64, 32), (256, 16))]
GRID += [(1.0, 10.0, 64, 32, 3.0), (1.0, 40.0, 256, 16, 6.0), (0.5, 40.0, 64, 16, 6.0)]


def _training(variant: str) -> Case:
    return Case(lambda: load_config(CONFIG, variant), seeds(SEEDS, FIRST))


def _sampling(cells: Any, samples: int, walks: bool = True) -> Measured:
    return Measured({"cells": cells, "samples": samples, "seed": SEED, "walks": walks}, measures.sampling)


PLANE = [(m, v, 64, 32, 0.0) for m in (0.0, 0.1, 0.3, 1.0) for v in (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0) if m + v]
EXAMPLES = [(0.0, 0.01, 64, 32, 0.0), (1.0, 0.0, 64, 32, 0.0), (1.0, 1000.0, 64, 32, 0.0)]

CASES = {
    "walks": _sampling(COLLAPSES, 20_000),
    "independent tokens": _sampling(COLLAPSES, 20_000, walks=False),
    "examples": Measured({"cells": EXAMPLES, "seed": SEED}, measures.maps),
    "plane": _sampling(PLANE, 2000),
    "grid": _sampling(GRID, 4000),
    "markov locater": _training("markov_locater"),
    "markov none": _training("markov_none"),
    "markov shrink": _training("markov_shrink"),
    "markov zero": _training("markov_zero"),
    "bag locater": _training("bag_locater"),
    "bag none": _training("bag_none"),
}

DERIVED, ABSTRACT = "derived", "abstract"
WITHIN = (
    f"within {measures.CROSSINGS:g} standard errors in every cell, {measures.FEWEST_CELLS} or more, some not symmetric"
)
PAIRED = f"the 95 % interval of the paired difference over {SEEDS} new seeds is above 0"
WALK = "Random walk: "
PENALTY = "Penalty, trace held: "

CLAIMS = (
    (
        "walks",
        Claim(
            DERIVED,
            WALK + "E z_t = t g",
            f"every mean within {measures.MEANS:g} standard errors",
            measures.means(),
            elsewhere={"independent tokens": measures.means("independent tokens")},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            WALK + "Var z_t = t² a + t T b",
            f"every standard deviation within {100 * measures.DEVIATIONS:g} %",
            measures.deviations(),
            elsewhere={"independent tokens": measures.deviations("independent tokens")},
        ),
    ),
    (
        "independent tokens",
        Claim(
            DERIVED,
            "Independent tokens: E z_t = 0 for t < T, E z_T = g",
            f"every mean within {measures.MEANS:g} standard errors",
            measures.means(),
            elsewhere={"random walk": measures.means("walks")},
        ),
    ),
    (
        "independent tokens",
        Claim(
            DERIVED,
            "Independent tokens: Var z_t = b for t < T, Var z_T = a + b",
            f"every standard deviation within {100 * measures.DEVIATIONS:g} %",
            measures.deviations(),
            elsewhere={"random walk": measures.deviations("walks")},
        ),
    ),
    (
        "grid",
        Claim(
            DERIVED,
            WALK + "P(z_T > z_t) at t = T/2 is Imhof's integral",
            WITHIN,
            measures.crossings,
            elsewhere={"Φ(g/√a)": measures.crossings_without_b},
        ),
    ),
    (
        "grid",
        Claim(
            DERIVED,
            WALK + "P(z_T > z_t) → Φ(SNR_t) at t = T/2, already at d = 64 and 256",
            WITHIN,
            measures.crossings_in_the_limit,
            elsewhere={"Φ(g/√a)": measures.crossings_without_b},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            WALK + "P(z_T > z_t) → Φ(SNR_t) at every t, d = 64",
            f"|P − Φ| at most {measures.LIMIT:g}",
            measures.limit,
            elsewhere={"Φ(g/√a)": measures.limit_without_b},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            "Without mean, v > 0: no key is preferred",
            f"|P − ½| at most {measures.EVEN:g} at every t",
            measures.even(0.0),
            elsewhere={"m = 1": measures.even(1.0)},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            "Without variance attention is geometric, H = H_geo(g, T)",
            f"|H − H_geo| at most {measures.ENTROPY:g}",
            measures.geometric(0.0),
            elsewhere={"v = 100": measures.geometric(100.0)},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            "Variance collapses the entropy",
            f"H at v = 100 below {measures.COLLAPSED:g} of H at v = 1",
            measures.entropy_collapses(100.0, 1.0),
            elsewhere={"v = 1 against 0": measures.entropy_collapses(1.0, 0.0)},
        ),
    ),
    (
        "walks",
        Claim(
            DERIVED,
            "Variance collapses the localisation: one key wins, but not a near one",
            "attention on the last 4 falls with v, from above one half",
            measures.localisation_falls(1.0),
            elsewhere={"m = 0": measures.localisation_falls(0.0)},
        ),
    ),
    (
        "markov locater",
        Claim(
            ABSTRACT,
            PENALTY + "the spectrum concentrates",
            f"their deviation at most {measures.CONCENTRATED:g} of that without, in {measures.MOST:.0%} of seeds",
            measures.concentrates(),
            elsewhere={"at t = 0": measures.concentrates(0)},
        ),
    ),
    (
        "markov locater",
        Claim(
            ABSTRACT,
            PENALTY + "the entropy of attention is higher",
            PAIRED,
            measures.rises(measures.entropy),
            elsewhere={"at t = 0": measures.rises(measures.entropy, 0)},
            fails={"markov locater": "it rises in 5 of 6 seeds, but the interval contains 0"},
        ),
    ),
    (
        "markov locater",
        Claim(
            ABSTRACT,
            PENALTY + "attention is more on the current token",
            PAIRED,
            measures.rises(measures.on_current_token),
            ("markov shrink", "markov zero"),
        ),
    ),
    (
        "markov locater",
        Claim(
            ABSTRACT,
            PENALTY + "a task of order 1 is learnt better: the best test loss is lower",
            PAIRED + f"; shrinking alone gains at most {measures.MUCH:.0%}",
            measures.generalises,
            ("markov shrink", "markov zero"),
            elsewhere={
                "trace free": measures.gains_much("markov shrink"),
                "trace at 0": measures.gains_much("markov zero"),
            },
        ),
    ),
    (
        "bag locater",
        Claim(
            DERIVED,
            PENALTY + "a bag of words is not learnt better",
            f"the 95 % interval of the paired gain over {SEEDS} new seeds is not above 0",
            measures.does_not_generalise,
            ("markov locater",),
        ),
    ),
)

FIGURES = "experiments.qk_eigenspectrum.claim_figures"
TABLES = {"claims": ("Concentration of the QK-eigenspectrum", list(CLAIMS))}
