"""The page in a real browser, Chromium without network: it opens, moves as the record says, and is accessible."""

import io
import shutil
import time
from collections import Counter

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from test_report import own_run

import dynamics.cli
from dynamics.plots import Range, levels
from dynamics.report import write

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; apt-get install chromium"),
]
FLAGS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
FLAGS += ("disable-component-update", "disable-sync", "force-color-profile=srgb")
# The browser shows what changed in its next frames; tests ask until it is so. The limit guards against hanging only.
LIMIT = 60
expect.set_options(timeout=1000 * LIMIT)
SMALL, LARGE = (390, 844), (1280, 900)
DRAWN = "document.documentElement.dataset.drawn === 'all'"
# The figure of a panel, and where the inner of its frame is in the window.
FIGURE = """
(description) => {
  const panels = [...document.querySelectorAll('[role=img]')];
  const place = panels.find((one) => one.ariaLabel.startsWith(description)).firstElementChild;
  place.scrollIntoView({block: 'center'});
  const figure = Bokeh.index.roots.find((view) => place.contains(view.el));
  const canvas = figure.canvas_view.el.getBoundingClientRect(), box = figure.frame.bbox;
  return [canvas.left + box.left, canvas.top + box.top, box.width, box.height];
}
"""
# Before the page's own script: which figures are drawn when the first ones are, and which are near the window then.
AT_THE_FIRST = """
const mark = performance.mark.bind(performance);
performance.mark = (name) => {
  if (name !== 'first figures') return mark(name);
  const all = [...document.querySelectorAll('.canvas')], names = (panels) => panels.map((one) => one.ariaLabel);
  const drawn = all.filter((one) => one.querySelector('.bk-Figure'));
  const near = all.filter((one) => {
    const {top, bottom} = one.getBoundingClientRect();
    return bottom > -200 && top < innerHeight + 200;
  });
  window.atTheFirst = {all: all.length, drawn: names(drawn), near: names(near), ms: performance.now()};
  return mark(name);
};
"""
# Every figure notes in `paints` when one of its two canvases is painted and when its layout is computed.
COUNT_PAINTS = """
() => {
  window.paints = [];
  for (const view of Bokeh.index.roots.filter((one) => one.el.closest('.canvas'))) {
    const panel = view.el.closest('.canvas'), curve = view.model.tags[0].now;
    for (const name of ['_paint_primary', '_paint_overlays', 'compute_layout']) {
      const method = view[name];
      view[name] = (...all) => {
        const {top, bottom} = panel.getBoundingClientRect();
        const sight = bottom > 0 && top < innerHeight;
        paints.push(`${curve ? 'curve' : 'picture'} ${sight ? 'in' : 'out of'} sight ${panel.ariaLabel}: ${name}`);
        return method.apply(view, all);
      };
    }
  }
}
"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in FLAGS])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(smoke, tmp_path_factory):
    """Pages of a run, of a sweep, of claims, of two runs, and of a run whose labels are hostile."""
    folder = tmp_path_factory.mktemp("pages")
    flags = [f"--workdir={folder}", "--no-report"]
    sweep = f"--config={ROOT}/configs/cooccurrence/sweep_scales.py:smoke"
    assert dynamics.cli.main(["dynamics", "sweep", sweep, "--name=sweep", *flags]) == 0
    assert (
        dynamics.cli.main(["dynamics", "claims", "--module=dynamics.templates.paper.claims", "--name=claims", *flags])
        == 0
    )
    records = {"run": [smoke], "two": [smoke, smoke], "hostile": [own_run(folder)]}
    records |= {name: [dynamics.load(folder / name)] for name in ("sweep", "claims")}
    return {name: write(record, folder / f"{name}.html") for name, record in records.items()}


@pytest.fixture
def opened(browser):
    """opened(file, size, scheme, before): the page, and what went wrong: requests, errors, lines of the console."""
    contexts = []

    def open_(file, size=LARGE, scheme="light", before=""):
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True)
        context.set_default_timeout(1000 * LIMIT)
        contexts.append(context)
        page, wrong = context.new_page(), []
        page.on("request", lambda one: wrong.append(one.url) if one.url != file.as_uri() else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
        page.add_init_script(before)
        page.goto(file.as_uri())
        page.wait_for_function(DRAWN)
        return page, wrong

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", ["run", "two", "sweep", "claims", "hostile"])
def test_opens_without_network_or_errors(opened, pages, name):
    begin = time.perf_counter()
    page, wrong = opened(pages[name])
    seconds = time.perf_counter() - begin
    assert not wrong
    assert page.locator("canvas").count() > 0
    assert page.evaluate("Object.keys(window).filter((name) => name.includes('MathJax'))") == []
    print(f"{name}: all drawn after {seconds:.2f} s, {pages[name].stat().st_size / 1e6:.2f} MB")


def test_opens_with_the_figures_near_the_window(opened, pages):
    """The figures within 200 px of the window are drawn first, and no other one before them."""
    page, _ = opened(pages["run"], before=AT_THE_FIRST)
    first = page.evaluate("atTheFirst")
    print(f"first figures after {first['ms'] / 1000:.2f} s")
    assert first["drawn"] == first["near"]
    assert 0 < len(first["near"]) < first["all"]


def soon(found, *of):
    """Ask until it is so."""
    end = time.monotonic() + LIMIT
    while not found(*of) and time.monotonic() < end:
        time.sleep(0.05)
    assert found(*of)


def picture(page, description):
    """The pixels of a figure's inner frame."""
    left, top, width, height = page.evaluate(FIGURE, description)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.asarray(image)[round(top) : round(top + height), round(left) : round(left + width)]


