"""The work of programs against committed counts: what makes them slower, or faster, shows without a clock.

After a change that is meant, write the new counts, with the XLA_FLAGS of `make test`:

    python -m experiments.speed.counted tests/records/counted_work.json
"""

import json

import pytest
from conftest import ROOT

from experiments.speed import counted

ALLOWED = 0.05  # relative difference: processors with other vector units get other programs


@pytest.mark.slow
def test_counts_are_those_committed():
    committed = json.loads((ROOT / "tests/records/counted_work.json").read_text())
    now = counted.counted()
    assert now.keys() == committed.keys()
    assert differences(now, committed) == []


def test_more_work_and_less_are_seen():
    committed = {"GD": {"operations": 100.0, "bytes": 50.0}, "dynamics run": {"programs": 3}}
    assert differences(committed, committed) == []
    more = {**committed, "GD": {"operations": 106.0, "bytes": 50.0}}
    fewer = {**committed, "dynamics run": {"programs": 2}}
    assert differences(more, committed) == ["GD: 106 operations, 100 were committed"]
    assert differences(fewer, committed) == ["dynamics run: 2 programs, 3 were committed"]


def differences(now, committed):
    """Each count that is not the committed one, up to ALLOWED."""
    return [
        f"{what}: {count:.6g} {unit}, {committed[what][unit]:.6g} were committed"
        for what, counts in now.items()
        for unit, count in counts.items()
        if abs(count - committed[what][unit]) > ALLOWED * committed[what][unit]
    ]
