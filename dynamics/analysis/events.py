"""Times at which something happens for good."""

import numpy as np
from jaxtyping import Array, Float

Values = Array | np.ndarray


def classification_time(t: Float[Values, " T"], margin: Float[Values, " T"]) -> float:
    """The time after which all samples stay classified, min_i y_i F_i > 0; linear between saved times.

    Args:
        t: saved times.
        margin: min_i y_i F_i at these times.

    Returns:
        t[0] if all samples are classified at all times, nan if some sample is not at the last time.
    """
    t, margin = np.asarray(t), np.asarray(margin)
    wrong = np.flatnonzero(~(margin > 0))
    after = int(wrong[-1]) + 1 if wrong.size else 0
    if after == len(t):
        return float("nan")
    if after == 0:
        return float(t[0])
    share = margin[after - 1] / (margin[after - 1] - margin[after])
    return float(t[after - 1] + share * (t[after] - t[after - 1]))
