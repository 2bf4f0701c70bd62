"""The signs that Theorem 3.2 of arXiv:2410.09605 states for the targets μ1, μ2 and the common word μ3."""

from typing import Any

import xarray as xr

TYPES = ("I1", "I2", "I3", "I4")
SIGNALS = ("μ1", "μ2", "μ3")
Signs = dict[tuple[str, str], int]  # {(key, query): +1 for what increases, −1 for what decreases}


def score_signs(first: str, second: str, common: str) -> Signs:
    """The scores of two words for each other increase; their scores for a third word decrease."""
    return {(second, first): 1, (first, second): 1, (common, first): -1, (common, second): -1}


SCORES = score_signs(*SIGNALS)
VALUES: Signs = {("μ1", "μ2"): 1, ("μ1", "μ3"): -1, ("μ2", "μ3"): -1}  # of νᵀ W_Vᵀ W_V μ


def signed(values: Any, signs: Signs) -> Any:
    """The entries of a DataArray [..., key, query] that have a sign, times their signs [pair, ...]."""
    return xr.concat(
        [sign * values.sel(key=key, query=query, drop=True) for (key, query), sign in signs.items()], "pair"
    )
