"""The site that `make docs` built, in a real browser without network: it loads nothing, fits a phone, is accessible."""

import pytest
from conftest import ROOT
from test_report_browser import LARGE, SMALL, browser, pytestmark  # noqa: F401

SITE = ROOT / "site"
pytestmark = [*pytestmark, pytest.mark.skipif(not SITE.exists(), reason="there is no site; make docs")]
PAGES = (
    *("docs/index.html", "docs/gallery.html", "docs/tutorial/your_own_task.html", "docs/explanation/gram.html"),
    *("docs/reference/laws.html", "docs/reference/configs.html", "experiments/cooccurrence/claims.html"),
)


@pytest.mark.parametrize(("size", "scheme"), [(SMALL, "dark"), (LARGE, "light")], ids=["phone", "desk"])
def test_pages(browser, size, scheme):  # noqa: F811
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True)
    page, wrong = context.new_page(), []
    page.on("request", lambda one: None if one.url.startswith(SITE.as_uri()) else wrong.append(one.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    for name in PAGES:
        page.goto((SITE / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], name
        # Without `preload`, which reads style sheets in a way that browsers refuse for files.
        found = Axe().run(page, options={"preload": False}).response["violations"]
        bad = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
        assert not bad, name
    context.close()
    assert not wrong


def test_search(browser):  # noqa: F811
    """The index is a script beside the pages, so that searching needs no server."""
    page = browser.new_page()
    page.goto((SITE / "search.html").as_uri() + "?q=stiff")
    page.wait_for_selector("#search-results li")
    assert page.locator("#search-results li").count() >= 3
