"""Figures of the sweeps over the penalty: best loss on fresh samples, final spectrum and attention, against κ or τ."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dynamics.figures import sweep as sweep_plots
from dynamics.figures.style import COLOURS, figure, provenance, save, styled
from dynamics.sweeps.results import SweepRecord

TASKS = {"markov": "chain of order 1", "bag": "bag of words"}


@styled
def draw(record: SweepRecord, folder: pathlib.Path) -> list[pathlib.Path]:
    """The page of a sweep over κ or τ; the general page for other sweeps."""
    along = [dim for dim in ("kappa", "tau") if dim in record.dims.values()]
    if not along:
        return sweep_plots.draw(record, folder)
    (law,) = record.laws
    return save(_page(record[law].load(), along[0]), folder, record.sweep.name, provenance(record))


def _page(runs: Any, along: str) -> Figure:
    others = [dim for dim in runs.status.dims if dim not in (along, "seed")]
    lines = [{}] if not others else [{others[0]: label} for label in runs[others[0]].values]
    text = others == ["layers"]
    last = runs.isel(t=-1)
    best = runs.population_loss.sel(estimate="mean").min("t")
    learnt = {"best loss on fresh sequences": best}
    if text:
        learnt = {"best perplexity on held-out text": np.exp(best)}
    elif along == "kappa":
        learnt = {"best loss on fresh sequences:\ngain over κ = 0 (%)": 100 * (1 - best / best.sel(kappa=0.0))}
    panels = {
        **learnt,
        "entropy of attention (nats)": _mean(last.attention_entropy),
        "attention on the current word": _mean(last.attention_within.sel(window=1)),
        "eigenvalues: mean (dashed), √size": _mean(np.sqrt(last.qk_moments.sel(moment="size"))),
    }
    drawn = figure(12.0, 3.4, right=1.5, top=0.55, wspace=0.34)
    for axes, (title, values) in zip(drawn.subplots(1, len(panels)), panels.items(), strict=True):
        for line, colour in zip(lines, ("blue", "vermilion", "green"), strict=False):
            _line(axes, values.sel(line), along, colour, _name(line))
            if title.startswith("eigenvalues"):
                mean = _mean(last.qk_moments.sel(moment="mean", **line))
                axes.plot(mean[along], mean.mean("seed"), "--", color=COLOURS[colour], linewidth=1)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel({"kappa": "κ", "tau": "τ"}[along])
        if along == "kappa":
            axes.set_xscale("symlog", linthresh=float(runs.kappa[1]))
            axes.tick_params(axis="x", labelsize=7)
    if others:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return drawn


def _mean(values: Any) -> Any:
    """The mean of values over their layers and heads."""
    return values.mean([dim for dim in ("layer", "head") if dim in values.dims])


def _name(line: dict[str, Any]) -> str:
    label = next(iter(line.values()), "")
    return TASKS.get(str(label), f"{label} layer{'' if label == 1 else 's'}" if line else "")


def _line(axes: Any, values: Any, along: str, colour: str, name: str) -> None:
    axes.plot(values[along], values.mean("seed"), color=COLOURS[colour], label=name or None)
    for seed in values.seed.values:
        axes.plot(values[along], values.sel(seed=seed), ".", color=COLOURS[colour], markersize=3)
