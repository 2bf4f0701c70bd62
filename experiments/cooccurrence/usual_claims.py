"""Adam and RMSProp at a usual step, on a record of configs/cooccurrence/compare_adaptive.py:usual. A case is a law.

T1 is the first saved time after 0 there: the two phases are judged in adaptive_claims, at smaller steps.
"""

from experiments.cooccurrence.optimizer_claims import CLAIMS

__all__ = ["TABLES"]

TABLES = {
    "usual": (
        "What survives Adam and RMSProp at η = 0.001, to t = 20: the same experiment, 5 seeds",
        [(law, claim) for claim in CLAIMS if claim.source != "Section 4" for law in ("rmsprop", "adam")],
    ),
}
