"""Claims about how a sink emerges, that it is a switch, and when training prefers a diagonal.

"derived" is derived in switch.py and is no numbered theorem of arXiv:2605.08453; "abstract" is said in words by its
abstract, with a bound of ours. Bounds were set before the seeds from 7000 on were looked at. What was set after a look
at the seeds 0 and 1, or at those of the table, says so.
"""

import pathlib

from dynamics import seeds
from dynamics.studies.claims import Claim
from dynamics.studies.evidence import Case, Measured, case_config
from experiments.sink_vs_diagonal import measures_emergence as measures
from experiments.sink_vs_diagonal import switch

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "sink_vs_diagonal" / "averaging.py"
FIRST, SEEDS = 7000, 6
ALIGNMENTS = (0.0, 0.3, 0.6)
USUAL = 0.6  # the alignment of the cases that do not name one


def _trained(variant: str, **task: float) -> Case:
    return Case(case_config(CONFIG, variant, task=task), seeds(SEEDS, FIRST))


def at(case: str, alignment: float) -> str:
    """The name of a case at an alignment."""
    return case if alignment == USUAL else f"{case}, α = {alignment:g}"


CASES: dict[str, Case | Measured] = {
    "softmax": _trained("softmax"),
    "no BOS": _trained("no_bos"),
    measures.LOGIT: _trained("sink_logit"),
    "ReLU": _trained("relu"),
    "copy": _trained("copy"),
    "copy, no BOS": _trained("copy_no_bos"),
    "skip, no BOS": _trained("skip_no_bos"),
    **{at("skip", alignment): _trained("skip", alignment=alignment) for alignment in ALIGNMENTS},
    **{at("additive", alignment): _trained("additive", alignment=alignment) for alignment in ALIGNMENTS},
}

