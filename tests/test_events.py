"""The time after which all samples stay classified."""

import numpy as np
import pytest

from dynamics.analysis.events import classification_time

T = np.array([0.0, 1.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        ([-1, -1, 3, 5], 1.5),  # exact for a margin that is linear between saved times
        ([-1, 1, -1, 1], 3.5),
        ([1, 1, 1, 1], 0.0),
        ([-1, -1, 1, 0], np.nan),
        ([-1, 1, 1, np.nan], np.nan),
        ([1, 1, 1, -1], np.nan),
    ],
)
def test_classified_for_good(margin, expected):
    np.testing.assert_equal(classification_time(T, np.array(margin, float)), expected)


def test_no_saved_time():
    assert np.isnan(classification_time(np.empty(0), np.empty(0)))
