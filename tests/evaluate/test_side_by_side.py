from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec.errors import RankingFault
from llmrec.evaluate.asked import Asked, read_queries
from llmrec.evaluate.external import read_named, read_rankings
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
    assert weighed.said[0]["sentence"].endswith(", for these trained models.")


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


def test_a_ranker_does_not_beat_itself_cut_off():
    deep = listing(CLUB, list(range(1, 41)), ranker="deep", depth=45)
    cut = {"deep": deep, "shallow": deep.filter(deep["rank"] <= 5)}
    with pytest.raises(RankingFault, match="`shallow` lists fewer than 20 items for 40 of 40 queries"):
        side_by_side(cut, ASKED, primary="ndcg@20", full=True, bootstrap=200)
    weighed = side_by_side(cut, ASKED, full=True, bootstrap=200)
    assert weighed.primary == "ndcg@5"
    assert weighed.said[0]["difference"] == 0


def several(tmp_path: Path, *rows: str) -> Asked:
    path = tmp_path / "queries.csv"
    path.write_text("\n".join(["query,user,target", *rows]) + "\n")
    return read_queries(path)


def test_a_query_may_have_several_targets(tmp_path: Path):
    """Ann liked Up and Heat, Ben Alien and something that nobody lists."""
    asked = several(tmp_path, "q1,ann,Up", "q1,ann,Heat", "q2,ben,Alien", "q2,ben,Brazil")
    (tmp_path / "a.csv").write_text("query,item,score\nq1,Heat,3\nq1,Jaws,2\nq1,Up,1\nq2,Alien,2\nq2,Up,1\n")
    rankings = read_rankings([tmp_path / "a.csv"], asked)
    weighed = side_by_side(rankings, asked, at=[1, 3], primary="recall@3", full=True, bootstrap=200)
    means = {metric: value["mean"] for metric, value in weighed.metrics["rankers"]["a"].items()}
    assert (weighed.metrics["queries"], weighed.metrics["targets"]) == (2, 4)
    assert means["recall@3"] == pytest.approx((1 + 1 / 2) / 2)
    assert means["precision@3"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert means["map@3"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert means["hit@1"] == means["mrr@3"] == 1
    best = 1 + 1 / np.log2(3)
    assert means["ndcg@3"] == pytest.approx(((1 + 1 / 2) / best + 1 / best) / 2)


def test_chance_counts_every_target_among_the_candidates(tmp_path: Path):
    asked = several(tmp_path, "q1,ann,Up", "q1,ann,Heat")
    (tmp_path / "a.csv").write_text("query,item,score\nq1,Heat,4\nq1,Jaws,3\nq1,Up,2\nq1,Alien,1\n")
    weighed = side_by_side(read_rankings([tmp_path / "a.csv"], asked), asked, at=[1, 2], primary="hit@1", bootstrap=200)
    assert weighed.metrics["chance"]["hit@1"] == pytest.approx(1 / 2)
    assert weighed.metrics["chance"]["hit@2"] == pytest.approx(1 - (2 / 4) * (1 / 3))
    assert weighed.metrics["chance"]["recall@2"] == pytest.approx(1 / 2)


def test_several_targets_in_parquet_are_those_of_the_csv(tmp_path: Path):
    rows = CLUB.queries.head(2).with_columns(target=pl.Series([7, 8]).cast(pl.Int32))
    pl.concat([CLUB.queries.head(3), rows]).write_parquet(tmp_path / "queries.parquet")
    asked = read_queries(tmp_path / "queries.parquet")
    assert asked.queries.equals(CLUB.queries.head(3))
    assert asked.targets is not None
    assert asked.targets["query"].to_list() == [0, 1, 2, 0, 1]


def test_a_metric_that_repeats_another_is_measured_where_it_decides():
    ranking = placing(CLUB, TABLE, 4, ranker="a")
    weighed = side_by_side({"a": ranking}, ASKED, at=[5], primary="precision@5", bootstrap=200)
    assert list(weighed.metrics["rankers"]["a"]) == ["hit@5", "ndcg@5", "mrr@5", "precision@5"]
    assert weighed.metrics["rankers"]["a"]["precision@5"]["mean"] == pytest.approx(1 / 5)


def test_what_is_wrong_is_said_in_the_owners_words(tmp_path: Path):
    """Rows in another order than anybody's numbers, items that only the rankings name."""
    asked = several(tmp_path, *(f"q{n},ann{n},film {n}" for n in reversed(range(20))))
    lists = {name: [[f"film {n}", f"{name} {n}"] for n in range(20)] for name in "ab"}
    paths = []
    for name, films in lists.items():
        rows = [f"q{n},{film},{-place}" for n in range(20) for place, film in enumerate(films[n])]
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("\n".join(["query,item,score", *rows]) + "\n")
    rankings, named = read_named(paths, asked)
    with pytest.raises(RankingFault, match=r"different candidates, first for query q19, item [ab] 19\. Rank the same"):
        side_by_side(rankings, named, bootstrap=200)
    short = {**rankings, "b": rankings["b"].filter(pl.col("query") != 3)}
    with pytest.raises(RankingFault, match="the first missing is query q16 of user ann16"):
        side_by_side(short, named, bootstrap=200)
