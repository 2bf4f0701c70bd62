"""A small experiment with everything that can be disturbed: three laws, certificates, checkpoints, and a figure."""

import pathlib

import ml_collections

import dynamics
from dynamics.figures.style import figure, provenance, save, styled

__all__ = ["draw", "get_config", "get_sweep"]


def get_config() -> ml_collections.ConfigDict:
    """A run of some hundred steps, or a comparison at two steps."""
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}
    config.init = {"name": "normal", "std": 0.3, "std_of": {"W": 0.3}}
    config.laws = {
        "flow": {"name": "flow", "rtol": 1e-6, "atol": 1e-9},
        "gd": {"name": "gd", "learning_rate": 0.05},
        "sgd": {"name": "sgd", "learning_rate": 0.05, "batch_size": 4},
    }
    config.times.update(start=0.05, stop=300.0, count=30)
    config.update(words=6, checkpoints=4, probes=("loss", "scores", "parameters"), certify=True)
    config.compare.update(pairs=(("gd", "flow"),), steps=(0.1, 0.05), seeds=2, draws=2)
    config.figures = "experiments.reliability.small"
    config.wandb.mode = "disabled"
    return config


def get_sweep() -> list[dict[str, int]]:
    """Four seeds."""
    return dynamics.seeds(4)


@styled
def draw(record: dynamics.Record | dynamics.SweepRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """The losses over t."""
    drawn = figure(4, 3)
    axes = drawn.subplots()
    for law in record.laws:
        axes.plot(record[law].t, record[law].loss.values.reshape(-1, record[law].t.size).T, label=law)
    axes.set(xlabel="t", ylabel="loss", xscale="symlog", yscale="log")
    axes.legend()
    return save(drawn, folder, "losses", provenance(record))
