from __future__ import annotations

import numpy as np

from llmrec.ranking import ranked
from tests.evaluate.audited import CLUB, found, levels
from tests.evaluate.club import listing


def test_lists_that_are_not_made_alike_are_told():
    polite = listing(CLUB, 1, ranker="polite")
    whole = np.tile(np.arange(20), 400)
    rude = ranked(np.repeat(np.arange(400), 20), whole, -whole.astype(float), ranker="rude", seed=0)
    findings = found(candidates=None, table="catalogue", polite=polite, rude=rude)
    assert levels(findings, "`rude` lists items that the user has already met") == ["warns"]
    assert not levels(findings, "`polite` lists")


def test_a_list_shorter_than_what_is_measured_is_told():
    short = listing(CLUB, 1, ranker="short", depth=5)
    findings = found(candidates=None, table="catalogue", short=short, long=listing(CLUB, 2, ranker="long"))
    assert levels(findings, "`short` lists fewer than 10 items for 400 queries") == ["warns"]
    assert not levels(findings, "`long` lists")
