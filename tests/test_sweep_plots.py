"""Figures of sweeps: what a band spans, which cells are marked, what is written below, and the same bytes again."""

import pathlib

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize

import dynamics
from dynamics.figures import sweep as sweep_plots
from dynamics.figures.style import bands, figure, heatmap, is_geometric, logarithmic, median, places, provenance
from dynamics.sweeps.overrides import grid, seeds
from dynamics.sweeps.results import SweepRecord
from dynamics.sweeps.sweep import Sweep

T = np.array([0.0, 0.1, 1.0, 10.0])


class Given(SweepRecord):
    """A sweep whose results are given: loss = value · (1 + t), classification time = value, nan where diverged."""

    def __init__(self, overrides, value, diverged):
        super().__init__(pathlib.Path("nowhere"))
        config = dynamics.base()
        config.task = {"name": "cooccurrence", "samples": 12, "length": 4, "vocabulary": 9, "words": "uniform"}
        config.model = {"name": "one_layer", "width": 8, "neurons": 6, "heads": 1}
        config.laws = {"gd": {"name": "gd", "learning_rate": 0.05}}
        self.__dict__["sweep"] = Sweep.of("given", config, overrides)
        self.__dict__["provenance"] = {"config": "0" * 12, "commit": "c0ffee", "dtype": "float64", "device": "a device"}
        dims = [self.dims.get(key, key) for key in self.sweep.axes.dims]
        shape = tuple(self.sweep.axes.dims.values())
        of_member = {name: np.empty(shape, object) for name in ("status", "id")}
        arrays = {"classification_time": np.empty(shape), "loss": np.empty((*shape, len(T)))}
        for member, place in zip(self.sweep.members, self.sweep.axes.places, strict=True):
            bad = diverged(member.overrides)
            of_member["status"][place], of_member["id"][place] = "diverged" if bad else "done", member.id
            arrays["classification_time"][place] = np.nan if bad else value(member.overrides)
            arrays["loss"][place] = arrays["classification_time"][place] * (1 + T)
        labels = {
            self.dims[key]: (self.dims.get(dim, dim), values) if dim else values[0]
            for key, (dim, values) in self.sweep.axes.labels.items()
        }
        variables = {name: (dims, values) for name, values in of_member.items()}
        variables |= {
            "classification_time": (dims, arrays["classification_time"]),
            "loss": ([*dims, "t"], arrays["loss"]),
        }
        self.data = xr.Dataset(variables | labels, {"t": T})

    def __getitem__(self, law):
        return self.data


@pytest.fixture
def plane():
    """Widths times lengths times seeds; the widest and longest members diverge for one seed of three."""
    return Given(
        grid({"model.width": (8, 16, 32), "task.length": (4, 5)}, seeds(3)),
        lambda overrides: overrides["model.width"] * 10.0 ** overrides["seed"],
        lambda overrides: (overrides["model.width"], overrides["task.length"], overrides["seed"]) == (32, 5, 0),
    )


def test_places():
    assert is_geometric([8, 16, 32]) and not is_geometric([8, 16, 64]) and not is_geometric(["a", "b", "c"])
    doubled = places([8, 16, 32])
    np.testing.assert_allclose(doubled.edges, 8 * 2.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))
    assert doubled.logarithmic and doubled.names == ["8", "16", "32"]
    assert doubled.at([4, 12.0]).tolist() == [4, 12]
    np.testing.assert_array_equal(places([4, 5, 8]).at([3, 4, 6.5, 8, 9]), [np.nan, 0, 1.5, 2, np.nan])
    np.testing.assert_array_equal(places([8, 5, 4]).at([4, 6.5, 9]), [2, 0.5, np.nan])
    assert np.isnan(places([4, 8, 5]).at([4, 5])).all() and places([5]).at(5) == 0
    side_by_side = places(["a", "b"])
    assert side_by_side.centres.tolist() == [0, 1] and side_by_side.names == ["a", "b"]
    assert places([2**20, 0.008324, 3.0]).names == ["2²⁰", "0.00832", "3"]


def test_a_median_takes_what_is_missing_for_large():
    values = xr.DataArray([[1.0, 2.0, np.nan], [1.0, np.nan, np.nan]], dims=("x", "seed"))
    np.testing.assert_array_equal(median(values, "seed"), [2.0, np.nan])


def test_bands_span_all_seeds(plane):
    axes = figure(4.0, 3.0).subplots()
    bands(axes, plane.data.classification_time.sel(length=4), "width", "seed")
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_array_equal(line.get_xydata(), [[8, 80], [16, 160], [32, 320]])
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert {(8, 8), (8, 800), (32, 32), (32, 3200)} <= corners
    assert axes.get_xscale() == "log"


def test_cells_that_are_missing_and_cells_that_went_wrong(plane):
    axes = figure(4.0, 3.0).subplots()
    bad = sweep_plots.went_wrong(plane.data).any("seed")
    values = plane.data.classification_time.isel(seed=0)
    heatmap(axes, values, "width", "length", marked=bad)
    (cells,) = axes.collections
    shown = np.ma.filled(cells.get_array(), np.nan).reshape(2, 3)
    np.testing.assert_array_equal(shown, values.transpose("length", "width"))
    assert np.isnan(shown[1, 2]) and np.isfinite(shown).sum() == 5
    for crosses in axes.lines:
        np.testing.assert_array_equal(crosses.get_xydata(), [[32, 1]])  # length 5 is the second label of two
    assert len(axes.lines) == 2 and axes.get_xscale() == "log" and axes.get_yscale() == "linear"
    assert type(cells.norm) is Normalize
    axes = figure(4.0, 3.0).subplots()
    heatmap(axes, values**5, "width", "length")
    assert type(axes.collections[0].norm) is LogNorm and not axes.lines


