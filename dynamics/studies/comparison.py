"""Comparisons of laws from common starts: a sweep over steps, seeds and draws, and the distances in its record.

Every law is integrated from every seed (of data and start), at every step η (the time between updates; a law without
steps once), and, if it is random, for every draw of its noise. The distance from a reference in a probe p is

    |p − p_ref| (t) / max_{s ≤ t} |p_ref| (s),    with Euclidean norms; for a random law p is the mean over draws.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_collections
import numpy as np

from dynamics.config import build, require
from dynamics.notebook import Plots, table
from dynamics.runs.experiment import Experiment
from dynamics.runs.settings import common_times
from dynamics.sweeps.overrides import grid, seeds
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.sweep import Sweep
from dynamics.trajectory import NOTES, Times

AXES = ("seed", "step", "draw")


@dataclass(frozen=True)
class Settings:
    """The group `compare` of a config.

    Attributes:
        pairs: the (law, reference) to compare; if not given, every law with the one called flow.
        steps: the values of η; if not given, every law has its own.
        seeds: the number of seeds, starting with that of the config.
        draws: the number of draws of a random law's noise from every start.
        tolerance: a law whose distance is larger has left its reference.
        claims: the module with the claims on this comparison, or empty.
    """

    pairs: tuple[tuple[str, ...], ...]
    steps: tuple[float, ...]
    seeds: int
    draws: int
    tolerance: float
    claims: str

    def __post_init__(self):
        for pair in self.pairs:
            require(len(pair) == 2, "pairs", pair, "must be (law, reference)")
        different = len(set(self.steps)) == len(self.steps) and all(step > 0 for step in self.steps)
        require(different, "steps", self.steps, "must be positive and different")
        require(self.seeds >= 1, "seeds", self.seeds, "must be at least 1")
        require(self.draws >= 1, "draws", self.draws, "must be at least 1")
        require(self.tolerance > 0, "tolerance", self.tolerance, "must be positive")


def sweep_of(name: str, config: ml_collections.ConfigDict) -> Sweep:
    """The sweep over steps, seeds and draws that the group `compare` of a config asks for.

    Raises:
        ConfigError: with the key, its value and what is allowed.
    """
    settings = build(Settings, config.compare.to_dict(), "compare.")
    experiment = Experiment.from_config(config.to_dict())
    laws = experiment.laws
    random = [law for law in laws if experiment.is_random(law)]
    allowed = f"must be at least 2, since laws.{random[0]} is random: one draw has no variance" if random else ""
    require(settings.draws >= 2 or not random, "compare.draws", settings.draws, allowed)
    allowed = f"must be (law, reference), ..., when none of the laws, {', '.join(laws)}, is called flow"
    require(bool(settings.pairs) or "flow" in laws, "compare.pairs", settings.pairs, allowed)
    for law in (law for pair in settings.pairs for law in pair):
        require(law in laws, "compare.pairs", law, f"must be among the laws, {', '.join(laws)}")
    config = config.copy_and_resolve_references()
    factors: dict[str, Any] = {}
    if settings.steps:
        factors["step"] = settings.steps
        config.times.multiple_of = max(settings.steps)
        times = build(Times, config.times.to_dict(), "times.")
        common_times(times, [("compare.steps", step, step) for step in settings.steps])
    if random:
        factors["draw"] = range(settings.draws)
    return Sweep.of(name, config, grid(seeds(settings.seeds, config.seed), factors))


def pairs_of(record: SweepRecord) -> list[tuple[str, str]]:
    """The pairs (law, reference) of a comparison."""
    pairs = [(law, reference) for law, reference in record.config.compare.pairs]
    return pairs or [(law, "flow") for law in record.laws if law != "flow"]


def distances(record: SweepRecord, law: str, reference: str) -> Any:
    """The distances of a law from a reference, an xarray Dataset over seed, step and t.

    For every probe p that both have with the same entries, `p` is the distance. A random law also has `p_error`, the
    standard error of the mean in the unit of the distance, and `p_variance`, the variance summed over the entries of p,
    in that unit squared. Large probes have the dimension `checkpoint` instead of t.
    """
    import xarray

    data, exact = record[law].load(), record[reference].load()
    arrays: dict[str, Any] = {}
    for name in (str(name) for name in data.data_vars if name in exact and name not in NOTES):
        over = next((dim for dim in ("t", "checkpoint") if dim in data[name].dims and dim in exact[name].dims), None)
        if over is None:
            continue
        values, centre = data[name], exact[name]
        entries = [dim for dim in values.dims if dim not in (*AXES, over)]
        if [values.sizes[dim] for dim in entries] != [centre.sizes.get(dim) for dim in entries]:
            continue  # such as the parameters of a model in weights and of one in Gram variables
        with xarray.set_options(arithmetic_join="exact"), np.errstate(divide="ignore", invalid="ignore"):
            arrays |= _distances(name, values, centre, entries, over)
    return xarray.Dataset(arrays).drop_vars([key for key in ("status", "id") if key in data], errors="ignore")


def _distances(name: str, values: Any, reference: Any, entries: list[Any], over: str) -> dict[str, Any]:
    """The distance in one probe and, for a random law, its error and variance."""
    import xarray

    mean, centre = _mean(values), _mean(reference)
    size = np.sqrt((centre**2).sum(entries, skipna=False))
    size = xarray.apply_ufunc(
        lambda norm: np.maximum.accumulate(norm, axis=-1), size, input_core_dims=[[over]], output_core_dims=[[over]]
    )
    order = [dim for dim in (*AXES, over) if dim in mean.dims or dim in centre.dims]
    arrays = {name: np.sqrt(((mean - centre) ** 2).sum(entries, skipna=False)) / size}
    if "draw" in values.dims:
        variance = _variance(values, entries) / size**2
        squared = variance / values.sizes["draw"]
        if "draw" in reference.dims:  # the reference may be random as well
            squared = squared + _variance(reference, entries) / size**2 / reference.sizes["draw"]
        arrays |= {f"{name}_variance": variance, f"{name}_error": np.sqrt(squared)}
    return {key: array.transpose(*(dim for dim in order if dim in array.dims)) for key, array in arrays.items()}


def _mean(values: Any) -> Any:
    """The mean over draws."""
    return values.mean("draw", skipna=False) if "draw" in values.dims else values


def _variance(values: Any, entries: list[Any]) -> Any:
    """The variance over draws, summed over the entries."""
    return values.var("draw", ddof=1, skipna=False).sum(entries, skipna=False)


class Compared(Mapping[str, Any]):
    """The data for claims about a comparison: {law: its Dataset, "LAW to REFERENCE": distances}, computed when read."""

    def __init__(self, record: SweepRecord):
        self._record, self._read = record, dict[str, Any]()
        self._pairs = {f"{law} to {reference}": (law, reference) for law, reference in pairs_of(record)}

    def _repr_html_(self) -> str:
        """The table of distances and orders, for notebooks."""
        from dynamics.studies.tables import tables  # here, since it is made of distances

        first = tables(self._record)[0]
        return table(first.title, first.columns, first.rows)

    @property
    def plot(self) -> Plots:
        """Plots of the distances from the references, such as `compared.plot.loss()`; see dynamics.notebook.Plots."""
        return Plots({pair: functools.partial(self.__getitem__, pair) for pair in self._pairs}, AXES)

    def __getitem__(self, case: str) -> Any:
        if case not in self._read:
            pair = self._pairs.get(case)
            self._read[case] = distances(self._record, *pair) if pair else self._record[case].load()
        return self._read[case]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._record.laws, *self._pairs])

    def __len__(self) -> int:
        return len(self._record.laws) + len(self._pairs)
