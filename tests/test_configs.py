"""Every config and every variant builds, and every smoke variant runs end to end."""

import importlib.util

import numpy as np
import pytest
from conftest import ROOT

import dynamics
import dynamics.cli
from dynamics.studies.comparison import sweep_of
from dynamics.sweeps.paths import plan
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


def one_seed_of(config):
    """The comparison with its first seed only: the others differ in nothing else."""
    config.compare.seeds = 1
    return sweep_of("one", config)


def of_one_seed(overrides):
    """The members of a sweep that have the seed of the first."""
    return [member for member in overrides if member.get("seed") == overrides[0].get("seed")]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_builds(file):
    config = module(file)
    assert "smoke" in config.VARIANTS
    assert f"dynamics {command(file)} --config=configs/{file.parent.name}/{file.name}" in config.__doc__
    dynamics.Experiment.from_config(config.get_config().to_dict())
    for variant in config.VARIANTS:
        experiment = dynamics.Experiment.from_config(config.get_config(variant).to_dict())
        if command(file) == "compare":
            compared = one_seed_of(config.get_config(variant))
            assert compared.members
            assert variant != "smoke" or not plan({"": compared}).refused  # hundreds of members take long
        if command(file) == "sweep":
            sweep = Sweep.of(file.stem, config.get_config(variant), of_one_seed(config.get_sweep(variant)))
            assert not plan({"": sweep}).refused
        if variant in getattr(config, "INITIALISATIONS", ()):
            assert experiment.initialisation.name == ("normal" if variant == "theory" else variant)
        if variant in dynamics.TASKS:
            assert type(experiment.task) is dynamics.TASKS[variant]
    with pytest.raises(dynamics.ConfigError, match="variant = 'nosuch': must be one of "):
        config.get_config("nosuch")


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning:experiments")
def test_the_smoke_variant_runs(file, tmp_path):
    """To its end, and its figures are drawn without a warning."""
    flags = [f"--config={file}:smoke", f"--workdir={tmp_path}", "--no-report"]
    assert dynamics.cli.main(["dynamics", command(file), *flags]) == 0


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


RUNS = [file for file in FILES if file.parent.name == "cooccurrence" and command(file) == "run"]


@pytest.mark.parametrize("file", RUNS, ids=lambda f: f.stem)
def test_a_law_in_gram_variables_is_added_to_any_run(file):
    """Probes of weights are left out for it, and recorded of the laws that move weights."""
    config = module(file).get_config("smoke")
    before = dynamics.Experiment.from_config(config.to_dict())
    config.laws.reduced = {"name": "gram_flow"}
    experiment = dynamics.Experiment.from_config(config.to_dict())
    of_weights = {name for name in experiment.probes if "weights" in dynamics.PROBES[name].needs}
    assert set(experiment.probes_of("reduced")) == set(experiment.probes) - of_weights
    for law in before.laws:
        assert experiment.probes_of(law) == before.probes_of(law)


def test_the_added_law_is_integrated():
    config = module(ROOT / "configs/cooccurrence/figure1.py").get_config("smoke")
    config.laws.reduced = {"name": "gram_flow", "rtol": 1e-7, "atol": 1e-9}
    config.probes = (*config.probes, "weight_norm")
    config.times.update(stop=2.0, count=4)
    experiment = dynamics.Experiment.from_config(config.to_dict())
    probes = dynamics.solve(experiment, "reduced").probes
    assert "weight_norm" not in probes and set(probes) == set(experiment.probes) - {"weight_norm"}
    np.testing.assert_allclose(probes["loss"], dynamics.solve(experiment, "flow").probes["loss"], rtol=1e-5)
