from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.evaluate.per_query import Values, per_query
from llmrec.evaluate.slices import groups, history_length, sliced, target_popularity, title_length
from tests.evaluate.club import club, offered, placing


def test_groups_hold_about_as_many_queries_each():
    assert [int(rows.sum()) for rows in groups(np.arange(300)).values()] == [100, 100, 100]
    assert list(groups(np.arange(300))) == ["0 to 99", "100 to 199", "200 to 299"]


def test_equal_numbers_stay_together():
    assert {name: int(rows.sum()) for name, rows in groups(np.array([0] * 80 + [1] * 10 + [7] * 10)).items()} == {
        "0": 80,
        "1 to 7": 20,
    }


def test_every_query_is_in_exactly_one_group():
    numbers = np.random.default_rng(0).poisson(3, 500)
    assert (np.sum(list(groups(numbers).values()), axis=0) == 1).all()


def test_nobody_makes_no_groups():
    assert groups(np.empty(0, dtype=int)) == {}


def test_slices_measure_what_they_are_named_after():
    larder = club(members=6)
    counts = dict(larder.catalogue.select("item", "count").iter_rows())
    assert target_popularity(larder, larder.queries).tolist() == [counts[t] for t in larder.queries["target"]]
    assert history_length(larder, larder.queries).tolist() == [4] * 6
    assert title_length(larder, larder.queries).tolist() == [len(larder.texts[t]) for t in larder.queries["target"]]


def test_a_ranker_that_finds_only_popular_books_is_seen_to():
    larder = club(members=60, books=50)  # books 0 to 9 are read by two members more
    table = offered(larder)
    popular = target_popularity(larder, larder.queries)
    ranks = np.where(popular > np.median(popular), 1, 5).tolist()
    values = Values.of(per_query("uniform", {"me": [placing(larder, table, ranks, ranker="me")]}, larder.queries, [1]))
    found = sliced(values, larder, larder.queries, "hit@1", count=200, seed=7)["target_popularity"]
    means = [group["rankers"]["me"]["mean"] for group in found.values()]
    assert means[0] == 0
    assert means[-1] == 1
    assert sum(group["queries"] for group in found.values()) == 60
    assert set(found[next(iter(found))]) == {"queries", "users", "rankers"}


def test_a_slice_on_which_all_are_alike_is_left_out():
    larder = club(members=12)
    table = offered(larder)
    values = Values.of(per_query("uniform", {"me": [placing(larder, table, 1, ranker="me")]}, larder.queries, [1]))
    assert "history_length" not in sliced(values, larder, larder.queries, "hit@1", count=200, seed=7)


@pytest.mark.parametrize("name", ["target_popularity", "title_length"])
def test_groups_come_lowest_first(name: str):
    larder = club()
    table = offered(larder)
    values = Values.of(per_query("uniform", {"me": [placing(larder, table, 1, ranker="me")]}, larder.queries, [1]))
    lows = [int(g.split(" ")[0]) for g in sliced(values, larder, larder.queries, "hit@1", count=200, seed=7)[name]]
    assert lows == sorted(lows)


def test_an_item_without_a_row_in_training_counts_as_never_seen():
    larder = club(members=3)
    assert target_popularity(larder, larder.queries.with_columns(target=pl.lit(49, pl.Int32))).tolist() == [0, 0, 0]
