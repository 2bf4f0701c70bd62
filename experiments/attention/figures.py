"""The figure of configs/attention/sweep_parts.py: by how much each part misses the best prediction."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import dynamics
from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.runs.starts import EVALUATION

__all__ = ["draw"]

LEFT = -0.03  # the smallest loss above the best prediction that has a place on the axis


@styled
def draw(record: dynamics.SweepRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """The loss on the evaluation set minus that of the best prediction there, at the last time, for every member.

    Only a member that sees the word which it is to predict can be below the best prediction from the words before.
    """
    settings = record.config.task.to_dict()
    task = dynamics.Bag(**{key: value for key, value in settings.items() if key != "name"})
    best = float(np.mean(task.best(task.evaluation_set(jax.random.key(EVALUATION), task.evaluation))))
    labels = [
        ", ".join(f"{key.partition('.')[2]} {_part(value)}" for key, value in member.overrides.items())
        for member in record.sweep.members
    ]
    loss = record["adam"].population_loss.isel(t=-1).sel(estimate="mean").values.ravel() - best
    worst_first = np.argsort(-loss)
    drawn = figure(6.0, 0.22 * len(labels) + 1, left=2.2, top=0.2)
    axes = drawn.subplots()
    sees_it = loss[worst_first] < LEFT
    axes.plot(loss[worst_first], range(len(loss)), "o", markersize=5, color=COLOURS["blue"])
    for place in np.flatnonzero(sees_it).tolist():
        text = f"◂ {loss[worst_first[place]]:.2f}: it sees the next word"
        axes.text(LEFT, place, text, va="center", fontsize="small")
    axes.set_xlim(left=LEFT)
    axes.set_yticks(range(len(loss)), [labels[i] for i in worst_first])
    axes.axvline(0, color="0.7", linewidth=1)
    axes.set(xlabel="loss above the best prediction (nats per word)")
    return save(drawn, folder, "parts", provenance(record))


def _part(value: Any) -> str:
    """The name of a part, with its options if they are single values."""
    if not isinstance(value, Mapping):
        return str(value)
    options = [f"{key} = {option}" for key, option in value.items() if key != "name" and not isinstance(option, list)]
    return " ".join([value["name"], *options])
