"""Starts of paths that are integrated together: each path has its own, drawn once for all draws of its noise."""

import jax
import numpy as np
from conftest import small_config

import dynamics
from dynamics.runs.engine import Program, solve, trajectories
from dynamics.runs.path import Path


def path(**changes):
    config = small_config(**changes) | {"probes": ("loss",), "checkpoints": 1}
    config["laws"] = {"sgd": {"name": "sgd", "learning_rate": 0.1, "batch_size": 4}}
    config["times"] |= {"spacing": "linear", "stop": 1.0, "count": 2}
    return Path(dynamics.Experiment.from_config(config), "sgd")


def test_draws_of_several_starts_are_the_paths_by_themselves():
    paths = [path(seed=seed, draw=draw) for draw in (0, 1) for seed in (0, 1, 2)]
    together = trajectories(Program(paths[0], size=8), paths)
    ends = []
    for i, one in enumerate(paths):
        alone = solve(one.experiment, one.law)
        same = together[i]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), same.params, alone.params)
        ends.append(float(alone.probes["loss"][-1]))
    assert len(set(ends)) == len(paths)


def test_starts_that_are_drawn_in_different_ways_are_not_drawn_together():
    names = ("kaiming_normal", "lecun_normal")
    normal, other = (path(init={"name": name, "std": None, "std_of": {}, "draw": "weights"}) for name in names)
    assert normal.form != other.form
    assert normal.form[0] == other.form[0]  # they share the program that integrates
