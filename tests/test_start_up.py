"""What keeps a command short, counted in a process of its own."""

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

def counted():
    return len(programs), gc.get_threshold()[0], gc.get_freeze_count(), [*sys.modules]

jax.monitoring.register_event_duration_secs_listener(listen)
atexit.register(lambda: print(json.dumps(counted())))  # called after all that the command leaves for the end
sys.exit(dynamics.cli.main())
"""


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Of a smoke run: its programs, the new objects between two collections of garbage, those not looked at at the end,
    and the names of its modules."""
    flags = [f"--config={ROOT}/configs/cooccurrence/figure1.py:smoke", f"--workdir={tmp_path_factory.mktemp('runs')}"]
    command = [sys.executable, "-c", RUN, "run", *flags, "--config.wandb.mode=offline", "--no-report"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_command_looks_for_garbage_rarely(counted):
    _, between, unseen, _ = counted
    assert between == 100_000 and unseen > 0


def test_a_run_compiles_few_programs(counted):
    """Laws and starts have programs, but what moves a start to where it is integrated has none."""
    programs, *_ = counted
    assert programs <= MOST_PROGRAMS


def test_an_offline_mirror_prepares_no_reports(counted):
    """Not even those that wandb sends about itself."""
    *_, modules = counted
    assert "wandb" in modules and not {"opentelemetry.sdk", "requests"} & {*modules}
