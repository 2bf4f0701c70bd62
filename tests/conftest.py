"""Shared fixtures, compiled once per pytest worker: a small experiment, its laws, and a run of the smoke config."""

import gc
import hashlib
import importlib
import pathlib
import pkgutil
import types

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

import dynamics

with install_import_hook("dynamics", "beartype.beartype"):
    for module in pkgutil.walk_packages(dynamics.__path__, "dynamics."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

from dynamics.laws.law import NO_LIMIT, Stretch
from dynamics.laws.runge_kutta import Controller, Turn
from dynamics.probes import as_recorded

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Tracing makes many objects that live long: the garbage collector need not look at them so often.
gc.freeze()
gc.set_threshold(100_000, 10, 10)

# A persistent cache shares compiled programs between pytest workers and runs.
dynamics.environment.use_compile_cache()

ALL = types.SimpleNamespace(trained=dynamics.Trained())  # in place of an objective: all parameters train
ROOT = pathlib.Path(__file__).parent.parent
# The files whose tests take longest: begun last, they would keep one worker busy while the other has nothing to do.
LONGEST = ("test_kills", "test_configs", "test_docs", "test_paper", "test_asking", "test_processes", "test_work")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def small_config(**changes):
    """12 samples of 4 words, m = 8, m1 = 6, a normal start that is large enough to move."""
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}
    config.init = {"name": "normal", "std": 0.3, "std_of": {"W": 0.3}}
    config.laws = {"flow": {"name": "flow", "rtol": 1e-9, "atol": 1e-11}, "gd": {"name": "gd", "learning_rate": 0.05}}
    config.times.update(start=0.05, stop=10.0, count=12)
    config.update(words=6, checkpoints=3, probes=("loss", "margin", "scores", "drift"))
    config.wandb.mode = "disabled"
    config.update_from_flattened_dict(changes)
    return config.to_dict()


def whole(method, y0, t):
    """An integration from y0 at time t to the last time, for dynamics.laws.runge_kutta.integrate."""
    state = Controller.first(method, y0, t)
    none = jax.numpy.asarray(0)
    return Stretch(Turn.first(method), state, state.t, none, jax.numpy.asarray(NO_LIMIT), jax.numpy.asarray(False))


@pytest.fixture(scope="session")
def small():
    return dynamics.Experiment.from_config(small_config())


@pytest.fixture(scope="session")
def follow():
    """follow(law, times, params, objective, probes): one trajectory, compiled once per kind of law and shape."""

    @jax.jit
    def followed(law, params, objective, times, key):
        return law(objective, params, times, lambda p: {"loss": objective.loss(p)}, key)

    def run(law, experiment, times, seed=0):
        params, objective = experiment.start
        return followed(law, params, objective, jax.numpy.asarray(times), jax.random.key(seed))

    return run


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A finished run of figure1:smoke through the command line, with figures and the offline mirror.

    Tests may read it in any order, so none may change it.
    """
    workdir = tmp_path_factory.mktemp("smoke")
    config = f"--config={ROOT}/configs/cooccurrence/figure1.py:smoke"
    assert dynamics.cli.main(["dynamics", "run", config, f"--workdir={workdir}", "--name=smoke"]) == 0
    made = contents(workdir / "smoke")
    yield dynamics.load(workdir / "smoke")
    now = contents(workdir / "smoke")
    assert {name for name in made | now if made.get(name) != now.get(name)} == set(), "changed by a test"


def contents(folder):
    """{path: digest} of the files below a folder, without the logs that wandb's process goes on writing."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def recorded(values):
    """What is recorded at one time of what probes gave."""
    rows = as_recorded({name: np.asarray(value)[None] for name, value in values.items()})
    return {name: row[0] for name, row in rows.items()}
