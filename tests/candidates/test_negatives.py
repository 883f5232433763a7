from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.candidates.negatives import negatives
from llmrec.data.larder import Larder
from llmrec.errors import DataFault
from llmrec.ranking import ranked
from tests.candidates.shop import asked, shop

MIXED = {"uniform": 0.4, "popular": 0.2, "retrieved": 0.4}


def mined(queries: pl.DataFrame, items: list[int]) -> pl.DataFrame:
    """A ranking that lists the same items for every query, best first, with scores 0, -1, -2, ..."""
    query = np.repeat(queries["query"].to_numpy(), len(items))
    item = np.tile(np.asarray(items), queries.height)
    return ranked(query, item, np.tile(-np.arange(len(items), dtype=float), queries.height), ranker="miner", seed=7)


def many(larder: Larder, films: list[int], count: int) -> pl.DataFrame:
    """The customer's last film, asked for `count` times."""
    return asked([(query, 0, films, -1) for query in range(count)], fold="train")


def test_rejected_films_are_never_borrowed_before_or_later_and_never_twice():
    films = [0, 1, 2, 3, 4, 5]
    larder = shop([films], films=30, counts=[50] * 6 + [1] * 24)
    queries = asked([(query, 0, films, 3) for query in range(50)], fold="train")
    table = negatives(queries, larder, 7, MIXED, retrieved=mined(queries, list(range(30))), seed=7)
    for items in table["items"].to_list():
        assert len(set(items)) == 7
        assert not set(items) & set(films)


def test_nothing_that_reads_like_a_borrowed_film_is_rejected_and_no_two_read_alike():
    titles = ["Heat", "Hamlet", "Up", "Hamlet ", "Alien", "Alien", "Alien", "Big"]
    larder = shop([[0, 1]], films=titles)
    items = negatives(larder.queries, larder, 3, {"uniform": 1}, retrieved=None, seed=7)["items"][0].to_list()
    assert sorted(titles[item] for item in items) == ["Alien", "Big", "Up"]


def test_no_draw_reads_the_target():
    films = [0, 1, 2, 3]
    larder = shop([films], films=40)
    queries = many(larder, films, 20)
    ranking = mined(queries, list(range(40)))
    whole = negatives(queries, larder, 5, MIXED, retrieved=ranking, seed=7)
    blind = negatives(queries.select("query", "user"), larder, 5, MIXED, retrieved=ranking, seed=7)
    assert whole.equals(blind)


def test_streams_of_one_query_are_the_same_whatever_was_borrowed():
    """Two customers' histories decide what is taken out, not what is drawn: where neither does, both get the same."""
    queries = asked([(3, 0, [0, 1], -1)])
    one = negatives(queries, shop([[0, 1]], films=5000), 5, {"uniform": 1}, retrieved=None, seed=7)
    other = negatives(queries, shop([[2, 3]], films=5000), 5, {"uniform": 1}, retrieved=None, seed=7)
    assert one.equals(other)


def test_rank_and_score_say_where_a_retrieved_film_stood():
    films = [0, 1]
    larder = shop([films], films=30)
    queries = many(larder, films, 40)
    order = [9, 8, 7, 6, 5, 4, 3, 2]
    table = negatives(queries, larder, 4, {"uniform": 0.5, "retrieved": 0.5}, retrieved=mined(queries, order), seed=7)
    rows = table.explode("items", "source", "rank", "score")
    for item, source, rank, score in rows.select("items", "source", "rank", "score").iter_rows():
        if source == "retrieved":
            assert (rank, score) == (order.index(item) + 1, -order.index(item))
        else:
            assert (source, rank, score) == ("uniform", None, None)
    assert set(rows.filter(pl.col("source") == "retrieved")["items"]) == set(order)


@pytest.mark.parametrize(("k", "expected"), [(1, (0.4, 0.2, 0.4)), (5, (2, 1, 2)), (7, (2.8, 1.4, 2.8))])
def test_shares_hold_on_average_and_to_one_in_every_pair(k: int, expected: tuple[float, float, float]):
    films = [0, 1]
    larder = shop([films], films=200)
    queries = many(larder, films, 1000)
    table = negatives(queries, larder, k, MIXED, retrieved=mined(queries, list(range(2, 100))), seed=7)
    counts = np.array([[Counter(sources)[name] for name in MIXED] for sources in table["source"].to_list()])
    assert (counts.sum(axis=1) == k).all()
    assert (counts >= np.floor(expected)).all()
    assert (counts <= np.ceil(expected)).all()
    assert counts.mean(axis=0) == pytest.approx(expected, abs=0.08)


