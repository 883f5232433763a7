from __future__ import annotations

import numpy as np

from tests.evaluate.audited import found, in_slot


def test_an_honest_comparison_is_not_disqualified_and_only_its_numbering_is_warned_about():
    """Everyone reads book after book, so the books' numbers do follow time."""
    assert {(f.level, f.check) for f in found() if f.level != "notes"} == {("warns", "id-order")}


def test_the_gravest_finding_comes_first():
    order = ["disqualifies", "warns", "notes"]
    findings = found(candidates=in_slot(np.zeros(400)), method="last")
    assert [order.index(f.level) for f in findings] == sorted(order.index(f.level) for f in findings)
    assert findings[0].level == "disqualifies"
