"""Processes that are killed at any moment lose nothing: the short form of `make reliability`."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_kills_and_three_signals():
    command = [sys.executable, "-W", "ignore", "-m", "experiments.reliability.kills", "--kills=50", "--terms=3"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    kills, lost, wrong = (
        int(re.search(f"{what} ([0-9]+)", done.stdout)[1])
        for what in ("kills tried", "records lost", "other bits included,")
    )
    assert kills >= 50 and (lost, wrong) == (0, 0)
    assert "seconds from SIGTERM to saved: worst of 3" in done.stdout
