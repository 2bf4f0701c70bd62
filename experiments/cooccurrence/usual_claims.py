"""Claims about Adam and RMSProp at a usual step, on a record of compare_adaptive.py:usual (configs). A case is a law.

Here T1 is before the first saved time after 0, so that the two phases are judged in adaptive_claims, at smaller steps.
"""

from experiments.cooccurrence.optimizer_claims import CLAIMS

TABLES = {
    "usual": (
        "What holds under Adam and RMSProp at η = 0.001, to t = 20: the same experiment, 5 seeds",
        [(law, claim) for claim in CLAIMS if claim.source != "Section 4" for law in ("rmsprop", "adam")],
    ),
}
