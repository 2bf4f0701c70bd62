"""Sweeps in several processes: side by side, on several devices, with jax.distributed."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from test_work import CONFIG, assert_all_done_once, command, equal, values

import dynamics
import dynamics.cli
from dynamics.sweeps.ledger import Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Eight members of a second or so, long enough to be hit; those next to one another differ in a law and in their times.
LONG = CONFIG.replace("stop=10.0", "stop=2000.0").replace(
    '{"init.std": (0.2, 0.3)}, seeds(3)', 'seeds(4), {"laws.gd.learning_rate": (0.05, 0.1)}'
)
PATHS = 16
MAIN = "import sys, dynamics.cli; sys.exit(dynamics.cli.main())"


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    (folder / "tiny.py").write_text(LONG)
    return folder / "tiny.py"


@pytest.fixture(scope="module")
def undisturbed(long, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    assert dynamics.cli.main(command(long, workdir)) == 0
    return dynamics.load(workdir / "tiny")


def start(arguments, **environment):
    return subprocess.Popen([sys.executable, "-c", MAIN, *arguments[1:]], env={**os.environ, **environment})


def test_two_launchers_share_the_members(long, undisturbed, tmp_path):
    both = [start(command(long, tmp_path)) for _ in range(2)]
    assert [one.wait(timeout=300) for one in both] == [0, 0]
    record = dynamics.load(tmp_path / "tiny")
    assert_all_done_once(record, PATHS)
    assert equal(values(record), values(undisturbed))
    assert len({line["worker"] for line in Ledger(record.path).lines()}) == 2


def test_a_launcher_goes_on_with_what_another_leaves(long, undisturbed, tmp_path):
    both = {one.pid: one for one in (start(command(long, tmp_path)) for _ in range(2))}

    def at_work():
        """Who runs members, while the other one is there too."""
        ledger = Ledger(tmp_path / "tiny")
        if not ledger.journal.is_dir() or len(list(ledger.workers.glob("[!.]*"))) < 2:
            return None
        ended = {f"{line['id']}.{line['attempt']}" for line in ledger.lines()}
        names = [os.readlink(claim) for claim in ledger.claims.iterdir() if claim.name not in ended]
        return next((pid for pid in both if any(f"-{pid}-" in name for name in names)), None)

    while (pid := at_work()) is None:
        assert any(one.poll() is None for one in both.values())
        time.sleep(0.02)
    both.pop(pid).kill()
    assert next(iter(both.values())).wait(timeout=300) == 0
    record = dynamics.load(tmp_path / "tiny")
    assert_all_done_once(record, PATHS)
    assert equal(values(record), values(undisturbed))
    assert max(entry.attempts for entry in record.entries.values()) == 2


def test_four_devices(long, undisturbed, tmp_path):
    assert start(command(long, tmp_path), JAX_NUM_CPU_DEVICES="4").wait(timeout=300) == 0
    record = dynamics.load(tmp_path / "tiny")
    assert "4 in all" in json.loads((record.path / "provenance.json").read_text())["device"]
    assert_all_done_once(record, PATHS)
    assert equal(values(record), values(undisturbed))


def test_two_processes_integrate_together(long, undisturbed, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    flags = (f"--coordinator={coordinator}", "--processes=2")
    both = [start(command(long, tmp_path, *flags, f"--process={i}"), JAX_NUM_CPU_DEVICES="2") for i in range(2)]
    assert [one.wait(timeout=300) for one in both] == [0, 0]
    record = dynamics.load(tmp_path / "tiny")
    assert "4 in all" in record.provenance["device"]
    assert_all_done_once(record, PATHS)
    assert equal(values(record), values(undisturbed))


FULL = """
import resource, signal, sys, dynamics.cli
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.dont_write_bytecode = True  # it would be cut off, and found so by whoever imports it next
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(dynamics.cli.main())
"""


def test_a_full_disk(long, undisturbed, tmp_path):
    arguments = command(long, tmp_path, "--config.times.count=60")[1:]
    full = subprocess.run([sys.executable, "-c", FULL, *arguments], capture_output=True, text=True, check=False)
    assert full.returncode == 2 and full.stderr.strip().splitlines()[-1].endswith("what had finished is kept")
    assert not [path for path in pathlib.Path(tmp_path).rglob("*") if "partial" in path.name]
    assert dynamics.cli.main(["dynamics", *arguments]) == 0
    assert_all_done_once(dynamics.load(tmp_path / "tiny"), PATHS)
    assert np.isfinite(dynamics.load(tmp_path / "tiny")["flow"].loss.values).all()
