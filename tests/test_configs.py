"""Every config and every variant builds; `make smoke` runs every smoke variant end to end."""

import importlib.util

import numpy as np
import pytest
from conftest import ROOT
from dynamics.sweeps.groups import groups

import dynamics
import dynamics.cli
from dynamics.studies.comparison import Comparison
from dynamics.sweeps.sweep import Sweep

FILES = sorted((ROOT / "configs").glob("*/*.py"))


def module(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def command(file):
    kind = file.stem.partition("_")[0]
    return kind if kind in ("compare", "sweep") else "run"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_builds(file):
    config = module(file)
    assert "smoke" in config.VARIANTS
    assert f"dynamics {command(file)} --config=configs/{file.parent.name}/{file.name}" in config.__doc__
    dynamics.Experiment.from_config(config.get_config().to_dict())
    for variant in config.VARIANTS:
        experiment = dynamics.Experiment.from_config(config.get_config(variant).to_dict())
        if command(file) == "compare":
            Comparison.from_config(config.get_config(variant).to_dict())
        if command(file) == "sweep":
            sweep = Sweep.of(file.stem, config.get_config(variant), config.get_sweep(variant))
            _, refused = groups(sweep)
            assert not refused
        if variant in getattr(config, "INITIALISATIONS", ()):
            assert experiment.initialisation.name == ("normal" if variant == "theory" else variant)
        if variant in dynamics.TASKS:
            assert type(experiment.task) is dynamics.TASKS[variant]
    with pytest.raises(dynamics.ConfigError, match="variant = 'nosuch': must be one of "):
        config.get_config("nosuch")


def test_the_paper_experiment():
    config = module(ROOT / "configs/cooccurrence/figure1.py").get_config()
    experiment = dynamics.Experiment.from_config(config.to_dict())
    task, model = experiment.task, experiment.model
    assert (task.samples, task.length, task.vocabulary, model.width, model.neurons) == (60, 5, 64, 128, 256)
    assert (
        experiment.laws["gd"].learning_rate == 0.01
        and np.isclose(experiment.times[-1] / 0.01, 30000)
        and len(experiment.times) == 201
    )


def test_theory_scales_follow_the_widths():
    config = module(ROOT / "configs/cooccurrence/theory.py").get_config()
    config.model.width, config.model.neurons = 1024, 16
    np.testing.assert_allclose([config.init.std, config.init.std_of.W], [0.3 / (5 * 1024) ** 0.5, 0.3 / 4])
    assert dynamics.Experiment.from_config(config.to_dict()).task.vocabulary == 163