def expected(record, law, row):
    """The colours of the scores at a saved time, from the record."""
    scale = Range.of([record[name].scores.values for name in record.laws])
    colours = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in scale.palette]
    return np.array(colours)[levels(record[law].scores.values[row], scale)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_slider_moves_the_pictures_as_recorded(opened, pages, smoke, scheme):
    """The pixel in the middle of every cell has the colour of the recorded number, at several times, of all laws."""
    page, wrong = opened(pages["run"], scheme=scheme)

    def as_recorded(law, row):
        pixels = picture(page, f"scores of {law}")
        count = smoke[law].sizes["key"]
        middles = ((np.arange(count) + 0.5) * np.array([[pixels.shape[0]], [pixels.shape[1]]]) / count).astype(int)
        return np.abs(pixels[np.ix_(*middles)].astype(int) - expected(smoke, law, row)).max() <= 2

    for row in (19, 0, 7, 20):
        page.locator("#slider").fill(str(row))
        for law in ("flow", "sgd"):
            soon(as_recorded, law, row)
        expect(page.locator("#now")).to_have_text(f"t = {float(smoke['flow'].t.values[row]):.4g}")
    assert not wrong


def test_the_slider_moves_the_line_of_the_curves(opened, pages, smoke):
    page, _ = opened(pages["run"])
    for row in (5, 12):
        page.locator("#slider").fill(str(row))
        page.evaluate(FIGURE, "loss over time")
        t, lines = smoke["flow"].t.values[row], "Bokeh.documents.map((one) => one.roots()[0].tags[0].now?.location)"
        soon(lambda t, lines: t in page.evaluate(lines), t, lines)


def test_the_keyboard_moves_the_slider(opened, pages):
    page, _ = opened(pages["run"])
    slider = page.locator("#slider")
    slider.focus()
    last = int(slider.input_value())
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value(str(last - 2))
    page.keyboard.press("Home")
    expect(slider).to_have_value("0")
    expect(slider).to_have_attribute("aria-valuetext", "t = 0")
    expect(page.locator("#now")).to_have_text("t = 0")


def test_play_moves_the_slider_until_stopped(opened, pages):
    """The page's clock moves only when the test says so, however slow the machine is."""
    page, _ = opened(pages["run"])
    slider, play = page.locator("#slider"), page.locator("#play")
    slider.fill("0")
    page.clock.install(time=0)
    page.clock.pause_at(10)
    play.focus()
    page.keyboard.press("Enter")
    expect(play).to_have_text("stop")
    page.clock.run_for(250)
    expect(slider).to_have_value("3")
    page.keyboard.press("Enter")
    expect(play).to_have_text("play")
    page.clock.run_for(250)
    expect(slider).to_have_value("3")


def test_a_frame_paints_only_what_moves(opened, pages):
    """Every picture in sight once, of a curve in sight only the canvas of the line that marks the time; no layout."""
    page, _ = opened(pages["run"])
    page.evaluate(FIGURE, "scores of flow")
    page.evaluate(COUNT_PAINTS)
    frames = page.evaluate("""async () => {
      const slider = document.getElementById('slider'), frames = [];
      const frame = () => new Promise(requestAnimationFrame);
      const painted = async () => { await frame(); await frame(); await new Promise((done) => setTimeout(done)); };
      for (let i = 0; i < slider.max; i++) {
        await painted();
        paints.length = 0;
        const begin = performance.now();
        slider.value = i;
        slider.dispatchEvent(new Event('input'));
        await painted();
        frames.push([performance.now() - begin, [...paints]]);
      }
      return frames;
    }""")
    print(f"frames: median {np.median([ms for ms, _ in frames]):.0f} ms")
    for _, paints in frames[1:]:
        assert len(set(paints)) == len(paints), "more than once"
        kinds = Counter((line.split(" sight ")[0], line.split(": ")[-1]) for line in paints)
        assert kinds.keys() == {("picture in", "_paint_primary"), ("curve in", "_paint_overlays")}, kinds


@pytest.mark.parametrize("name", ["run", "two", "sweep", "claims"])
def test_fits_a_phone(opened, pages, name):
    page, _ = opened(pages[name], SMALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= SMALL[0]


def test_a_cell_opens_its_member(opened, pages):
    page, _ = opened(pages["sweep"])
    cell = page.locator(".map button").first
    cell.focus()
    page.keyboard.press("Enter")
    member = page.locator(f"#{cell.get_attribute('popovertarget')}")
    assert member.is_visible() and cell.inner_text()[:4] in member.inner_text()
    page.keyboard.press("Escape")
    assert not member.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["run", "two", "sweep", "claims"])
def test_accessible(opened, pages, name, scheme):
    """Axe finds nothing that it calls serious or critical, also in what was folded."""
    from axe_playwright_python.sync_playwright import Axe

    page, _ = opened(pages[name], scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    bad = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert not bad
    print(f"{name}, {scheme}: {[(one['id'], one['nodes'][0]['html'][:100]) for one in found]}")


@pytest.mark.parametrize("media", [{"color_scheme": "light"}, {"media": "print"}])
def test_axes_follow_the_colours_of_the_page(opened, pages, media):
    """In the dark, labels are light; in the light and on paper, they are dark."""
    page, wrong = opened(pages["run"], scheme="dark")

    def dark_pixels():
        image = page.screenshot(clip=page.locator(".canvas").first.bounding_box())
        return int((np.asarray(Image.open(io.BytesIO(image)).convert("L")) < 60).sum())

    in_the_dark = dark_pixels()
    page.emulate_media(**media)
    soon(lambda: 100 < dark_pixels() < in_the_dark / 10)
    assert not wrong
