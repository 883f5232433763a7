"""What is never rejected, and how often that was needed."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from llmrec.candidates.alike import Alike
from llmrec.candidates.negatives import negatives
from llmrec.errors import DataFault
from llmrec.recipe.sections import Guard
from tests.candidates.shop import asked, at_home, shop

DAY = 86_400
FILMS = [0, 1, 2, 3, 4]


def drawn(after: float | None, times: list[int] | None = None, place: int = 1) -> set[int]:
    """What uniform draws may give, of seven films, at one place of a customer's five."""
    larder = shop([FILMS], films=7)
    larder = at_home(larder, times=[None if times is None else [DAY * day for day in times]])  # type: ignore[list-item]
    queries = asked([(n, 0, FILMS, place) for n in range(200)], fold="train")
    if times is not None:
        queries = queries.with_columns(pl.lit(DAY * times[place], pl.Int64).alias("time"))
    table = negatives(queries, larder, 1, {"uniform": 1}, guard=Guard(after=after), seed=7)
    return set(table["items"].explode(empty_as_null=False))


@pytest.mark.parametrize(
    ("after", "expected"), [(None, {5, 6}), (5, {4, 5, 6}), (1.5, {3, 4, 5, 6}), (0, {2, 3, 4, 5, 6})]
)
def test_what_is_taken_up_within_the_horizon_after_the_query_is_never_rejected(after: float | None, expected: set[int]):
    assert drawn(after, [0, 1, 2, 3, 60]) == expected


def test_without_times_only_the_order_tells_before_from_after():
    assert drawn(0) == {2, 3, 4, 5, 6}
    with pytest.raises(DataFault, match="guard.after read the clock"):
        drawn(1)


def test_near_duplicates_of_what_was_taken_up_are_left_out_where_that_is_asked_for():
    titles = ["The Shawshank Redemption", "Shawshank Redemption, The", "Fargo", "Alien", "Big", "Up"]
    larder = shop([[0, 2]], films=titles)
    queries = asked([(n, 0, [0, 2], 1) for n in range(100)], fold="train")
    loose = negatives(queries, larder, 1, {"uniform": 1}, seed=7)
    strict = negatives(queries, larder, 1, {"uniform": 1}, guard=Guard(near_text=0.8), seed=7)
    assert set(loose["items"].explode(empty_as_null=False)) == {1, 3, 4, 5}
    assert set(strict["items"].explode(empty_as_null=False)) == {3, 4, 5}
    assert loose["near_text"].sum() == 0 < strict["near_text"].sum()


def test_no_two_rejected_are_near_duplicates_either_and_too_few_are_named():
    titles = ["Up", "Mission Impossible", "Mission: Impossible", "Mission-Impossible!", "Alien"]
    larder = shop([[0, 0]], films=titles)
    guard = Guard(near_text=0.9)
    table = negatives(larder.queries, larder, 2, {"uniform": 1}, guard=guard, seed=7)
    assert len(set(table["items"][0]) & {1, 2, 3}) == 1
    with pytest.raises(
        DataFault,
        match="has left 4 items untouched .*, 2 of which are not near each other, .* raise pairs.guard.near_text",
    ):
        negatives(larder.queries, larder, 3, {"uniform": 1}, guard=guard, seed=7)


def test_each_draw_that_is_taken_out_is_counted_once_under_its_guard():
    """Of eight films alike in popularity one is touched, one reads like it, and one is drawn."""
    larder = shop([[0]], films=["Heat", "Heat ", "b", "c", "d", "e", "f", "g"])
    queries = asked([(n, 0, [0], 0) for n in range(4000)], fold="train")
    table = negatives(queries, larder, 1, {"uniform": 1}, seed=7)
    # Before one of six free films comes, each of the two others comes 1/6 times on average.
    assert table["touched"].mean() == pytest.approx(1 / 6, abs=0.02)
    assert table["same_title"].mean() == pytest.approx(1 / 6, abs=0.02)
    assert table["near_text"].sum() == 0