ABSTRACT, DERIVED, OURS = "abstract", "derived", "ours"
OVER_SEEDS = f"means over {SEEDS} seeds, whole intervals"
AFTER = "the bound, after a look at two other seeds"
EMERGES = [
    (
        "softmax",
        Claim(
            OURS,
            "Softmax attention that must be silent makes the token in front a sink without a value",
            "in silent rows at least 0.95 on it and at most 0.05 on the diagonal, in the trigger's at most 0.05 on it; "
            f"‖v‖ at most 0.05 of the median; relative error at most 0.001; {OVER_SEEDS}",
            measures.a_sink_emerges,
            ("no BOS",),
        ),
    ),
    (
        measures.LOGIT,
        Claim(
            OURS,
            "A learned sink logit does the same without a token in front",
            "off at least 0.95 in silent rows, at most 0.05 in the trigger's; relative error at most 0.001; "
            f"{OVER_SEEDS}",
            measures.a_logit_serves(),
            ("no BOS",),
            elsewhere={"rows exchanged": measures.a_logit_serves("trigger", "other")},
        ),
    ),
    (
        "no BOS",
        Claim(
            OURS,
            "Without a token in front, softmax attention cannot be silent and does not solve the task",
            f"relative error at least 0.5; {OVER_SEEDS}",
            measures.not_solved(0.5),
            ("softmax", measures.LOGIT, "ReLU"),
            post_hoc=AFTER,
        ),
    ),
    (
        "ReLU",
        Claim(
            OURS,
            "ReLU attention is silent without a sink",
            "share of the token in front in silent rows at most 0.05, 0 where all attention is 0; relative error at "
            f"most 0.001; {OVER_SEEDS}",
            measures.no_sink("first"),
            ("softmax", "no BOS"),
            repairs={"ReLU": {"attention instead of its share": measures.no_sink("first, absolute")}},
        ),
    ),
]
ROWS = "every saved time and row"
SWITCH = [
    (
        case,
        Claim(
            DERIVED,
            f"What is read is between its bounds, (m/√n) σ_min ≤ ‖o − a_s v_s‖ ≤ m max ‖v‖ ({case})",
            f"{ROWS} of {SEEDS} seeds, up to rounding, {measures.ROUNDING:g} max ‖v‖",
            measures.a_switch(),
            elsewhere=controls,
        ),
    )
    for case, controls in {
        "softmax": {
            "dependent values, their listed σ": measures.a_switch(switch.smallest_listed),
            "v_s not subtracted": measures.a_switch(corrected=False),
        },
        measures.LOGIT: {"dependent values, their listed σ": measures.a_switch(switch.smallest_listed)},
        "additive": {"v_s not subtracted": measures.a_switch(corrected=False)},
    }.items()
]
SWITCH.append(
    (
        "softmax",
        Claim(
            OURS,
            "1 − a_s and ‖o‖ rise and fall together",
            f"rank correlation over all rows and saved times at least 0.9; {OVER_SEEDS}",
            measures.in_step(0.9),
            ("no BOS",),
            repairs={
                "softmax": {
                    "at the last time alone": measures.in_step(0.9, late=True),
                    "‖o − a_s v_s‖ at the last time": measures.in_step(0.9, late=True, corrected=True),
                }
            },
        ),
    )
)
COMPETE = [
    *(
        (
            case,
            Claim(
                ABSTRACT,
                f"Where only attention brings a token its own content, it attends to itself ({case})",
                f"diagonal − sink at least 0.5 in the rows without a trigger; {OVER_SEEDS}",
                measures.prefers("diagonal", 0.5),
                ("skip",),
            ),
        )
        for case in ("copy", "copy, no BOS")
    ),
    (
        "skip",
        Claim(
            ABSTRACT,
            "With a skip path and a token in front it attends to that token",
            f"sink − diagonal at least 0.2 in the rows without a trigger; {OVER_SEEDS}",
            measures.prefers("sink", 0.2),
            ("copy", "skip, no BOS", "skip, α = 0"),
        ),
    ),
    (
        "skip, no BOS",
        Claim(
            OURS,
            "With a skip path but no token in front it attends to itself more than to the first token",
            f"diagonal − sink above 0 in the rows without a trigger; {OVER_SEEDS}",
            measures.prefers("diagonal", 0.0),
            ("skip", "additive"),
            post_hoc="the statement, after a look at these seeds",
        ),
    ),
    (
        "additive",
        Claim(
            OURS,
            "So it does with an additive skip path",
            f"sink − diagonal at least 0.2 in the rows without a trigger; {OVER_SEEDS}",
            measures.prefers("sink", 0.2),
            ("copy", "additive, α = 0"),
        ),
    ),
    (
        "additive, α = 0.3",
        Claim(
            OURS,
            "An additive skip path makes the sink sharper than an MLP that sees the token, at α = 0.3",
            f"paired difference of sink − diagonal above 0; {SEEDS} seeds",
            measures.sharper_than("skip, α = 0.3"),
            ("copy",),
            post_hoc="the alignment, after a look at two other seeds, and the control",
        ),
    ),
    *(
        (
            f"{case}, α = 0",
            Claim(
                DERIVED,
                f"Without alignment there is no sink: the mean on the token in front is at most 1/2 ({case}, α = 0)",
                f"mean over rows without a trigger that see a third key, {SEEDS} seeds, whole interval",
                measures.little_on_first(0.5),
                (case,),
            ),
        )
        for case in ("skip", "additive")
    ),
    (
        "additive, α = 0",
        Claim(
            OURS,
            "Nor is the task solved without alignment, if the skip path is additive",
            f"relative error at least 0.01; {OVER_SEEDS}",
            measures.not_solved(0.01),
            ("additive", "skip, α = 0"),
            post_hoc=AFTER,
        ),
    ),
]
TABLES = {
    "emergence": ("A sink emerges where attention must be silent", EMERGES),
    "switch": ("A sink is a switch", SWITCH),
    "competition": ("Sink against diagonal", COMPETE),
}
FIGURES = "experiments.sink_vs_diagonal.figures_emergence"
