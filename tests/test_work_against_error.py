"""The work-against-error figures of experiments/speed say what their records hold."""

import math

import numpy as np
import pytest
from conftest import ROOT

from dynamics.config import plain
from dynamics.files import load_config
from dynamics.runs.record import load_run
from dynamics.runs.recorder import Recorder
from dynamics.runs.storage import write_json
from experiments.speed.solvers import Point, draw, points, title, work_at

ERRORS = {"1e-3": 1e-2, "1e-6": 1e-6}
WORK = {
    "tsit5": 10,
    "rkc2": 2,
    "auto": 1,
}  # seconds and thousands of evaluations at rtol 1e-3; 16 times as many at 1e-6


def record_of(folder):
    """A record with known errors and known work: a loss that is constant, times 1 + error at the middle time."""
    config = load_config(ROOT / "configs/speed/solvers.py", "smoke")
    recorder = Recorder.new(
        folder, "run", plain(config), {"config": "c", "commit": "none", "dtype": "float64", "device": "cpu"}
    )
    laws = {}
    for law, settings in config.laws.items():
        rtol = law.split("_")[1] if "_" in law else ""
        loss = np.full(3, 0.5) * (1 + np.array([0.0, ERRORS.get(rtol, 0.0), 0.0]))
        work = WORK.get(settings.solver, 1) * (16 if rtol == "1e-6" else 1)
        recorder.group(law, {"loss": (("t",), loss)}, {"t": [0.0, 1.0, 2.0]}, {})
        laws[law] = {"state": "done", "evaluations": 1000 * work, "solve_s": float(work)}
    recorder.close()
    recorder.status(state="done", reason="", laws=laws, seconds={})
    return load_run(recorder.path)


def test_the_title_and_the_table_are_those_of_the_record(tmp_path):
    record = record_of(tmp_path)
    write_json(record.path / "peers.json", {"scipy BDF": [{"error": 1e-3, "evaluations": 9.0, "seconds": 9.0}]})
    solves = points(record)
    assert {solver for _, solver in solves} == set(WORK)
    # Half of the way, in logarithms, from an error of 1e-2 to one of 1e-6: four times the work.
    assert work_at(1e-4, solves["flow", "auto"], "seconds") == pytest.approx(4)
    assert "takes 0.1 of the seconds of tsit5 and 0.1 of its evaluations" in title(solves)
    png, pdf, table = draw(record, tmp_path / "figures")
    assert png.is_file() and pdf.is_file()
    assert (
        "| weights | 0.0001 | 40000 / 40 s | – | 8000 / 8 s | 4000 / 4 s | 10 / 10 | 0.5 / 0.5 |" in table.read_text()
    )
    assert "| weights | rkc2 | 1e-06 | 32000 | 32 | 1.0e-06 | 0.0e+00 |" in table.read_text()


def test_the_title_follows_the_seconds(tmp_path):
    record = record_of(tmp_path)
    status = record.status
    for law, summary in status["laws"].items():
        summary["solve_s"] *= 2 if "auto" in law else 1
    write_json(record.path / "status.json", status)
    assert "takes 0.2 of the seconds of tsit5 and 0.1 of its evaluations" in title(points(record))


def test_work_where_stability_decides_the_steps():
    """All tolerances have smaller errors than asked for: the least work of them."""
    solves = [Point(error, work, work, 0.0, rtol) for error, work, rtol in ((1e-5, 70, 1e-4), (1e-7, 80, 1e-6))]
    assert work_at(1e-4, solves, "seconds") == 70
    assert work_at(1e-6, solves, "seconds") == pytest.approx(math.sqrt(70 * 80))
    assert math.isnan(work_at(1e-8, solves, "seconds"))
