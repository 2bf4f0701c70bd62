"""What the paper states, as checks with a control."""

import math
from collections.abc import Mapping
from typing import Any

import dynamics
from dynamics.templates.paper.config import get_config

__all__ = ["CASES", "TABLES"]

FLIPPED = 0.25
ENTROPY = -FLIPPED * math.log(FLIPPED) - (1 - FLIPPED) * math.log(1 - FLIPPED)
BOUND = 0.01


def _case(flipped: float) -> dynamics.Case:
    """A case: gradient flow from three random starts, with this share of the labels flipped."""

    def config():
        made = get_config()
        made.task.flipped = flipped
        del made.laws.gd
        return made

    return dynamics.Case(config, dynamics.seeds(3))


def _ends_at_entropy(data: Mapping[str, Any], case: str) -> dynamics.Finding:
    loss = data[case].loss.isel(t=-1)
    error = float(abs(loss / ENTROPY - 1).max())
    return dynamics.Finding(error < BOUND, f"loss {float(loss.min()):.4f} to {float(loss.max()):.4f}")


CASES = {"a quarter flipped": _case(FLIPPED), "none flipped": _case(0.0)}

CLAIM = dynamics.Claim(
    source="derived in tasks.py",
    statement="The loss falls to the entropy of the flipped share, p = 1/4",
    bound=f"within {BOUND:.0%} of {ENTROPY:.4f} at t = 30, for every seed",
    measure=_ends_at_entropy,
    controls=("none flipped",),
)

TABLES = {"claims": ("Noisy labels", [("a quarter flipped", CLAIM)])}
