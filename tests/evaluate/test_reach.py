"""The same ranker, listed to different depths, is no better and no worse than itself."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.errors import RankingFault
from llmrec.evaluate.reach import settled
from tests.evaluate.club import READ, club, listing

CLUB = club(members=30)
LEFT = np.full(30, CLUB.n_items - READ)
DEEP = listing(CLUB, list(range(1, 31)), ranker="deep", depth=40)
SHALLOW = DEEP.filter(DEEP["rank"] <= 5)


def test_nobody_is_measured_deeper_than_the_shallowest_goes():
    with pytest.raises(RankingFault) as fault:
        settled({"deep": [DEEP], "shallow": [SHALLOW]}, CLUB.queries, LEFT, [1, 5], "ndcg@20")
    assert str(fault.value) == (
        "compare: `shallow` lists fewer than 20 items for 30 of 30 queries (5 for most), and there are more to rank: "
        "what was cut off would count as missed. Measure at 5 or less (--at and --primary), or let every ranker list "
        "20."
    )
    with pytest.raises(RankingFault, match="`deep` lists fewer than 41 items for 30 of 30"):
        settled({"deep": [DEEP]}, CLUB.queries, LEFT, [41], "hit@1")


def test_depths_that_nobody_asked_for_end_where_lists_do(capsys: pytest.CaptureFixture[str]):
    both = {"deep": [DEEP], "shallow": [SHALLOW]}
    assert settled(both, CLUB.queries, LEFT, None, None) == ([1, 5], "ndcg@5")
    assert capsys.readouterr().err == (
        "compare: `shallow` lists 5 items for most queries, so nothing is measured deeper: depths 1, 5, ndcg@5 "
        "decides\n"
    )
    assert settled(both, CLUB.queries, LEFT, [1, 3], None) == ([1, 3, 5], "ndcg@5")
    assert settled({"deep": [DEEP]}, CLUB.queries, LEFT, None, "hit@1") == ([1, 5, 10, 20], "hit@1")


def test_a_list_of_all_there_is_goes_to_any_depth(capsys: pytest.CaptureFixture[str]):
    whole = listing(CLUB, 1, ranker="whole", depth=46)
    assert settled({"whole": [whole]}, CLUB.queries, LEFT, [1, 50], "ndcg@50") == ([1, 50], "ndcg@50")
    assert capsys.readouterr().err == ""


def test_a_few_shorter_lists_are_misses_and_are_noted(capsys: pytest.CaptureFixture[str]):
    some = DEEP.filter((DEEP["query"] > 3) | (DEEP["rank"] <= 5))
    assert settled({"some": [some]}, CLUB.queries, LEFT, [20], "ndcg@20") == ([20], "ndcg@20")
    assert "`some` lists fewer than 20 items for 4 of 30 queries; what it does not list" in capsys.readouterr().err
