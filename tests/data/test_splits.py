"""Who is asked what, and what may be fitted on, on histories small enough to see."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.splits import Held, split
from llmrec.errors import DataFault
from llmrec.recipe.sections import Split

HISTORIES = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=8), min_size=1, max_size=8)


def table(times: list[list[int]], timed: bool = True) -> pl.DataFrame:
    """Item 100u + n is user u's n-th."""
    return pl.DataFrame(
        {
            "user": range(len(times)),
            "items": [[100 * u + n for n in range(len(own))] for u, own in enumerate(times)],
            "times": [sorted(own) if timed else None for own in times],
        },
        schema={"user": pl.Int32, "items": pl.List(pl.Int32), "times": pl.List(pl.Int64)},
    )


def asked(held: Held, fold: str) -> list[tuple[int, int, int]]:
    return held.queries.filter(pl.col("fold") == fold).select("user", "position", "target").rows()


def test_last_holds_back_two():
    held = split(table([[1, 2, 3, 4], [5, 6, 7]]), Split(method="last"), where="log")
    assert held.train.tolist() == [2, 1]
    assert asked(held, "valid") == [(0, 2, 2), (1, 1, 101)]
    assert asked(held, "test") == [(0, 3, 3), (1, 2, 102)]
    assert held.moments is None


def test_of_two_interactions_the_second_is_asked_for_and_one_alone_trains():
    held = split(table([[1, 2], [3]]), Split(method="last"), where="log")
    assert held.train.tolist() == [1, 1]
    assert asked(held, "valid") == []
    assert asked(held, "test") == [(0, 1, 1)]


def test_last_needs_no_times():
    held = split(table([[1, 2, 3]], timed=False), Split(method="last"), where="log")
    assert asked(held, "test") == [(0, 2, 2)]
    assert held.queries["time"].to_list() == [None, None]


WEEK = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 4, 8], [9, 9], [1, 5]]  # 17 interactions


@pytest.mark.parametrize(
    ("target", "valid", "test"),
    [
        ("last", [(0, 6, 6), (1, 1, 101), (3, 1, 301)], [(0, 9, 9), (1, 2, 102), (2, 1, 201)]),
        ("first", [(0, 4, 4), (1, 1, 101), (3, 1, 301)], [(0, 7, 7), (1, 2, 102)]),
        (
            "all",
            [(0, 4, 4), (0, 5, 5), (0, 6, 6), (1, 1, 101), (3, 1, 301)],
            [(0, 7, 7), (0, 8, 8), (0, 9, 9), (1, 2, 102), (2, 1, 201)],
        ),
    ],
)
def test_time_asks_for_what_came_after_the_moment(target: str, valid: list[object], test: list[object]):
    # In order: 0 0 1 1 2 3 4 4 5 5 6 7 8 8 9 9 9. At .65 of seventeen stands 7; at .65 of the eleven before it, 4.
    held = split(table(WEEK), Split(quantile=0.65, target=target), where="log")  # type: ignore[arg-type]
    assert held.moments == {"valid": 4, "test": 7}
    assert held.train.tolist() == [4, 1, 0, 1]
    assert asked(held, "valid") == valid
    assert asked(held, "test") == test


def test_who_came_after_the_moment_is_asked_with_what_they_did_since():
    held = split(table([[1, 2, 3, 4], [8, 9]]), Split(quantile=0.7), where="log")
    assert held.moments is not None
    assert held.moments["test"] == 8
    assert asked(held, "test") == [(1, 1, 101)]  # context: what user 1 did at 8, after the moment too


def test_no_times_and_no_split_by_time():
    with pytest.raises(DataFault, match=r"the interactions have no times.*split.method=last"):
        split(table([[1, 2]], timed=False), Split(), where="log")


def test_one_moment_for_everything_cannot_be_split():
    with pytest.raises(DataFault, match="leaves nothing before the test moment, of 5 interactions at 1 distinct"):
        split(table([[5, 5, 5], [5, 5]]), Split(), where="log")


def test_training_needs_a_moment_before_validation():
    with pytest.raises(DataFault, match="leaves nothing before the validation moment"):
        split(table([[1], [2], [3]]), Split(quantile=0.5), where="log")


def test_nobody_left_to_ask():
    with pytest.raises(DataFault, match="no user has anything left to ask for"):
        split(table([[1], [2], [3], [4], [5]]), Split(quantile=0.7), where="log")


@pytest.mark.parametrize("target", ["first", "last", "all"])
@given(HISTORIES, st.sampled_from(["last", "time"]), st.floats(0.1, 0.95))
def test_training_comes_before_validation_and_validation_before_test(
    target: str, times: list[list[int]], method: str, quantile: float
):
    worlds = table(times)
    try:
        held = split(worlds, Split(method=method, quantile=quantile, target=target), where="log")  # type: ignore[arg-type]
    except DataFault:
        return
    assert len(held.train) == len(times)
    assert held.queries["query"].to_list() == list(range(held.queries.height))
    for user, own in enumerate(times):
        train = int(held.train[user])
        assert 0 <= train <= len(own)
        mine = held.queries.filter(pl.col("user") == user)
        valid = mine.filter(pl.col("fold") == "valid")["position"].to_list()
        test = mine.filter(pl.col("fold") == "test")["position"].to_list()
        assert all(max(train, 1) <= p < len(own) for p in valid + test)
        assert not valid or not test or max(valid) < min(test)
        assert mine["target"].to_list() == [100 * user + p for p in mine["position"].to_list()]
        if held.moments is not None:
            ordered = sorted(own)
            assert train == sum(t < held.moments["valid"] for t in own)
            assert all(held.moments["valid"] <= ordered[p] < held.moments["test"] for p in valid)
            assert all(ordered[p] >= held.moments["test"] for p in test)


@given(HISTORIES)
def test_all_asks_for_every_interaction_after_the_moment_that_has_a_context(times: list[list[int]]):
    try:
        held = split(table(times), Split(quantile=0.5, target="all"), where="log")
    except DataFault:
        return
    held_back = sum(len(own) - max(int(t), 1) for own, t in zip(times, held.train, strict=True))
    assert held.queries.height == held_back
