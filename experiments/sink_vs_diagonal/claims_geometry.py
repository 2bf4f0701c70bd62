"""Claims about what a sink and a diagonal cost, what training finds, and what attention smooths.

"derived" is derived in theory_geometry.py, and is no numbered theorem of arXiv:2605.08453; "abstract" is said in words
by its abstract, with a bound of ours. Bounds were set before the seeds from 7000 on were looked at.
"""

import math
import pathlib

from dynamics import seeds
from dynamics.studies.claims import Claim
from dynamics.studies.evidence import Case, Measured, case_config
from experiments.sink_vs_diagonal import measures_costs as costs
from experiments.sink_vs_diagonal import measures_smoothing as smoothing
from experiments.sink_vs_diagonal import measures_training as training
from experiments.sink_vs_diagonal import theory_geometry as theory

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "sink_vs_diagonal" / "training.py"
FIRST, SEEDS = 7000, 5
SAMPLING = tuple(range(FIRST, FIRST + SEEDS))
TOKENS = 8  # of the trained heads
LATE = 1e4  # the last time of gradient flow
ALIGNMENTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
DIMENSIONS = (3, 4, 6, 8, 12, 24)
MANY = (8, 12, 24)  # as many dimensions as tokens, or more: every sink is representable


def _trained(variant: str, law: str) -> Case:
    """A variant of the config under one law."""
    times = {"count": 60} | ({"stop": LATE} if law == "flow" else {})
    return Case(case_config(CONFIG, variant, law, times=times), seeds(SEEDS, FIRST))


CASES: dict[str, Case | Measured] = {
    "hulls": Measured({"tokens": 6, "dimension": 3, "draws": 20, "seeds": SAMPLING}, costs.hulls),
    "aligned": Measured(
        {"sizes": (4, 8, 16), "alignments": ALIGNMENTS, "norms": ("frobenius", "nuclear")}, costs.aligned
    ),
    "random": Measured(
        {"tokens": 8, "dimensions": DIMENSIONS, "alignments": (0.0, 0.3, 0.6, 0.9), "seeds": SAMPLING}, costs.embeddings
    ),
    "sink": _trained("sink", "normalised_gd"),
    "diagonal": _trained("diagonal", "normalised_gd"),
    "sink, flow": _trained("sink", "flow"),
    "diagonal, flow": _trained("diagonal", "flow"),
    "causal": _trained("causal", "normalised_gd"),
    "causal, one matrix": _trained("causal_bilinear", "normalised_gd"),
    "independent": Measured({"tokens": 64, "dimension": 16, "draws": 100, "seeds": SAMPLING}, smoothing.one_layer),
    "correlated": Measured(
        {"tokens": 64, "dimension": 16, "draws": 100, "seeds": SAMPLING, "correlation": 0.95}, smoothing.one_layer
    ),
    "layers": Measured({"tokens": 64, "dimension": 64, "depth": 6, "draws": 10, "seeds": SAMPLING}, smoothing.layers),
    **{
        f"value norms, n = {n}": Measured(
            {"tokens": n, "dimension": 64, "norms": [i / 40 for i in range(41)], "draws": 50, "seeds": SAMPLING},
            smoothing.value_norms,
        )
        for n in (64, 16)
    },
}

