from __future__ import annotations

import polars as pl
import pytest

from llmrec.errors import RankingFault
from llmrec.evaluate.checks import check_asked, check_candidates, check_rankings
from tests.evaluate.club import club, listing, offered, placing

CLUB = club(members=6)
TABLE = offered(CLUB, 5)


def refused(ranking: pl.DataFrame, candidates: pl.DataFrame | None = TABLE) -> str:
    good = placing(CLUB, TABLE, 1, ranker="retriever")
    with pytest.raises(RankingFault) as fault:
        check_rankings({"retriever": [good], "mine": [ranking]}, CLUB.queries, candidates, where="uniform")
    return str(fault.value)


def test_rankings_of_the_same_queries_and_candidates_pass():
    rankings = {name: [placing(CLUB, TABLE, rank, ranker=name)] for rank, name in ((1, "retriever"), (3, "mine"))}
    check_rankings(rankings, CLUB.queries, TABLE, where="uniform")


def test_a_query_that_was_left_out_is_named():
    short = placing(CLUB, TABLE, 1, ranker="mine").filter(pl.col("query") != 3)
    assert refused(short) == (
        "uniform: `mine` ranks 5 queries of 6; the first missing is query 3 of user 3. Rank the same queries to "
        "compare them."
    )


def test_a_query_that_nobody_asked_is_named():
    more = placing(CLUB, TABLE, 1, ranker="mine")
    more = pl.concat([more, more.filter(pl.col("query") == 0).with_columns(query=pl.lit(99, pl.Int64))])
    assert "`mine` ranks 1 queries that nobody asked, first query 99" in refused(more)


def test_a_candidate_that_was_left_out_is_named():
    ranking = placing(CLUB, TABLE, 1, ranker="mine").filter((pl.col("query") != 2) | (pl.col("rank") < 5))
    assert "`mine` leaves out 1 candidates, first item" in refused(ranking)
    assert "for query 2. Rank every candidate" in refused(ranking)


def test_a_ranking_of_the_catalogue_is_no_ranking_of_candidates():
    whole = listing(CLUB, 1, ranker="mine", depth=CLUB.n_items - 4)
    assert "items that were not candidates" in refused(whole)
    assert "never mixed" in refused(whole)


def test_a_score_that_is_not_a_number_is_named():
    ranking = placing(CLUB, TABLE, 1, ranker="mine").with_columns(
        score=pl.when(pl.col("query") == 4).then(float("nan")).otherwise(pl.col("score")).cast(pl.Float32)
    )
    assert "5 scores of `mine` are not finite, first for query 4" in refused(ranking)


def test_an_item_stands_once_in_a_list():
    ranking = placing(CLUB, TABLE, 1, ranker="mine")
    assert "2 rows of `mine` list an item again, first item" in refused(pl.concat([ranking, ranking.head(1)]))


def test_ranks_that_contradict_the_scores_are_refused():
    ranking = placing(CLUB, TABLE, 1, ranker="mine")
    swapped = ranking.with_columns(
        score=pl.when((pl.col("query") == 2) & (pl.col("rank") == 4)).then(9.0).otherwise("score").cast(pl.Float32)
    )
    words = refused(swapped)
    assert "uniform: 1 ranks of `mine` disagree with its scores, first for query 2: item" in words
    assert "(rank 4) scores 9, and the item before it -2. Write ranks from 1 in the order of the scores." in words
    assert refused(swapped.sample(fraction=1.0, shuffle=True, seed=0)) == words  # however the rows lie
    alike = ranking.with_columns(rank=pl.lit(1, pl.Int32), score=pl.lit(0.0, pl.Float32))
    check_rankings({"mine": [alike]}, CLUB.queries, TABLE, where="uniform")  # one rank for a tie is a rank, too


def test_no_query_is_no_comparison():
    with pytest.raises(RankingFault, match=r"prepare/queries\.parquet: there is no test query\. Prepare the run anew"):
        check_asked(CLUB.queries.head(0), where="prepare/queries.parquet")


def test_a_seed_at_fault_is_named():
    good = placing(CLUB, TABLE, 1, ranker="orpo")
    with pytest.raises(RankingFault, match=r"`orpo` \(seed 1\) ranks 5 queries of 6"):
        check_rankings({"orpo": [good, good.filter(pl.col("query") > 0)]}, CLUB.queries, TABLE, where="uniform")


def test_nothing_to_compare_is_said():
    with pytest.raises(RankingFault, match="uniform: no rankings to compare"):
        check_rankings({}, CLUB.queries, TABLE, where="uniform")


def test_candidates_hold_every_target_or_are_given_none():
    assert check_candidates(TABLE, CLUB.queries, where="uniform") == "injected"
    found = TABLE.with_columns(source=pl.col("source").list.eval(pl.lit("retrieved")))
    assert check_candidates(found, CLUB.queries, where="two_stage") == "two-stage"


def test_a_candidate_set_that_lost_its_target_is_named():
    lost = TABLE.with_columns(
        items=pl.when(pl.col("query") == 2).then(pl.lit([40, 41, 42, 43, 44])).otherwise(pl.col("items"))
    )
    with pytest.raises(RankingFault, match="1 of 6 candidate sets lack the target, first for query 2, target 6"):
        check_candidates(lost, CLUB.queries, where="uniform")


def test_a_candidate_is_offered_once():
    twice = TABLE.with_columns(items=pl.concat_list("items", pl.col("items").list.first()))
    with pytest.raises(
        RankingFault, match=r"6 candidate sets hold an item twice, first that of query 0\. Offer each item once"
    ):
        check_candidates(twice, CLUB.queries, where="uniform")
