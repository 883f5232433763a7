from __future__ import annotations

import polars as pl
import pytest

from llmrec.errors import RankingFault
from llmrec.evaluate.asked import Asked
from llmrec.evaluate.side_by_side import side_by_side
from llmrec.evaluate.weigh import Weighed
from tests.evaluate.club import club, listing, offered, placing

CLUB = club(members=40)
NAMES = CLUB.queries.select(pl.col("query").cast(pl.String).alias("key"), "query")
ASKED = Asked(CLUB.queries, NAMES, None, None, coded=True, keyed=True)
TABLE = offered(CLUB, 10)
OTHERS = offered(CLUB, 10, seed=1)


def beside(full: bool = False, **rankings: pl.DataFrame) -> Weighed:
    return side_by_side(rankings, ASKED, at=[1, 10], primary="ndcg@10", full=full, bootstrap=200)


def test_lists_of_the_same_items_are_candidates():
    weighed = beside(a=placing(CLUB, TABLE, 1, ranker="a"), b=placing(CLUB, TABLE, 4, ranker="b"))
    assert weighed.metrics["candidates"] == 10
    assert weighed.metrics["chance"]["hit@1"] == pytest.approx(0.1)
    assert weighed.metrics["rankers"]["b"]["mrr@10"]["mean"] == pytest.approx(0.25)
    assert weighed.said[0]["sentence"].startswith("On 10 shared candidates (40 users), a (NDCG@10 1.000) beats b")


def test_lists_that_differ_and_miss_targets_are_the_first_of_a_catalogue():
    weighed = beside(
        a=listing(CLUB, [1] * 39 + [None], ranker="a"), b=listing(CLUB, [2, None] * 20, ranker="b", depth=10)
    )
    assert weighed.metrics["candidates"] is None
    assert weighed.metrics["rankers"]["b"]["hit@10"]["mean"] == 0.5
    assert weighed.said[0]["sentence"].startswith("On the full catalogue")


def test_the_same_items_without_every_target_are_two_stage():
    stage = TABLE.with_columns(source=pl.col("source").list.eval(pl.lit("retrieved")))
    ranking = placing(CLUB, stage, 1, ranker="a")
    missed = ranking.filter((pl.col("rank") > 1) | (pl.col("query") < 30))
    weighed = beside(a=missed, b=missed.with_columns(score=-pl.col("score"), rank=-pl.col("rank")))
    assert "chance" not in weighed.metrics
    assert weighed.metrics["rankers"]["a"]["hit@10"]["mean"] == 0.75
    assert "10 shared candidates, missed targets counted" in weighed.said[0]["sentence"]


def test_candidates_that_differ_are_refused_unless_they_are_full_catalogues():
    rankings = {"a": placing(CLUB, TABLE, 1, ranker="a"), "b": placing(CLUB, OTHERS, 1, ranker="b")}
    with pytest.raises(RankingFault, match="`a` and `b` rank different candidates, first for query 0"):
        beside(**rankings)
    assert beside(full=True, **rankings).metrics["candidates"] is None


def test_candidates_beside_a_catalogue_are_refused():
    with pytest.raises(
        RankingFault, match="`a` lists 10 items with every target among them, as candidates are, and `b`"
    ):
        beside(a=placing(CLUB, TABLE, 1, ranker="a"), b=listing(CLUB, [2, None] * 20, ranker="b"))


def test_a_ranking_alone_is_measured():
    weighed = beside(a=placing(CLUB, TABLE, 2, ranker="a"))
    assert weighed.metrics["rankers"]["a"]["hit@1"]["mean"] == 0
    assert weighed.said == []


def test_a_query_that_one_of_them_left_out_is_named():
    short = placing(CLUB, TABLE, 1, ranker="b").filter(pl.col("query") != 23)
    with pytest.raises(
        RankingFault, match="compare: `b` ranks 39 queries of 40; the first missing is query 23 of user 23"
    ):
        beside(a=placing(CLUB, TABLE, 1, ranker="a"), b=short)
