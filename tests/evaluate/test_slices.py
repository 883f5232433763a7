from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.data.larder import Larder
from llmrec.evaluate.per_query import Values, per_query
from llmrec.evaluate.slices import (
    SLICES,
    groups,
    history_length,
    is_repeat,
    item_age,
    sliced,
    target_popularity,
    title_length,
)
from tests.evaluate.club import DAY, club, offered, placing


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


def asked(larder: Larder, *targets: int) -> pl.DataFrame:
    """The first members' queries, for other books."""
    return larder.queries.head(len(targets)).with_columns(target=pl.Series(targets, dtype=pl.Int32))


def test_popularity_comes_in_deciles_where_each_holds_two_hundred_queries():
    enough, few = club(members=2000, books=4000), club(members=1999, books=4000)
    spread = np.arange(2000)
    for larder, parts in ((enough, 10), (few, 3)):
        counts = larder.catalogue.with_columns(count=pl.int_range(4000))
        uneven = Larder(larder.histories, counts, larder.queries, larder.users)
        queries = larder.queries.with_columns(target=pl.Series(spread[: larder.queries.height], dtype=pl.Int32))
        assert len(SLICES["target_popularity"](uneven, queries)) == parts
    assert len(SLICES["title_length"](enough, enough.queries)) == 3


def test_an_item_is_as_old_as_its_first_interaction_in_training():
    larder = club(members=10)  # member 0 read book 0 on day 0, book 3 on day 3; member m's query is on day 4
    assert item_age(larder, asked(larder, 0, 3, 3)).tolist() == [4, 3, 3]
    later = asked(larder, 3).with_columns(time=pl.lit(30 * DAY + 5))
    assert item_age(larder, later).tolist() == [30]


def test_an_item_that_training_met_only_after_the_query_is_new():
    larder = club(members=10)
    assert item_age(larder, asked(larder, 3).with_columns(time=pl.lit(DAY))).tolist() == [0]


def test_cold_items_have_no_age_and_are_a_slice_of_their_own():
    larder = club(members=10)  # books 13 and up are nobody's
    queries = asked(larder, 0, 40, 1, 41)
    assert item_age(larder, queries).tolist() == [4, -1, 4, -1]
    assert [rows.tolist() for rows in SLICES["cold_items"](larder, queries).values()] == [
        [True, False, True, False],
        [False, True, False, True],
    ]
    assert list(SLICES["cold_items"](larder, queries)) == ["met in training", "never met"]


def test_without_times_nothing_has_an_age():
    larder = club(members=10)
    timeless = larder.histories.with_columns(times=pl.lit(None, pl.List(pl.Int64)))
    bare = Larder(timeless, larder.catalogue, larder.queries.with_columns(time=pl.lit(None, pl.Int64)), larder.users)
    assert SLICES["item_age"](bare, bare.queries) == {}


def test_a_target_that_the_history_holds_is_a_repeat():
    larder = club(members=10)
    queries = asked(larder, 2, 9)  # member 0 read 0 to 3, member 1 read 1 to 4
    assert is_repeat(larder, queries).tolist() == [True, False]
    assert list(SLICES["repeat_or_new"](larder, queries)) == ["new", "repeat"]


def test_what_has_no_number_is_in_no_group():
    parts = groups(np.array([-1, 3, 1, -1, 2]))
    assert {name: rows.tolist() for name, rows in parts.items()} == {
        "1": [False, False, True, False, False],
        "2": [False, False, False, False, True],
        "3": [False, True, False, False, False],
    }
    assert groups(np.array([-1, -1])) == {}