def test_a_film_that_was_given_already_is_no_guard_s_doing():
    larder = shop([[0]], films=3)
    queries = asked([(n, 0, [0], 0) for n in range(300)], fold="train")
    table = negatives(queries, larder, 2, {"uniform": 1}, seed=7)
    # Film 0 comes up 1/2 times before the first of two, and once before the second; repeats of the first do not count.
    assert table["touched"].mean() == pytest.approx(1.5, abs=0.25)
    assert table["same_title"].sum() == 0
    assert Counter(table["items"].list.sort().to_list().__iter__().__next__()) == Counter([1, 2])


def test_texts_are_compared_by_rare_trigrams_case_and_punctuation_aside():
    alike = Alike(["Toy Story", "toy story!", "Story of Toys", "Heat", "", "x" * 10_000])
    items, cosines = alike.to(0)
    assert items.tolist() == [1, 2]
    assert cosines[0] == pytest.approx(1)
    assert 0.3 < cosines[1] < 0.9
    for nothing in (3, 4, 5):
        assert len(alike.to(nothing)[0]) == 0


def test_what_reads_nearly_like_the_target_is_kept_from_sources_of_the_own_history_too():
    titles = ["Mission Impossible", "Mission: Impossible!", "Up", *(f"Film {'abcdefgh'[n]}" for n in range(8))]
    larder = at_home(shop([[1, 2, 0]], films=titles), ratings=[[1, 1, 5]], train=[3])
    queries = asked([(n, 0, [1, 2, 0], 2) for n in range(40)], fold="train")
    for near, expected in ((None, {1, 2}), (0.9, {2})):
        table = negatives(queries, larder, 1, {"rated_lower": 1}, guard=Guard(near_text=near), seed=7)
        assert set(table["items"].explode(empty_as_null=False)) == expected
        assert table["touched"].sum() == 0
        assert (table["near_text"].sum() > 0) == (near is not None)


def test_two_of_the_own_history_that_are_near_each_other_are_not_both_rejected():
    titles = ["Up", "Mission Impossible", "Mission: Impossible!", *(f"Film {'abcdefgh'[n]}" for n in range(8))]
    larder = at_home(shop([[1, 2, 0]], films=titles), ratings=[[1, 1, 5]], train=[3])
    queries = asked([(n, 0, [1, 2, 0], 2) for n in range(20)], fold="train")
    table = negatives(queries, larder, 2, {"rated_lower": 1}, guard=Guard(near_text=0.9), seed=7)
    assert all(len({1, 2} & set(row)) == 1 for row in table["items"].to_list())


def test_texts_of_the_same_trigrams_are_as_near_as_can_be():
    titles = ["One Flew Over the Cuckoo's Nest", "One Flew Over the Cuckoo s Nest", "A Beautiful Mind",
              "A beautiful mind.", "Alien", "Big fish", "Mission to Mars", "Story of us"]  # fmt: skip
    alike = Alike(titles)
    assert [alike.to(text)[1][0] for text in range(4)] == [1, 1, 1, 1]
    larder = shop([[0, 4]], films=titles)
    queries = asked([(n, 0, [0, 4], 1) for n in range(60)], fold="train")
    strict = negatives(queries, larder, 1, {"uniform": 1}, guard=Guard(near_text=1), seed=7)
    assert set(strict["items"].explode(empty_as_null=False)) == {2, 3, 5, 6, 7}


def test_the_horizon_begins_at_the_query_s_place_where_its_time_is_not_said():
    larder = at_home(shop([FILMS], films=7), times=[[DAY * day for day in (0, 1, 2, 3, 60)]])
    queries = asked([(n, 0, FILMS, 1) for n in range(200)], fold="train")  # without times of their own
    table = negatives(queries, larder, 1, {"uniform": 1}, guard=Guard(after=1.5), seed=7)
    assert set(table["items"].explode(empty_as_null=False)) == {3, 4, 5, 6}