DERIVED, ABSTRACT = "derived", "abstract"
EVERY = f"relative error at most {costs.RELATIVE:g} in every set of tokens"
OVER_SEEDS = f"{SEEDS} seeds, the whole interval"
COSTS = [
    (
        "hulls",
        Claim(
            "derived (A1)",
            "A sink at s is representable if and only if 0 ∉ conv{x_q} and s ∉ conv{x_k: k ≠ s}",
            "a positive margin exactly where both distances are positive, in all of 100 random sets",
            costs.representable("query_distance", "key_distance"),
            elsewhere={
                "0 ∉ conv{x_q} alone": costs.representable("query_distance"),
                "s ∉ conv{x_k} alone": costs.representable("key_distance"),
            },
        ),
    ),
    (
        "hulls",
        Claim(
            "derived (A2)",
            "The largest margin of a sink for ‖W‖_F ≤ 1 is γ_q γ_k",
            EVERY + " that has a sink",
            costs.largest_margin_is("query_distance", "key_distance"),
            elsewhere={"γ_q²": costs.largest_margin_is("query_distance", "query_distance")},
        ),
    ),
    (
        "random",
        Claim(
            "derived (A2)",
            "A sink costs 1/(γ_q γ_k) in operator and nuclear norm, and so in all Schatten norms, by a W of rank one",
            EVERY + " that has a sink, and σ_1 is the sum of the singular values",
            costs.one_price("sink"),
            elsewhere={"the diagonal": costs.one_price("diagonal")},
        ),
    ),
    (
        "aligned",
        Claim(
            "derived (A3, A4)",
            "Aligned tokens: sink 1/(γ_q γ_k); diagonal √(n − 1)/(1 − α²) in Frobenius norm, "
            "(n − 1)/(1 − α²) in nuclear norm",
            f"relative error at most {costs.RELATIVE:g} for α from 0 to 0.95, n = 4, 8, 16",
            costs.closed_forms(),
            elsewhere={"the closed forms of α = 0": costs.closed_forms(aligned=False)},
        ),
    ),
    (
        "aligned",
        Claim(
            "derived (A3, A4)",
            "Aligned tokens: diagonal over sink is √(n − 1) in nuclear norm at α = 0, and more at every other α",
            f"relative error at α = 0 at most {costs.RELATIVE:g}",
            costs.ratio_grows_from("nuclear", 0.5),
            ("random",),
        ),
    ),
    (
        "aligned",
        Claim(
            "derived (A3, A4)",
            "Aligned tokens: in Frobenius norm sink and diagonal cost the same at α = 0, the diagonal more at every "
            "other α",
            f"relative error at α = 0 at most {costs.RELATIVE:g}",
            costs.ratio_grows_from("frobenius", 0.0),
            ("random",),
            elsewhere={"the nuclear norm over n − 1": costs.ratio_grows_from("nuclear", 1.0)},
        ),
    ),
    (
        "random",
        Claim(
            "derived",
            "Any tokens: a diagonal costs at least (n − 1)/‖X_cᵀX_c‖_F in Frobenius norm, and (n − 1)/σ_max(X_c)² in "
            "nuclear norm",
            "in every set of tokens",
            costs.bounded("diagonal"),
            elsewhere={"the sink": costs.bounded("sink")},
        ),
    ),
    (
        "random",
        Claim(
            ABSTRACT,
            "Alignment makes a sink the cheaper pattern: α = 0.6, n = 8 tokens in 8, 12, 24 dimensions",
            "diagonal over sink above 1 in nuclear norm in every set of tokens",
            costs.sink_is_cheaper(0.6, MANY),
            elsewhere={"tokens without their mean": costs.sink_is_cheaper(0.6, MANY, centred=True)},
        ),
    ),
]

LIMITS = theory.causal_sink(TOKENS)
ROOT = math.sqrt(TOKENS - 1)
TRAINING = [
    *(
        (
            "sink" + law,
            Claim(
                "derived (A2, A3)",
                f"Trained to a sink{under}, W tends to rank one, and ‖W‖_* over the smallest margin to "
                f"√(n − 1) = {ROOT:.4f}",
                f"{OVER_SEEDS} within 1 %, effective rank at most 1.05",
                training.ends_at("nuclear", 0.99 * ROOT, 1.01 * ROOT, (1.0, 1.05)),
                ("diagonal" + law,),
            ),
        )
        for law, under in (("", " by normalised GD"), (", flow", " by gradient flow"))
    ),
    *(
        (
            "diagonal" + law,
            Claim(
                "derived (A3)",
                f"Trained to a diagonal{under}, ‖W‖_* over the smallest margin is near n − 1 = 7, with a high rank",
                f"{OVER_SEEDS} in [7, 9], effective rank at least 5",
                training.ends_at("nuclear", TOKENS - 1, 9.0, (5.0, TOKENS)),
                ("sink" + law,),
            ),
        )
        for law, under in (("", " by normalised GD"), (", flow", " by gradient flow"))
    ),
    (
        "diagonal",
        Claim(
            "derived (A3)",
            "A trained diagonal has at least 2.5 times the nuclear norm of a trained sink at equal margin",
            f"paired, {OVER_SEEDS} above 2.5",
            training.dearer_than("sink", 2.5),
            elsewhere={"in Frobenius norm": training.dearer_than("sink", 2.5, "frobenius")},
        ),
    ),
    (
        "causal",
        Claim(
            "derived",
            f"W_Q and W_K learn a causal sink of least nuclear norm, (n − 1)/√n = {LIMITS['nuclear']:.4f}, of rank one",
            f"both norms over margin: {OVER_SEEDS} within 1 %",
            training.two_norms(LIMITS["nuclear"], LIMITS["nuclear"], 0.01),
            ("causal, one matrix",),
        ),
    ),
    (
        "causal, one matrix",
        Claim(
            "derived",
            f"One matrix W learns the causal sink of least Frobenius norm, √(n − H_n) = {LIMITS['frobenius']:.4f}, "
            f"whose nuclear norm is {LIMITS['nuclear of the smallest frobenius']:.4f}",
            f"both norms over margin: {OVER_SEEDS} within 1 %",
            training.two_norms(LIMITS["frobenius"], LIMITS["nuclear of the smallest frobenius"], 0.01),
            ("causal",),
        ),
    ),
]

