"""The page about records: what it says is what they hold, texts are escaped, and its bytes repeat."""

import base64
import gzip
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import bokeh.plotting
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from conftest import ROOT, small_config

import dynamics
import dynamics.cli
from dynamics.notebook import table
from dynamics.plots import LEVELS, Range, coloured, levels, matrices
from dynamics.report.page import page
from dynamics.report.run import FRAME_BYTES, Runs
from dynamics.report.sweep import MOST_COLUMNS, map_of
from dynamics.runs.manifest import FORMAT
from dynamics.runs.verify import check_run

EVIL = "</script><script>alert('$$x$$')</script>"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(ROOT / "tests" / "records" / f"format-{FORMAT}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def own_run(folder):
    """A run with own probes: of no words, with dimensions and labels of their own, one of them hostile."""

    @dynamics.probe("row", "column", labels={"row": ("a", EVIL), "column": ("u", "v", "w")})
    def own_matrix(params, view):
        del view
        return params["W"][:2, :3]

    @dynamics.probe("row", labels={"row": ("a", EVIL)})
    def own_numbers(params, view):
        del view
        return jnp.sum(params["W"][:2] ** 2, axis=1)

    config = small_config(**{"laws.flow.rtol": 1e-6, "laws.flow.atol": 1e-8})
    config["probes"] = ["loss", "own_matrix", "own_numbers"]
    del config["laws"]["gd"]
    try:
        return dynamics.execute(config, folder, "<b>own")
    finally:
        for name in ("own_matrix", "own_numbers"):
            del dynamics.PROBES[name]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return own_run(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def text(smoke):
    return page([smoke])


def documents(text):
    """Bokeh's documents of a page: {caption: its figure}."""
    found = json.loads(re.search(r'<script type="application/json" id="documents">(.*?)</script>', text, re.S)[1])
    captions = re.findall(r'aria-label="([^"]*)"><div id="(panel-\d+)"', text)
    return {html.unescape(caption): found[int(place[6:])]["content"]["roots"][0] for caption, place in captions}


def decoded(array):
    """An array as Bokeh writes it."""
    content = base64.b64decode(array["array"]["data"])
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    return np.frombuffer(content, array["dtype"]).reshape(array["shape"])


def test_levels_are_even_and_symmetric_about_zero():
    values = np.array([-2.0, -1.0, 0.0, 1.0, 4.0])
    assert levels(values, Range.of([values])).tolist() == [64, 96, 128, 159, 255]  # ±4: 255 (x + 4) / 8, rounded
    positive = np.linspace(3.0, 8.0, 256)
    np.testing.assert_array_equal(levels(positive, Range.of([positive])), np.arange(256))
    assert levels(np.array([np.nan, np.inf, -np.inf]), Range(0.0, 1.0)).tolist() == [0, LEVELS, 0]
    assert Range.of([np.full(3, 7.0)]).of_colours.high > 7 and Range.of([np.array([np.nan])]) == (0, 1)


def test_colours_of_lines_differ():
    for count in (1, 7, 8, 60):
        styles = coloured([str(i) for i in range(count)])
        assert len(set(styles.values())) == count


def test_frames_are_the_record(smoke, text):
    """Every frame of the page is the recorded matrix at its time, to half a level of the colours."""
    figures = documents(text)
    for law in smoke.laws:
        scores = smoke[law].scores.load()
        (root,) = (figures[caption] for caption in figures if caption.startswith(f"scores of {law} "))
        tag = dict(root["attributes"]["tags"][0]["entries"])
        np.testing.assert_array_equal(decoded(tag["times"]), scores.t)
        frames = decoded(tag["frames"]).reshape(scores.shape)[:, ::-1]
        low, high = Range.of([smoke[name].scores.values for name in smoke.laws]).of_colours
        np.testing.assert_allclose(low + frames * (high - low) / LEVELS, scores, atol=(high - low) / LEVELS * 0.501)


def test_the_page_says_what_the_record_says(smoke, text):
    shown = html.unescape(text)
    assert (smoke.path / "report.html").read_text() == text  # the command wrote it
    assert f"{smoke.status['laws']['flow']['loss']:.4g}" in shown
    assert all(f"<span>{shlex.quote(word)}</span>" in shown for word in smoke.provenance["command"])
    assert re.search(r"Certificate of flow: drift \S+, allowed 6 rtol = 6.0e-07: kept", shown)
    figures = documents(text)
    for probe in ("loss", "margin"):
        (said,) = (caption for caption in figures if caption.startswith(f"{probe} over time"))
        for law in smoke.laws:
            assert f"{law}: {float(smoke[law][probe][0]):.4g} to {float(smoke[law][probe][-1]):.4g}" in said
    for probe in ("scores", "attention", "weight_norm", "drift"):
        assert sum(caption.startswith(f"{probe} of") for caption in figures) >= len(smoke.laws), probe
    assert check_run(smoke.path).damaged == []  # the manifest does not cover it


def test_the_same_record_gives_the_same_bytes(stored):
    records = [dynamics.load(stored / name) for name in ("run", "sweep")]
    first = page(records)
    bokeh.plotting.figure()  # takes some of Bokeh's ids
    assert page(records) == first


def test_own_probes_appear_and_texts_are_escaped(own):
    text = page([own])
    figures = documents(text)
    assert any(caption.startswith("own_matrix of flow") for caption in figures)
    assert any(caption.startswith("own_numbers of flow") and EVIL in caption for caption in figures)
    assert "alert(" in text and "<script>alert" not in text and "</script><script>" not in text
    assert "<b>own" not in text and "&lt;b&gt;own" in text
    root = next(root for caption, root in figures.items() if caption.startswith("own_matrix"))
    axis = root["attributes"]["left"][0]["attributes"]
    assert EVIL in json.dumps(axis["formatter"], ensure_ascii=False) and axis["axis_label"]["name"] == "PlainText"


def test_two_records_side_by_side(smoke, own, tmp_path, capsys):
    """They share the colours of a probe, and one slider has the times of both."""
    for record, name in ((smoke, "one"), (own, "two")):
        shutil.copytree(record.path, tmp_path / name)
    assert dynamics.cli.main(["dynamics", "report", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    file = tmp_path / "report-one-two.html"
    assert capsys.readouterr().out.strip() == str(file)
    text = file.read_text()
    assert text.count("<article>") == 2 and text.count('type="range"') == 1
    times = json.loads(re.search(r'id="times">(.*?)</script>', text)[1])
    assert set(times) == {*smoke["flow"].t.values.tolist(), *own["flow"].t.values.tolist()}
    runs = Runs([smoke, own])
    assert runs.scale("loss").high == max(
        float(record[law].loss.max()) for record in (smoke, own) for law in record.laws
    )


def test_a_map_opens_every_member(stored):
    sweep = dynamics.load(stored / "sweep")
    text = html.unescape(page([sweep]))
    members = {member.id for member in sweep.sweep.members}
    assert (
        set(re.findall(r'id="member-(\w+)"', text))
        == set(re.findall(r'popovertarget="member-(\w+)" style', text))
        == members
    )
    for law in sweep.laws:
        data = sweep[law].load()
        for seed in data.seed.values:
            one = data.sel(seed=seed)
            (member,) = (m.id for m in sweep.sweep.members if m.overrides["seed"] == seed)
            cell = rf'popovertarget="member-{member}" style="[^"]*">{float(one.loss[-1]):.3g}</button>'
            assert re.search(cell, text), (law, seed)


@pytest.mark.parametrize(("sizes", "columns"), [((9, 9, 3), 9), ((3, 3, 3, 3, 3), 9), ((40,), 1), ((2, 5), 5)])
def test_a_map_has_room_for_every_member(sizes, columns):
    grid = {f"axis{i}": list(map(str, range(size))) for i, size in enumerate(sizes)}
    members = {place: (float(i), f"{i}") for i, place in enumerate(np.ndindex(*sizes)) if i != 1}  # one is missing
    made = map_of("title", grid, members)
    assert len(made.columns) == columns <= MOST_COLUMNS
    shown = [cell for _, cells in made.rows for cell in cells]
    assert shown.count(None) == 1
    assert {cell.member: cell.text for cell in shown if cell} == {
        f"member-{i}": f"{x:.3g}" for x, i in members.values()
    }


def test_laws_that_diverged_or_have_no_times(smoke, monkeypatch):
    """A law without finite values of a probe, or without any time, is left out there; nothing overflows."""
    runs = Runs([smoke])
    flow, gd, sgd = (runs.data[smoke.path, law] for law in smoke.laws)
    runs.data[smoke.path, "flow"] = flow.isel(t=slice(0, 1)).assign(margin=flow.margin.isel(t=slice(0, 1)) * np.nan)
    runs.data[smoke.path, "gd"] = gd.isel(t=slice(0, 0))
    runs.data[smoke.path, "sgd"] = sgd.assign(loss=sgd.loss * np.geomspace(1, 1e300, sgd.sizes["t"]))
    monkeypatch.setattr("dynamics.report.page.Runs", lambda _: runs)
    figures = documents(page([smoke]))
    (loss,) = (caption for caption in figures if caption.startswith("loss over time"))
    assert "flow: " in loss and "sgd: " in loss and "gd: " not in loss.replace("sgd: ", "")
    (margin,) = (caption for caption in figures if caption.startswith("margin over time"))
    assert "flow" not in margin and "nan" not in "".join(figures)
    assert not any("of gd" in caption for caption in figures)


def test_many_matrices_share_the_room(own):
    """Frames are left out so that a page has at most FRAME_BYTES of them."""
    runs = Runs([own])
    assert runs.frames == FRAME_BYTES // 6
    small = own["flow"].load()
    runs.data["bigger"] = xarray.Dataset({"big": (("t", "a", "b"), np.zeros((13, 60, 100)))})
    assert runs.frames == FRAME_BYTES // 6  # kept
    again = Runs([])
    again.data.update({"small": small, "bigger": runs.data["bigger"]})
    assert again.frames == FRAME_BYTES // 6006
    assert list(matrices(own["flow"].own_matrix, 3)) == [""]
    four = xarray.DataArray(np.arange(48.0).reshape(1, 2, 2, 3, 4), dims=("t", "layer", "head", "key", "query"))
    found = matrices(four, 3)
    assert list(found) == ["layer 0, head 0", "layer 0, head 1", "layer 1, head 0"]
    np.testing.assert_array_equal(found["layer 0, head 1"], four[:, 0, 1])


def test_no_page_where_none_is_wanted(capsys, tmp_path):
    assert dynamics.cli.main(["dynamics", "report", str(tmp_path)]) == 2
    assert "must be the folder of a run" in capsys.readouterr().err and not list(tmp_path.iterdir())
    code = "import dynamics.cli, sys; dynamics.cli.parsed(['run', '--no-report']); print('bokeh' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_records_show_themselves(smoke, own, stored):
    assert f"<td>{float(smoke['gd'].loss[-1]):.4g}</td>" in smoke._repr_html_()
    sweep = dynamics.load(stored / "sweep")
    assert f"{len(sweep.entries)} members" in sweep._repr_html_()
    assert "<b>" not in own._repr_html_() and "<b>" not in table("<b>", ["<b>"], [["<b>"]])


def test_plots_of_probes(smoke, stored):
    assert isinstance(smoke.plot.loss(), bokeh.plotting.figure)
    assert len(smoke.plot.loss().renderers[0].data_source.data["name"]) == len(smoke.laws)
    lines = smoke.plot.weight_norm("gd").renderers[0].data_source.data
    assert lines["name"] == smoke["gd"]["matrix"].values.tolist()
    np.testing.assert_allclose(lines["y"][1], smoke["gd"].weight_norm[1:, 1], rtol=1e-6)  # on a logarithmic axis of t
    slider, _ = smoke.plot.scores("flow").children
    assert slider.end == smoke["flow"].sizes["t"] - 1
    sweep = dynamics.load(stored / "sweep")
    assert len(sweep.plot.loss("adam").renderers[0].data_source.data["name"]) == sweep["adam"].status.size
    assert set(dir(smoke.plot)) >= {"loss", "scores"}
    with pytest.raises(AttributeError, match=r"'losses' is not recorded: .*loss"):
        _ = smoke.plot.losses
    with pytest.raises(KeyError, match="laws: flow, gd, sgd"):
        smoke.plot.loss("adam")


def test_lines_and_pictures_are_drawn_one_way(smoke):
    """Bokeh's own functions for lines and pictures add glyphs for a selection, which no figure has: time and bytes."""
    _, pictures = smoke.plot.scores("flow").children
    renderers = [*smoke.plot.loss().renderers, *pictures.children[0][0].renderers]
    assert [renderer.nonselection_glyph for renderer in renderers] == ["auto", "auto"]
