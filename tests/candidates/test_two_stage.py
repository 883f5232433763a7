from __future__ import annotations

import numpy as np
import polars as pl

from llmrec.candidates.two_stage import two_stage
from llmrec.ranking import ranked


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
