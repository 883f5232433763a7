from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np

from llmrec.evaluate.audit import CHECKS
from tests.evaluate.audited import found, in_slot

PAGE = Path(__file__).resolve().parents[2] / "docs" / "audit.md"


def test_an_honest_comparison_is_not_disqualified_and_only_its_numbering_is_warned_about():
    """Everyone reads book after book, so the books' numbers do follow time."""
    assert {(f.level, f.check) for f in found() if f.level != "notes"} == {("warns", "id-order")}


def test_the_gravest_finding_comes_first():
    order = ["disqualifies", "warns", "notes"]
    findings = found(candidates=in_slot(np.zeros(400)), method="last")
    assert [order.index(f.level) for f in findings] == sorted(order.index(f.level) for f in findings)
    assert findings[0].level == "disqualifies"


def test_every_check_has_its_row_in_the_page_and_no_other_has():
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (?:disqualifies|warns|notes)", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows == [check.name for check in CHECKS]


def test_every_check_says_in_a_sentence_why_and_what_to_do():
    for check in CHECKS:
        assert check.why.endswith(".")
        assert check.remedy.endswith(".")
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_a_finding_carries_its_evidence_its_reason_and_a_remedy():
    [finding] = [f for f in found(candidates=in_slot(np.zeros(400))) if f.check == "uneven-slots"]
    assert asdict(finding) == {
        "level": "disqualifies",
        "check": "uneven-slots",
        "where": "uniform",
        "what": "targets stand unevenly among the 10 slots: slot 0 holds 100 %, where 10 % are expected (p = 0)",
        "why": "Whoever guesses the fullest slot is better than chance, and models that read lists learn to guess.",
        "remedy": "Shuffle each set with its query's number as the seed.",
    }
