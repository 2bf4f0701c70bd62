"""The statements of arXiv:2410.09605 as claims: Theorems 3.1 to 3.3, Lemmas 4.1 to 4.7, Corollary 4.6, Appendices E, F.

The theorems are asymptotic, with hidden constants and logarithms. A claim therefore checks a sign in every run, an
order between quantities, or an exponent fitted over widths, which may differ from the stated one by SLACK: over a
factor 4096 in m a logarithm looks like a power of about 0.1. T1 is the time from which on all samples are classified
with a margin of 0.5, or with any margin, in a table each; T2 = m is the last time.
"""

from collections.abc import Iterator
from typing import Any

from dynamics.studies.claims import Claim
from experiments.cooccurrence import kick, measures
from experiments.cooccurrence.cases import CASES, COMPANION, PHASE_1_STARTS
from experiments.cooccurrence.findings import LARGE, SLACK
from experiments.cooccurrence.measures import FRACTION, SIZES_WIDTH, WIDE
from experiments.cooccurrence.phases import RATES, SHARP, Phases

__all__ = ["CASES", "COMPANION", "FIGURES", "TABLES"]

# Bounds on exponents were set before, for all widths.
FITTED = f"exponents are fitted for m ≥ {LARGE} only"
# Hypotheses of the theory that are restored in the paper's own experiment, one at a time and together.
REPAIRS = {
    "appendix": {
        "with distinct words": "appendix_distinct",
        "with the theory's start": "appendix_small",
        "with both": "appendix_mended",
    }
}


def _claim(source: str, statement: str, bound: str, measure: Any, controls: Any = (), **settings: Any) -> Claim:
    """A claim that is repaired in the paper's own experiment by the hypotheses of the theory."""
    repairs = {**REPAIRS, **settings.pop("repairs", {})}
    return Claim(source, statement, bound, measure, controls, repairs=repairs, **settings)


def _theorem_1(phases: Phases) -> Iterator[Claim]:
    """The statements about the end of Phase 1, Theorem 3.1."""
    yield _claim(
        "Theorem 3.1",
        "All samples are classified at T1 and stay so",
        "T1 exists in every run",
        phases.classified,
        ("contradiction",),
    )
    yield _claim(
        "Theorem 3.1",
        "T1 = Õ(1/m)",
        f"exponent of T1 in m within −1 ± {SLACK}",
        phases.phase_one_ends,
        ("fan_in",),
        post_hoc=FITTED,
    )
    yield _claim(
        "Theorem 3.1",
        "G(μ1), G(μ2) ≥ Ω(1) and G(μ3) ≤ −Ω(1) at T1",
        f"positive in every run, exponent in m at least −{SLACK}",
        phases.signals_at_t1,
        ("shuffled_labels", "no_common_token"),
        post_hoc=FITTED,
    )
    yield _claim(
        "Theorem 3.1",
        "νᵀW_VᵀW_Vμ (first 8 words) and ⟨w_i, w_j⟩ (mean of a_i a_j ⟨w_i, w_j⟩) stay near their start until T1",
        f"exponent of the change (root mean square over words) over σ0²√m, σ1²√m at most {SLACK}",
        phases.grams_stay,
        ("fan_in",),
        post_hoc=f"the root mean square instead of the largest change; {FITTED}",
    )
    yield _claim(
        "Theorem 3.1",
        "loss(T1) = Θ(1)",
        f"exponent in m within ±{SLACK}",
        phases.loss_at_t1,
        elsewhere={"at T2": measures.loss_at_the_end},
        post_hoc=FITTED,
    )


def _theorem_2(phases: Phases) -> Iterator[Claim]:
    """The statements about Phase 2, Theorem 3.2."""
    yield _claim(
        "Theorem 3.2",
        "Scores (key, query) (μ2, μ1), (μ1, μ2) increase and (μ3, μ1), (μ3, μ2) decrease on [T1, T2]",
        "the sign of every velocity at every saved time, and of every change, in every run",
        phases.scores_move,
        ("shuffled_labels", "no_common_token"),
    )
    yield _claim(
        "Theorem 3.2",
        "μ1ᵀW_VᵀW_Vμ2 increases, μ1ᵀW_VᵀW_Vμ3 and μ2ᵀW_VᵀW_Vμ3 decrease on [T1, T2]",
        "the sign of every velocity at every saved time, and of every change, in every run",
        phases.values_move,
        ("shuffled_labels", "no_common_token"),
    )
    yield _claim(
        "Theorem 3.2",
        "G(μ1), G(μ2) > 0 > G(μ3) on [T1, T2]",
        "in every run",
        phases.signals_keep_signs,
        ("shuffled_labels", "no_common_token"),
    )
    yield _claim(
        "Theorem 3.2",
        "G(μ1) + G(μ2) + G(μ3) ≥ Ω(1), G(μ1) + G(μ3) ≤ −Ω(1), G(μ2) + G(μ3) ≤ −Ω(1) on [T1, T2]",
        f"positive in every run, exponent in m at least −{SLACK}",
        phases.signals_separate,
        ("shuffled_labels", "no_common_token"),
        repairs={"theory": {"with T1 at a margin of 0.5": Phases(0.5).signals_separate}} if phases.margin < 0.5 else {},
        post_hoc=FITTED,
    )
    yield _claim(
        "Theorem 3.2",
        "The same from some t = Õ(T1) on",
        f"exponent of that t over T1 in m at most {SLACK}, of the smallest of the three at T2 at least −{SLACK}",
        phases.signals_separate_later,
        ("shuffled_labels", "no_common_token"),
        post_hoc=f"this weaker form of the row above; {FITTED}",
    )