def test_popular_films_come_in_proportion_to_their_count():
    films = [0]
    larder = shop([films], films=5, counts=[1000, 60, 30, 10, 0])
    table = negatives(many(larder, films, 4000), larder, 1, {"popular": 1}, retrieved=None, seed=7)
    drawn = Counter(table["items"].explode(empty_as_null=False).to_list())
    assert drawn[0] == drawn[4] == 0
    assert [drawn[item] / 4000 for item in (1, 2, 3)] == pytest.approx([0.6, 0.3, 0.1], abs=0.04)


def test_what_an_exhausted_source_cannot_give_is_uniform_and_says_so():
    films = [0, 1, 2]
    larder = shop([films], films=30, counts=[9, 9, 9] + [0] * 27)
    queries = many(larder, films, 1)
    only = mined(queries, [0, 1, 7])
    sources = negatives(queries, larder, 4, {"retrieved": 1}, retrieved=only, seed=7)["source"][0].to_list()
    assert Counter(sources) == {"retrieved": 1, "uniform": 3}
    sources = negatives(queries, larder, 4, {"popular": 1}, retrieved=None, seed=7)["source"][0].to_list()
    assert Counter(sources) == {"uniform": 4}
    unranked = negatives(queries, larder, 2, {"retrieved": 1}, retrieved=only.clear(), seed=7)
    assert unranked["source"][0].to_list() == ["uniform", "uniform"]


def test_a_querys_negatives_do_not_depend_on_the_others():
    films = [0, 1]
    larder = shop([films], films=50)
    queries = many(larder, films, 12)
    whole = negatives(queries, larder, 5, {"uniform": 1, "popular": 1}, retrieved=None, seed=7)
    some = negatives(queries[3:6], larder, 5, {"uniform": 1, "popular": 1}, retrieved=None, seed=7)
    assert some.equals(whole[3:6])


@pytest.mark.parametrize(
    ("shares", "fault"),
    [
        ({"wishful": 1.0}, "wishful is no source of rejected items; known are uniform, popular, retrieved"),
        ({"retrieved": 0.5, "uniform": 0.5}, "there is no ranking of the training queries"),
        ({"uniform": 0.0}, "no source has a share above 0"),
    ],
)
def test_shares_that_cannot_be_met_are_refused(shares: dict[str, float], fault: str):
    larder = shop([[0, 1]], films=9)
    with pytest.raises(DataFault, match=fault):
        negatives(larder.queries, larder, 2, shares, retrieved=None, seed=7)


def test_a_customer_who_has_left_too_little_is_named():
    larder = shop([[0, 1, 2]], films=["a", "b", "c", "d", "d", "e"])
    with pytest.raises(DataFault, match=r"user 0 has left 2 items untouched .* pairs.rejected is 3"):
        negatives(larder.queries, larder, 3, {"uniform": 1}, retrieved=None, seed=7)


@given(
    k=st.integers(1, 12),
    shares=st.dictionaries(st.sampled_from(["uniform", "popular"]), st.floats(0.01, 5), min_size=1),
    seed=st.integers(0, 2**32),
)
def test_every_pair_gets_k(k: int, shares: dict[str, float], seed: int):
    larder = shop([[0, 1, 2]], films=20)
    assert len(negatives(larder.queries, larder, k, shares, retrieved=None, seed=seed)["items"][0]) == k


def test_draws_are_those_that_published_numbers_were_made_with():
    """Written down before there were other sources and guards: a new one may not move a draw of the old ones."""
    films = [0, 1, 2]
    larder = shop([films], films=40, counts=list(range(40)))
    queries = many(larder, films, 4)
    table = negatives(queries, larder, 5, MIXED, retrieved=mined(queries, list(range(39, 19, -1))), seed=7)
    assert table["items"].to_list() == [
        [10, 22, 36, 33, 24], [29, 25, 34, 39, 24], [27, 24, 15, 5, 23], [6, 28, 25, 30, 24],
    ]  # fmt: skip
    assert ["".join(name[0] for name in names) for names in table["source"].to_list()] == [
        "urupr", "rurpu", "rupur", "pruur",
    ]  # fmt: skip
    assert table["rank"][1].to_list() == [11, None, 6, None, None]


def test_no_queries_get_no_rows():
    larder = shop([[0, 1]], films=9)
    table = negatives(larder.queries.clear(), larder, 3, {"uniform": 1}, seed=7)
    assert (table.height, table.schema["items"]) == (0, pl.List(pl.Int32))
