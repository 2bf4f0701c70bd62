"""Claims about Adam and RMSProp, on a record of compare_adaptive.py (configs). A case is a law, or a pair of laws.

The first table has to hold. The second says which statements about gradient flow hold under these laws.
"""

from dynamics.analysis.fits import order
from dynamics.studies.claims import Claim, Data, Finding, inside
from experiments.cooccurrence.optimizer_claims import CLAIMS

LAWS = ("preconditioned_flow", "rmsprop", "adam")
SMOOTH = "dθ/dt = −∇L / (|∇L| + ε) at order 1 in η, with ε = 0.01 and averages over ten steps"


def _order(data: Data, case: str) -> Finding:
    distance = data[case].output.isel(t=-1)
    fit = order(distance.step.values, distance.values)
    return Finding(inside(fit, 0.8, 1.2), f"order {fit}")


TABLES = {
    "limits": (
        "The limits of Adam and RMSProp",
        [
            (
                f"{law}_smooth to preconditioned_flow",
                Claim(
                    "folklore",
                    f"{name} follows {SMOOTH}",
                    "order within 1.0 ± 0.2",
                    _order,
                    (f"fixed_time_{law} to preconditioned_flow",),
                ),
            )
            for law, name in (("rmsprop", "RMSProp"), ("adam", "Adam"))
        ],
    ),
    "adaptive": (
        "What holds under Adam and RMSProp: the paper's experiment from the theory's start, 3 seeds at 4 steps each",
        [(law, claim) for claim in CLAIMS for law in LAWS],
    ),
}
