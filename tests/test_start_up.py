"""What keeps the start of a command short, counted in a process of its own."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

MOST_PROGRAMS = 10  # as many as there were: three laws, the start and its keys, and five small ones

RUN = """
import atexit, gc, json, sys
import jax
import dynamics.cli

programs = []

def listen(event, duration_secs, **_):
    if event.endswith("backend_compile_duration"):  # also for one that is read from the compile cache
        programs.append(event)

jax.monitoring.register_event_duration_secs_listener(listen)
# Called after all that the command leaves for the end.
atexit.register(lambda: print(json.dumps([len(programs), gc.get_threshold()[0], gc.get_freeze_count()])))
sys.exit(dynamics.cli.main())
"""


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """The programs of a smoke run; the new objects between two collections of garbage, and those not looked at last."""
    flags = [f"--config={ROOT}/configs/cooccurrence/figure1.py:smoke", f"--workdir={tmp_path_factory.mktemp('runs')}"]
    flags += ["--config.wandb.mode=disabled", "--config.figures=", "--no-report"]
    command = [sys.executable, "-c", RUN, "run", *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_command_looks_for_garbage_rarely(counted):
    _, between, unseen = counted
    assert between == 100_000 and unseen > 0


def test_a_run_compiles_few_programs(counted):
    """Laws and starts have programs, but what moves a start to where it is integrated has none."""
    programs, _, _ = counted
    assert programs <= MOST_PROGRAMS