def test_provenance_names_members_and_no_swept_value(plane):
    assert provenance(plane) == (
        "config 000000000000 · 18 members over width, length, seed · commit c0ffee · float64 · "
        "gd (gd learning_rate 0.05) · a device"
    )
    rates = Given(grid({"laws.gd.learning_rate": (0.1, 0.2)}), lambda overrides: 1.0, lambda overrides: False)
    assert "gd (gd) · a device" in provenance(rates)


SWEEPS = {
    "one axis": (grid({"model.width": (8, 16, 32)}, seeds(2)), "last loss against width"),
    "two axes": (
        grid({"model.width": (8, 16, 32), "task.length": (4, 5)}, seeds(2)),
        "classification time, median over seed",
    ),
    "three axes": (grid({"model.width": (8, 16), "task.length": (4, 5), "model.neurons": (2, 3)}), "over neurons"),
    "texts": (
        grid({"task.words": ("uniform", "distinct"), "task.vocabulary": (40,)}, seeds(2)),
        "classification time against words",
    ),
    "seeds alone": (seeds(3), "classification time against seed"),
    "one member": (seeds(1), "loss over t"),
    "no grid": (
        [
            {"model.width": 8 + i, "task.words": ("uniform", "distinct")[i % 2], "task.vocabulary": 40 + i % 3}
            for i in range(7)
        ],
        "classification time against words",
    ),
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, laid out and not written."""
    pages = []

    def save(page, folder, name, line):
        page.draw_without_rendering()
        pages.append(page)
        return [folder / name]

    monkeypatch.setattr(sweep_plots, "save", save)
    return pages


@pytest.mark.parametrize(("overrides", "title"), SWEEPS.values(), ids=SWEEPS)
def test_any_sweep_is_drawn(overrides, title, drawn):
    record = Given(overrides, lambda sets: 1.0 + sets.get("seed", 0), lambda sets: sets.get("seed") == 1)
    assert sweep_plots.draw(record, pathlib.Path("here")) == [pathlib.Path("here/sweep_gd")]
    (page,) = drawn
    assert any(title in axes.get_title("left") for axes in page.axes)
    bad = sum(member.overrides.get("seed") == 1 for member in record.sweep.members)
    said = f", {bad} diverged or failed" if bad else ""
    assert page.get_suptitle().startswith(f"gd: {len(overrides)} members{said}")
    assert bad or "diverged" not in page.get_suptitle()


def test_losses_lie_where_they_were_seen(plane, drawn):
    """Wider members are seen later than was asked for."""
    plane.data["time"] = plane.data.width / 8.0 * plane.data.t + 0 * plane.data.classification_time.fillna(0)
    sweep_plots.draw(plane, pathlib.Path("here"))
    losses = next(axes for axes in drawn[0].axes if axes.get_title("left") == "loss over t")
    ends = {line.get_label(): line.get_xdata()[[0, -1]].tolist() for line in losses.lines}
    assert ends == {"width 8": [0.1, 10], "width 16": [0.2, 20], "width 32": [0.4, 40]}
    assert losses.get_xlim() == (0.1, 40)


def test_a_law_that_depends_on_no_swept_axis(drawn):
    record = Given(seeds(2), lambda overrides: 3.0, lambda overrides: False)
    record.data = record.data.isel(seed=0, drop=True)
    sweep_plots.draw(record, pathlib.Path("here"))
    (losses,) = drawn[0].axes
    assert losses.get_title("left") == "loss over t"
    np.testing.assert_array_equal(losses.lines[0].get_xydata(), np.stack([T, 3 * (1 + T)], axis=1)[1:])


def test_nothing_has_ended(plane, drawn):
    plane.data = plane.data.assign(
        classification_time=plane.data.classification_time * np.nan, loss=plane.data.loss * np.nan
    )
    assert sweep_plots.draw(plane, pathlib.Path("here"))
    plane.data = plane.data.drop_vars(["classification_time", "loss"])
    assert sweep_plots.draw(plane, pathlib.Path("here")) == []


def test_bytes_repeat(plane, tmp_path):
    first, second = (sweep_plots.draw(plane, tmp_path / name) for name in "ab")
    assert [path.name for path in first] == ["sweep_gd.png", "sweep_gd.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def labels_overlap(low, high, which, decorate):
    """Whether two labels of ticks overlap along an axis of a panel, as wide as those of sweeps; how many there are."""
    drawn = figure(3.8, 3.3)
    axes = drawn.subplots()
    axes.plot([low, high], [low, high])
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    decorate(axes, which)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    axis = axes.xaxis if which == "x" else axes.yaxis
    limits = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    ticks = [tick for minor in (False, True) for tick in (axis.get_minor_ticks() if minor else axis.get_major_ticks())]
    shown = [tick.label1 for tick in ticks if tick.label1.get_text() and limits[0] <= tick.get_loc() <= limits[1]]
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in shown]
    overlap = any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    return overlap, len(boxes)


RANGES = [(0.05, 4.0), (0.5, 30.0), (0.01, 0.9), (2.0, 200.0), (1e-3, 1e3), (1e-5, 1e-3), (1e-9, 1.0)]


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_labels_of_a_logarithmic_axis_do_not_overlap(low, high, which):
    overlap, count = labels_overlap(low, high, which, logarithmic)
    assert not overlap and 2 <= count <= 10


def test_labels_overlap_otherwise():
    overlap, _ = labels_overlap(0.2, 3.0, "x", lambda axes, _: axes.set_xscale("log"))
    assert overlap and not labels_overlap(0.2, 3.0, "x", logarithmic)[0]
