from __future__ import annotations

import numpy as np
import polars as pl

from llmrec.candidates.two_stage import completed, two_stage
from llmrec.ranking import places, ranked


def retrieved(queries: int, listed: int) -> pl.DataFrame:
    """Every query ranks films 0, 1, 2, ... in that order."""
    query = np.repeat(np.arange(queries), listed)
    item = np.tile(np.arange(listed), queries)
    return ranked(query, item, -item.astype(float), ranker="retriever", seed=7)


def test_the_first_n_of_the_ranking_are_offered_and_nothing_else():
    table = two_stage(retrieved(queries=3, listed=10), 4, seed=7)
    assert [sorted(items) for items in table["items"].to_list()] == [[0, 1, 2, 3]] * 3
    assert table["source"].to_list() == [["retrieved"] * 4] * 3


def test_the_order_of_the_list_says_nothing_about_the_ranking():
    firsts = [items[0] for items in two_stage(retrieved(queries=3000, listed=5), 3, seed=7)["items"].to_list()]
    assert all(abs(firsts.count(item) - 1000) < 5 * np.sqrt(3000 * 2 / 9) for item in range(3))


def test_a_query_that_ranks_fewer_keeps_them_all():
    assert two_stage(retrieved(queries=1, listed=2), 50, seed=7)["items"].list.len().to_list() == [2]


def test_a_querys_order_does_not_depend_on_the_others():
    ranking = retrieved(queries=9, listed=6)
    alone = two_stage(ranking.filter(pl.col("query") == 4), 6, seed=7)
    assert alone.equals(two_stage(ranking, 6, seed=7).filter(pl.col("query") == 4))


def scored(ranker: str, **lists: float) -> pl.DataFrame:
    """One query's films by their scores: `f3=0.5` is film 3."""
    items = np.array([int(name[1:]) for name in lists])
    return ranked(np.zeros(len(items)), items, np.array([*lists.values()]), ranker=ranker, seed=7)


def placed(ranking: pl.DataFrame) -> dict[int, float]:
    return dict(ranking.select("item", "score").iter_rows())


def test_below_what_was_reranked_the_retriever_goes_on():
    whole = completed(scored("orpo", f1=-9.0, f0=-3.0), scored("retriever", f0=0.9, f1=0.8, f2=0.8, f3=0.1), seed=7)
    assert placed(whole) == {0: -1, 1: -2, 2: -3, 3: -4}  # film 2 tied with film 1, and was not reranked with it
    assert whole["ranker"].unique().to_list() == ["orpo"]


def test_what_tied_ties_still():
    whole = completed(scored("orpo", f0=1, f1=2, f2=1), scored("retriever", f0=9, f1=9, f2=9, f3=8, f4=8, f5=7), seed=7)
    assert placed(whole) == {1: -1, 0: -2, 2: -2, 3: -3, 4: -3, 5: -4}


def test_a_deeper_list_than_the_retriever_s_loses_nothing():
    assert placed(completed(scored("orpo", f0=1, f1=2), scored("retriever", f0=5), seed=7)) == {1: -1, 0: -2}


def test_the_whole_says_of_the_first_n_what_the_reranked_list_says():
    ranking = retrieved(queries=30, listed=12)
    queries = pl.DataFrame(
        {"query": np.arange(30), "target": np.arange(30) % 12}, schema_overrides={"target": pl.Int32}
    )
    luck = np.random.default_rng(0).integers(0, 3, size=30 * 5)  # many ties
    first = ranking.filter(pl.col("rank") <= 5)
    reranked = ranked(first["query"].to_numpy(), first["item"].to_numpy(), luck, ranker="orpo", seed=7)
    alone, whole = (places(one, queries) for one in (reranked, completed(reranked, ranking, seed=7)))
    found = alone["above"].is_not_null()
    assert alone.filter(found).equals(whole.filter(found))
    assert whole.filter(~found)["above"].to_list() == [t for t in queries["target"] if t >= 5]
