"""The table and the picture of the peers say what their record holds; the search for a tolerance finds it."""

import json

import numpy as np
import pytest

from experiments.speed.peers import comparisons, report
from experiments.speed.peers.side import read_problem, write_problem


class Solver:
    """A side whose relative error of the loss is a power of its tolerance, larger at the second of two times."""

    def __init__(self, factor=3.0, power=0.9):
        self.factor, self.power, self.asked = factor, power, []

    def ask(self, rtol):
        self.asked.append(rtol)
        error = self.factor * rtol**self.power
        return {"losses": [0.5 * (1 - error / 2), 0.25 * (1 + error)]}


@pytest.mark.parametrize("factor", [0.01, 3.0, 200.0])
def test_the_tolerance_makes_the_error_the_target(factor):
    side, exact = Solver(factor), [0.5, 0.25]
    rtol = comparisons.tolerance(side, exact, "solver")
    error = factor * rtol**0.9
    assert comparisons.TARGET / 1.25 <= error <= comparisons.TARGET
    assert rtol in side.asked and len(side.asked) <= comparisons.TRIES


def test_a_solver_that_cannot_reach_the_target_is_named():
    with pytest.raises(SystemExit, match="RK45: no tolerance"):
        comparisons.tolerance(Solver(1e-3, 0.0), [0.5, 0.25], "RK45")


def test_a_loss_that_is_not_finite_reaches_no_target():
    with pytest.raises(SystemExit, match="no tolerance"):
        comparisons.tolerance(Solver(float("nan")), [0.5, 0.25], "solver")


def answers(seconds, losses):
    return [{"seconds": one, "losses": losses, "peak_mb": 100.0 + i, "steps": 10} for i, one in enumerate(seconds)]


def test_ratios_are_those_of_each_round():
    """Medians of ratios, not ratios of medians: a round in which everything is slow counts like the others."""
    ours = answers([1.0, 10.0, 1.0], [2.0, 1.0])
    theirs = answers([3.0, 20.0, 5.0], [2.0, 1.01])
    found = comparisons.summary(theirs, ours, [])
    assert (found["ratio"], found["least_ratio"], found["largest_ratio"]) == (3.0, 2.0, 5.0)
    assert found["difference"] == pytest.approx(0.01)
    assert found["peak_mb"] == 102.0
    assert comparisons.summary(theirs, ours, [2.0, 1.0])["error"] == pytest.approx(0.01)


def record():
    ours, theirs = answers([1.0, 2.0], [1.0]), answers([4.0, 6.0], [1.0])
    sides = {"ours": comparisons.summary(ours, ours, []), "PyTorch eager": comparisons.summary(theirs, ours, [])}
    problem = {"what": "a problem", "threads": 2, "sides": sides, "left_out": {"PyTorch compiled": "no g++"}}
    return {"machine": "2 cores", "versions": {"torch": "0"}, "problems": {"one": problem}}


def test_the_table_says_what_the_record_holds():
    lines = report.table(record()).splitlines()
    assert lines[2] == "| a problem, 2 threads | ours | 1 | 1.5 | 10 steps of 150 ms | 0e+00 | 101 MB |"
    assert lines[3] == "| | PyTorch eager | 3.5 (3 to 4; 2) | 5 | 10 steps of 500 ms | 0e+00 | 101 MB |"
    assert lines[4] == "| | PyTorch compiled | not measured: no g++ | | | | |"


def test_the_picture_is_drawn(tmp_path):
    png, _ = report.draw(record(), tmp_path)
    assert png.is_file()


def test_the_page_has_the_table_of_the_record():
    page, lines = report.PAGE.read_text(), report.table(json.loads(comparisons.RECORD.read_text()))
    assert report.in_page(page, lines) == page
    assert lines in page


def test_a_problem_is_read_as_it_was_written(tmp_path):
    write_problem(tmp_path, {"law": {"name": "gd"}}, {"x": np.arange(3.0)})
    settings, arrays = read_problem(tmp_path)
    assert settings == {"law": {"name": "gd"}}
    np.testing.assert_array_equal(arrays["x"], np.arange(3.0))
