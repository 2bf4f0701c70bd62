"""The page: articles as HTML, and their figures as Bokeh documents."""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np
from bokeh.core.json_encoder import serialize_json
from bokeh.document import Document
from bokeh.resources import Resources

from dynamics.plots import text
from dynamics.report.claims import claims_article
from dynamics.report.parts import Article, Panel
from dynamics.report.run import Runs
from dynamics.report.sweep import sweep_article
from dynamics.runs.record import Record
from dynamics.runs.storage import write_text
from dynamics.studies.evidence import ClaimsRecord
from dynamics.sweeps.results import SweepRecord

NAME = "report.html"
FOLDER = pathlib.Path(__file__).parent
STROKES = {"solid": "none", "dashed": "7 4", "dotted": "2 3", "dashdot": "2 3 7 3"}  # dashes of a legend
STEPS = 240  # places of the slider at most
OTHER_PARTS = 5  # of an article beside its groups: header, tables, claims, maps, provenance


def write(records: Sequence[Any], file: pathlib.Path) -> pathlib.Path:
    """Write one page about one or more records, side by side; the same bytes for the same records.

    Args:
        records: of runs, sweeps, comparisons and claims.
        file: to write.
    """
    write_text(file, page(records))
    return file


def page(records: Sequence[Any]) -> str:
    """The page as text."""
    runs = Runs([record for record in records if isinstance(record, Record)])
    articles = [_article(record, runs) for record in records]
    panels = [panel for article in articles for panel in article.panels]
    documents = _documents(panels)
    times = _times(runs)
    return (
        _environment()
        .get_template("page.html")
        .render(
            articles=articles,
            level=3 if len(articles) > 1 else 2,  # of headings
            ids={panel: place["place"] for panel, place in zip(panels, documents, strict=True)},
            rows=max(len(article.groups) for article in articles) + OTHER_PARTS,
            strokes=STROKES,
            times=[text(t) for t in times],
            moves=len(times) > 1,
            bokeh=Resources(mode="inline", minified=True, components=["bokeh"], log_level="error").render_js()
            if panels
            else "",
            documents=_in_script(documents),
            times_json=_in_script(times),
            style=(FOLDER / "page.css").read_text(),
            script=(FOLDER / "page.js").read_text(),
        )
    )


def _article(record: Any, runs: Runs) -> Article:
    if isinstance(record, ClaimsRecord):
        return claims_article(record)
    return sweep_article(record) if isinstance(record, SweepRecord) else runs.article(record)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )


def _times(runs: Runs) -> list[float]:
    """The places of the slider: the saved times of all runs, or so many of them as a slider has room for."""
    saved = [data.t.values for data in runs.data.values()]
    times = np.unique(np.concatenate(saved)) if saved else np.zeros(0)
    return times[np.unique(np.linspace(0, len(times) - 1, min(len(times), STEPS)).round().astype(int))].tolist()


def _documents(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Of every panel: the place of its figure, and Bokeh's JSON and id of it, whose ids count from zero in every page.

    A document for each, so that a browser can draw those in sight first.
    """
    ids: dict[str, str] = {}
    documents = []
    for i, panel in enumerate(panels):
        document = Document()
        document.add_root(panel.drawn)
        content = _renamed(json.loads(serialize_json(document.to_json(deferred=False))), ids)
        documents.append({"place": f"panel-{i}", "root": ids[panel.drawn.id], "content": content})
    return documents


def _renamed(node: Any, ids: dict[str, str]) -> Any:
    """Bokeh's JSON with other ids. Only models have dictionaries with a key "id"; those of data are lists of pairs."""
    if isinstance(node, dict):
        return {
            key: ids.setdefault(value, f"m{len(ids)}") if key == "id" else _renamed(value, ids)
            for key, value in node.items()
        }
    return [_renamed(entry, ids) for entry in node] if isinstance(node, list) else node


def _in_script(content: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
