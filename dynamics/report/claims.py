"""The page of claims: their verdicts, with evidence and controls folded away."""

import collections

from dynamics.report.parts import Article, verdicts_of
from dynamics.report.sweep import losses
from dynamics.studies.claims import PASS
from dynamics.studies.evidence import ClaimsRecord

MOST_CASES = 12  # whose losses are drawn


def claims_article(record: ClaimsRecord) -> Article:
    """What a page says about claims."""
    verdicts = verdicts_of(record.path)
    counts = collections.Counter(claim["verdict"] for table in verdicts for claim in table["claims"])
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    required = verdicts[0]["claims"] if verdicts else []
    unmet = [claim for claim in required if claim["verdict"] != PASS and not claim["explained"]]
    return Article(
        title=record.path.name,
        what=f"claims: {said}, on the evidence of {len(record.cases)} cases",
        state="done" if not unmet else f"{len(unmet)} that should pass do not",
        reason="",
        origin=record.provenance,
        content={case: record.case(case).sweep.config for case in record.swept},
        claims=verdicts,
        groups=[losses({case: record[case].load() for case in record.swept[:MOST_CASES]})],
    )