SMOOTHING = [
    (
        "independent",
        Claim(
            "derived (A7)",
            "Attention leaves S(A) = ‖(I − J) A‖_F²/(n − 1) of the spread of independent tokens",
            f"over {len(smoothing.PATTERNS)} patterns, {OVER_SEEDS}: slope in 1 ± 0.03, R² above 0.99",
            smoothing.on_the_line("smoothing", 0.03, 0.99),
            ("correlated",),
            elsewhere={"‖A‖_F²/n": smoothing.on_the_line("without_the_mean", 0.03, 0.99)},
        ),
    ),
    (
        "independent",
        Claim(
            "derived (A7)",
            "Of k keys that each query draws, 1/k − 1/n is left, k = 1, 2, 4, 16",
            f"measured over predicted: {OVER_SEEDS} in 1 ± 0.03",
            smoothing.sparse_law(0.03),
            elsewhere={"4 keys for all queries": smoothing.sparse_law(0.03, shared=True)},
        ),
    ),
    (
        "independent",
        Claim(
            "derived (A7)",
            "Sparse attention can smooth more than dense attention: 4 keys for all queries against softmax of N(0, 1)",
            f"dense leaves more, {OVER_SEEDS} above 0.01",
            smoothing.smooths_less("dense", "4 shared", 0.01),
            elsewhere={"4 keys of each query": smoothing.smooths_less("dense", "4 own", 0.01)},
        ),
    ),
    (
        "layers",
        Claim(
            "derived (A7)",
            "A perfect sink does not prevent smoothing: without residual path all tokens become one",
            f"mean cosine after 6 layers, {OVER_SEEDS} in 1 ± 1e-9",
            smoothing.alike("sink", "replaced", 1 - 1e-9, 1 + 1e-9),
            elsewhere={"the diagonal": smoothing.alike("diagonal", "replaced", 1 - 1e-9, 1 + 1e-9)},
        ),
    ),
    (
        "layers",
        Claim(
            "derived (A7)",
            "Nor with a residual path, if its value has the size of the others: tokens are more alike than by even "
            "attention",
            f"mean cosine after 6 layers: paired difference, {OVER_SEEDS} above 0.3",
            smoothing.more_alike("sink", "uniform", 0.3),
            elsewhere={
                "the switch, a sink of value 0": smoothing.more_alike("switch", "uniform", 0.3),
                "the diagonal": smoothing.more_alike("diagonal", "uniform", 0.3),
            },
        ),
    ),
    (
        "layers",
        Claim(
            "derived (A7)",
            "A residual path with a diagonal keeps tokens different",
            f"mean cosine after 6 layers, {OVER_SEEDS} in ± 0.05",
            smoothing.alike("diagonal", "residual", -0.05, 0.05),
            elsewhere={
                "the sink": smoothing.alike("sink", "residual", -0.05, 0.05),
                "even attention": smoothing.alike("uniform", "residual", -0.05, 0.05),
            },
        ),
    ),
    (
        "layers",
        Claim(
            "derived",
            "Over layers P ← 2P + R Z, Z ← (1 + S) Z with a residual path, P ← P + R Z, Z ← S Z without; the cosine is "
            "P/(P + Z)",
            f"mean cosine at each of 6 layers, 4 patterns, 2 paths: {OVER_SEEDS} within ± 0.05",
            smoothing.as_predicted(0.05),
            elsewhere={"one layer later": smoothing.as_predicted(0.05, shift=1)},
            post_hoc="the sampling of V, which at first was not uniform over orthogonal matrices",
        ),
    ),
    (
        "value norms, n = 64",
        Claim(
            "derived (A7)",
            "In one residual layer a sink smooths as even attention does where ‖v_s‖ is 1/√n of the others' norm, "
            "n = 64",
            f"measured over 1/√n: {OVER_SEEDS} in 1 ± 0.15",
            smoothing.equal_at(1 / 8, 0.15),
            ("value norms, n = 16",),
        ),
    ),
]
TABLES = {
    "costs": ("What a sink and a diagonal cost", COSTS),
    "training": ("What training finds", TRAINING),
    "smoothing": ("What attention smooths", SMOOTHING),
}