def _theorem_3() -> Iterator[Claim]:
    """The statements about the end of training, Theorem 3.3 and Appendix F."""
    yield _claim(
        "Theorem 3.3",
        "The training loss is ≤ 1/poly(m) at some T*",
        "the loss falls below 1/m in every run",
        measures.training_loss,
        ("contradiction",),
    )
    yield _claim(
        "Appendix F.8",
        "loss(t) = 1/(Θ(σ1² m m1)(t − T1) + 1/loss(T1))",
        f"for m ≥ {WIDE}: exponent in m of loss · m · t at T2 within ±{SLACK}, exponent of the loss in t from "
        f"{measures.LATE:g} T1 on within −1 ± {SLACK}",
        measures.loss_decays,
        ("fan_in",),
    )
    yield _claim(
        "Theorem 3.3",
        "C_{1,2}, C_{2,1}, −C_{3,1}, −C_{3,2} are of one common order at T*",
        "all positive and within a factor 10 of one another in every run",
        measures.common_order,
        ("shuffled_labels", "no_common_token"),
    )
    yield _claim(
        "Theorem 3.3",
        "Every coefficient that involves a random word is smaller than these",
        "the largest of them at T* below half of the mean of the four in every run",
        measures.small_share,
        ("shuffled_labels",),
    )
    yield _claim(
        "derived",
        "C_{1,1}, C_{2,2}, C_{3,3} > 0 at T* (Appendix F.13 treats them)",
        "in every run",
        measures.diagonal_signs,
        ("shuffled_labels",),
        repairs={"theory": {f"for m ≥ {LARGE}": measures.diagonal_signs_wide}},
    )


def _lemmas(phases: Phases) -> Iterator[Claim]:
    """The statements about the lemmas and the corollary of Section 4."""
    yield _claim(
        "Lemma 4.1",
        "d/dt a_j w_j W_V μ = Θ((σ0² + σ1²) m) at t = 0 for μ1, μ2 (mean over j)",
        f"positive in every run, exponent of the quotient in m within ±{SLACK}",
        measures.start_of_targets,
        ("shuffled_labels",),
        post_hoc=FITTED,
    )
    yield _claim(
        "Lemma 4.2",
        "The same for μ3 is much smaller",
        "below half of μ1's and μ2's in every run",
        measures.start_of_common,
        ("unbalanced_labels",),
    )
    yield _claim(
        "Lemma 4.2",
        "It is Õ(σ1²√(m m1) + σ0²√(mL) + (σ0² + σ1²) m max|F(0)|)",
        f"at most {FRACTION:g} of that expression in every run",
        measures.start_of_common_bound,
        elsewhere={"for μ1": measures.targets_at_the_bound},
        post_hoc="the bound; it was a trend, then that expression itself, which is too much for μ1 as well",
    )
    yield _claim(
        "Lemma 4.3",
        "(1 + C) max(Ġ(μ1), Ġ(μ2)) ≤ −Ġ(μ3) ≤ (1 − C)(Ġ(μ1) + Ġ(μ2)) from some T0.5 ≤ T1 on, until T1",
        "for some C > 0 in every run, with T0.5 < T1",
        phases.velocities_balance_before,
        ("no_common_token",),
    )
    yield _claim(
        "Lemma 4.5",
        "The same on [T1, T2], a constant C > 0",
        f"C positive in every run, exponent in m at least −{SLACK}",
        phases.velocities_balance,
        ("shuffled_labels", "no_common_token"),
        post_hoc=FITTED,
    )
    yield _claim(
        "Lemma 4.4",
        "|Σ_{I2} g − Σ_{I3} g| / min(Σ_{I2} g, Σ_{I3} g) ≪ 1 on [T1, T2]",
        "at most 0.5 in every run",
        phases.targets_balance,
        elsewhere={"I3 and I4": phases.others_balance},
        post_hoc="no trend is asked for",
    )
    yield _claim(
        "Lemma 4.5",
        "Σ g / (Σ_{I2∪I3∪I4} g − Σ_{I1} g) = O(1), Σ g / (Σ_{I1} g − Σ_{I2} g) = O(1), R(t) in a fixed range",
        f"positive on [T1, T2] in every run; exponents in m of the ratios and of max R at most {SLACK}, of min R at "
        f"least −{SLACK}",
        phases.types_balance,
        ("shuffled_labels",),
        elsewhere={"with Σ_{I2} g − Σ_{I3} g in the denominator": phases.targets_as_ratio},
        post_hoc=FITTED,
    )
    yield _claim(
        "Corollary 4.6",
        "d/dt μ2ᵀW_VᵀW_Vμ1 > 0 and d/dt μ1ᵀW_VᵀW_Vμ3 < 0 on [T1, T2]",
        "the sign of every velocity at every saved time in every run",
        phases.value_velocities,
        ("shuffled_labels", "no_common_token"),
    )
    yield _claim(
        "Lemma 4.7",
        "d/dt νᵀW_KᵀW_Qμ = Θ̃(loss σ0² m) / (L√m) for μ ≠ ν in {μ1, μ2}, minus that for ν = μ3",
        f"positive quotients; exponents in m of the smallest on [T1, T2] at least −{SLACK}, of the largest at most "
        f"{SLACK}",
        phases.score_velocities,
        ("shuffled_labels", "no_common_token"),
        repairs={"theory": {"over log(T2/T1)": phases.score_velocities_over_log}},
        post_hoc=FITTED,
    )


