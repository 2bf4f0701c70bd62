"""One self-contained page about records: what was run, how far it can be trusted, and what happened over time."""

from dynamics.report.page import NAME as NAME
from dynamics.report.page import write as write
