"""A sink is a switch: how much a head reads is what it does not give to the sink, up to the geometry of the values.

A head reads o = Σ_j a_j v_j in a row, and s is the sink. Let m = Σ_{j≠s} a_j be the mass on the n other keys, which is
1 − a_s for softmax, and V the matrix of their values, n × d. Derived here, for a ≥ 0:

    (m/√n) σ_min(V) ≤ ‖o − a_s v_s‖ ≤ m max_{j≠s} ‖v_j‖,        σ_min(V) = min over unit vectors b of ‖Vᵀb‖.

Left: o − a_s v_s = Vᵀa with the a_j of the other keys, ‖Vᵀa‖ ≥ σ_min ‖a‖, and ‖a‖ ≥ m/√n by Cauchy and Schwarz.
Right: the triangle inequality. σ_min is 0 where the values are linearly dependent, as for n > d. So where they are
independent and v_s = 0, the head reads nothing if and only if a_s = 1. For v_s ≠ 0 a head that is switched off reads
v_s, and what is read as a whole has the bounds above with an error of at most a_s ‖v_s‖.

Where 0 is in the convex hull of the values, o = 0 is possible for every a_s: the lower bound needs independence.

No alignment, no sink (derived here). Let x_i = r_i be tokens whose sign is random, independent of all the rest, and s a
key whose vector does not change with it. For any W, and any key j ≠ i, s that row i sees, the gap r_iᵀW(x_s − x_j) of
the logits changes its sign with r_i. With l the logistic function, a_s ≤ l(gap), so that the two signs have together
a_s ≤ l(gap) + l(−gap) = 1: the mean of a_s over all rows that see another key is at most 1/2, whatever W is.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Numbers = Float[np.ndarray, "..."]


class Bounds(NamedTuple):
    """What a head reads beside its sink, and its bounds, for every row.

    Attributes:
        lower, upper: the two sides.
        read: ‖o − a_s v_s‖.
    """

    lower: Numbers
    upper: Numbers
    read: Numbers


def smallest_gain(values: Float[np.ndarray, "... n d"]) -> Numbers:
    """σ_min(V), the minimum of ‖Vᵀb‖ over unit vectors b: 0 for n > d."""
    n, d = values.shape[-2:]
    return smallest_listed(values) if n <= d else np.zeros(values.shape[:-2])


def smallest_listed(values: Float[np.ndarray, "... n d"]) -> Numbers:
    """The smallest of the min(n, d) singular values that a decomposition lists: for n > d no lower bound of ‖Vᵀb‖."""
    return np.linalg.svd(values, compute_uv=False)[..., -1]


def bounds(mass: Numbers, values: Float[np.ndarray, "... n d"], read: Numbers, gain: Numbers) -> Bounds:
    """The bounds on what a row reads beside its sink.

    Args:
        mass: m, the attention to the n keys other than the sink [...].
        values: their v.
        read: ‖o − a_s v_s‖ [...], as measured.
        gain: σ_min(V) [...].
    """
    lower = mass / np.sqrt(values.shape[-2]) * gain
    return Bounds(lower, mass * np.linalg.norm(values, axis=-1).max(axis=-1), read)


def outside(found: Bounds, scale: Numbers) -> Numbers:
    """By how much what is read is outside of its bounds, in units of `scale`; 0 inside."""
    return np.maximum(np.maximum(found.lower - found.read, found.read - found.upper), 0) / scale