def _claims(margin: float) -> list[Claim]:
    """All statements, for T1 with this margin."""
    phases = Phases(margin)
    return [*_theorem_1(phases), *_theorem_2(phases), *_theorem_3(), *_lemmas(phases)]


# Statements about cases of their own.
FURTHER = (
    *(
        (
            "phase 1",
            Claim(
                "Appendix E.28",
                f"The change of the {name.replace('_', ' ')} until T1 is ∝ m^{rate:g}",
                f"exponent within {rate:g} ± {SHARP}",
                Phases(0.5).rate(name),
                ("fan_in",),
                post_hoc="the root mean square over the first 8 words instead of the largest change; widths and number "
                "of starts: 12 starts at each of five widths up to 2^20 decided nothing for key and query",
            ),
        )
        for name, rate in RATES.items()
    ),
    (
        "theory",
        Claim(
            "Appendix F.16",
            "The share of the random words is Õ(1/n + L/√m)",
            f"exponent in n within [−1.5, −0.5] at m = {SIZES_WIDTH}",
            measures.share_falls,
            elsewhere={"the targets' coefficients": measures.targets_fall},
        ),
    ),
    (
        "unequal_targets",
        Claim(
            "Lemma 4.4",
            "Balancing is automatic: with three samples of I2 for each of I3, Σ_{I2} g and Σ_{I3} g still balance",
            "gap at most 0.5 at T2 in every run",
            measures.balance_returns,
            elsewhere={"at t = 0": measures.balance_at_the_start},
        ),
    ),
    (
        "kick",
        Claim(
            "Lemma 4.4",
            f"A kick of δ = ±{kick.SMALL:g} to G(μ1) at t = {kick.KICK_TIME:g} decays from the difference of the mean "
            "outputs of I2 and I3 at the rate λ of the linearised equations, and leaves the share r / (1 + r) in "
            "G(μ1) − G(μ2), r = 6 (L − 2) / n (derived in kick.py)",
            f"until t = {kick.STOP:g}, every run: rate over λ within 1 ± {kick.SHARP:g}, share within ± {kick.NEAR:g}",
            kick.decays,
            ("kick, shuffled labels", "kick, slow W_V"),
            elsewhere={"r = 0": kick.decays_without_random_words},
            post_hoc="outputs instead of log(Σ_{I2} g / Σ_{I3} g), which has a factor 1 − g, and n = 42 instead of 60; "
            "it held with both",
        ),
    ),
    (
        "kick",
        Claim(
            "Lemma 4.4",
            "After a kick of log 4 to G(μ1), Σ_{I2} g and Σ_{I3} g balance again",
            f"gap at most 0.5 at t = {kick.STOP:g} in every run",
            kick.balances_again,
            ("kick, slow W_V",),
            elsewhere={"right after the kick": kick.balance_when_kicked},
            post_hoc="the controls; shuffled labels were to be one, and balance as well",
        ),
    ),
)

FIGURES = "experiments.cooccurrence.claim_figures"
TABLES = {
    "theory": (
        "Under the theory's data and initialisation: m = 2^8 to 2^20, T2 = m, 5 starts each, T1 at a margin of 0.5",
        [("theory", claim) for claim in _claims(0.5)],
    ),
    "theory_first": (
        "The same with T1 at a margin of 0",
        [("theory", claim) for claim in _claims(0.0)],
    ),
    "further": (
        f"Phase 1 alone at m = 2^12 to 2^24, {PHASE_1_STARTS} starts each; other sizes; perturbations",
        list(FURTHER),
    ),
    "appendix": (
        "The paper's own experiment (Appendix A, true Kaiming): m = 2^7 to 2^19, t to 300, 5 starts each, T1 at a "
        "margin of 0.5",
        [("appendix", claim) for claim in _claims(0.5)],
    ),
}
