"""The ledger: which process runs what, and what is left when one dies."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from dynamics.sweeps import ledger
from dynamics.sweeps.ledger import Ledger, Members, Worker

MEMBERS = [f"{i:012x}" for i in range(40)]


@pytest.fixture
def kept(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.create()
    return ledger


def states(kept, members=("m",)):
    return [kept.entries(members)[member].state for member in members]


def line(member, attempt=1, **more):
    return {"id": member, "attempt": attempt, "state": "done", **more}


def test_a_member_goes_through_its_states(kept):
    assert states(kept) == ["waiting"]
    with Worker(kept) as worker:
        assert worker.claim("m", 1)
        assert states(kept) == ["running"]
        worker.commit([line("m", seconds=1.5)])
    entry = kept.entries(["m"])["m"]
    assert (entry.state, entry.attempts, entry.line["seconds"], entry.line["host"]) == ("done", 1, 1.5, worker.host)


def test_one_of_many_claims_wins(kept):
    won = []

    def race():
        with Worker(kept) as worker:
            barrier.wait()
            won.extend((worker.name, member) for member in MEMBERS if worker.claim(member, 1))

    barrier = threading.Barrier(8)
    racers = [threading.Thread(target=race) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(member for _, member in won) == MEMBERS


CLAIMS_AND_WAITS = """
import pathlib, sys, time
from dynamics.sweeps.ledger import Ledger, Worker
with Worker(Ledger(pathlib.Path(sys.argv[1]))) as worker:
    print(worker.claim("m", 1), flush=True)
    time.sleep(60)
"""


def test_the_claim_of_a_killed_process_is_free_at_once(kept):
    other = subprocess.Popen([sys.executable, "-c", CLAIMS_AND_WAITS, kept.folder], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    with Worker(kept) as worker:
        assert states(kept) == ["running"] and not worker.claim("m", 1)
        other.kill()
        other.wait()
        assert kept.entries(["m"])["m"].reason == "its process is gone"
        assert states(kept) == ["interrupted"] and worker.claim("m", 2)
        assert states(kept) == ["running"]


def test_on_another_machine_a_worker_lives_while_it_beats(kept, monkeypatch):
    with Worker(kept) as worker:
        worker.claim("m", 1)
        path = kept.workers / worker.name
        path.write_text(json.dumps({"machine": "elsewhere", "pid": 1}))
        now = path.stat().st_mtime
        assert kept.entries(["m"], now + ledger.STALE_S - 1)["m"].state == "running"
        assert kept.entries(["m"], now + ledger.STALE_S + 1)["m"].state == "interrupted"
    monkeypatch.setattr(ledger, "BEAT_S", 0.05)
    with Worker(kept) as worker:
        path = kept.workers / worker.name
        os.utime(path, (0, 0))
        time.sleep(0.5)
        assert path.stat().st_mtime > time.time() - 60


def test_an_attempt_that_was_taken_over_is_not_ours(kept):
    with Worker(kept) as slow, Worker(kept) as other:
        slow.claim("m", 1)
        assert slow.owns("m", 1)
        other.claim("m", 2)
        assert not slow.owns("m", 1) and other.owns("m", 2)
        # It had committed before it looked: what is done stays done.
        slow.commit([line("m")])
        assert states(kept) == ["done"]


def test_a_line_that_was_cut_off_is_none(kept):
    with Worker(kept) as worker:
        for member in ("m", "k"):
            worker.claim(member, 1)
        worker.commit([line("m")])
        worker.commit([line("k")])
    path = next(kept.journal.iterdir())
    path.write_bytes(path.read_bytes()[:-5])
    assert states(kept, ("m", "k")) == ["done", "interrupted"]


LIMITED = """
import pathlib, resource, signal, sys
from dynamics.sweeps.ledger import Ledger, Worker, is_full
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Worker(Ledger(pathlib.Path(sys.argv[1]))) as worker:
    worker.commit([{"id": "m", "attempt": 1, "state": "done"}])
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
    try:
        worker.commit([{"id": "k", "attempt": 1, "state": "done", "reason": "x" * 1000}])
    except OSError as error:
        print(is_full(error))
"""


def test_a_full_disk_leaves_the_journal_whole(kept):
    process = subprocess.run([sys.executable, "-c", LIMITED, kept.folder], capture_output=True, text=True, check=True)
    assert process.stdout == "True\n"
    assert [one["id"] for one in kept.lines()] == ["m"]
    assert next(kept.journal.iterdir()).read_text().endswith("\n")


def test_ten_thousand_members_are_read(kept):
    members = [f"{i:012x}" for i in range(10_000)]
    with Worker(kept) as worker:
        for member in members:
            os.symlink(worker.name, kept.claims / f"{member}.1")
        worker.commit([line(member) for member in members[:9000]])
        entries = kept.entries(members)
    assert [sum(entry.state == state for entry in entries.values()) for state in ("done", "running")] == [9000, 1000]


def test_the_states_of_members_follow_from_those_of_their_paths(kept):
    """m needs a and b, n needs b alone, r is refused."""
    members = Members({"m": {"flow": "a", "gd": "b"}, "n": {"gd": "b"}, "r": {}}, {"r": "task.length = 2"})
    assert sorted(members.ids) == ["a", "b", "r"]

    def entries():
        return members.entries(kept.entries(members.ids))

    with Worker(kept) as worker:
        worker.claim("a", 1)
        assert [entry.state for entry in entries().values()] == ["running", "waiting", "waiting"]
        worker.commit([line("a", seconds=1.0, numbers={"loss": 0.5})])
        assert [entry.state for entry in entries().values()] == ["waiting", "waiting", "waiting"]
        for attempt, outcome in ((1, "interrupted"), (2, "diverged")):
            worker.claim("b", attempt)
            worker.commit([line("b", attempt, state=outcome, reason="at t = 1", seconds=2.0, numbers={"loss": 9.0})])
            assert [entry.state for entry in entries().values()] == [outcome, outcome, "waiting"]
        worker.claim("r", 1)
        worker.commit([line("r", state="failed", reason="task.length = 2")])
    ended = entries()
    assert [entry.state for entry in ended.values()] == ["diverged", "diverged", "failed"]
    assert [entry.attempts for entry in ended.values()] == [2, 2, 1]
    assert [entry.reason for entry in ended.values()] == ["gd: at t = 1", "gd: at t = 1", "task.length = 2"]
    assert ended["m"].line["laws"] == {"flow": {"loss": 0.5}, "gd": {"loss": 9.0}} and ended["m"].line["seconds"] == 3.0


def test_members_have_ended_when_all_their_paths_have():
    members = Members({"m": {"flow": "a", "gd": "b"}, "n": {"gd": "b"}}, {})
    before = set()
    assert members.ended([line("a")], before) == []
    assert members.ended([line("b")], before) == ["m", "n"]
    assert members.ended([line("b", 2)], before) == []


def test_status_needs_no_jax():
    code = "import sys, dynamics.sweeps.ledger, dynamics.sweeps.sweep, dynamics.cli.status; print('jax' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "False\n"
