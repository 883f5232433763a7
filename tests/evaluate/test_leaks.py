from __future__ import annotations

from dataclasses import replace

import polars as pl

from tests.evaluate.audited import CLUB, found, levels, of
from tests.evaluate.club import club, offered


def test_leave_last_out_is_warned_about_and_time_is_not():
    ((level, what),) = of(found(method="last"), "future-training")
    assert level == "warns"
    assert what.startswith("leave-last-out: 0 training interactions")
    assert not of(found(method="time"), "future-training")


def test_training_after_the_test_moment_disqualifies():
    """One member starts a year late: what they did in training lies after others' targets."""
    times = [
        [t + 366 * 86_400 for t in row] if u == 7 else row for u, row in enumerate(CLUB.histories["times"].to_list())
    ]
    late = replace(CLUB, histories=CLUB.histories.with_columns(times=pl.Series(times)))
    assert of(found(late), "future-training") == [
        (
            "disqualifies",
            "4 training interactions (0.25 %), of 1 users, are later than the first target that is asked for",
        )
    ]
    ((level, what),) = of(found(late, method="last"), "future-training")
    assert level == "warns"
    assert what.startswith("leave-last-out: 4 training interactions")


def test_a_target_that_was_trained_on_disqualifies():
    peeked = replace(CLUB, histories=CLUB.histories.with_columns(train=pl.lit(5, pl.Int32)))
    assert levels(found(peeked), "400 targets (100 %) are training interactions of their own user") == ["disqualifies"]


def test_targets_at_the_time_of_the_book_before_are_counted():
    times = [[*row[:-1], row[-2]] if u < 100 else row for u, row in enumerate(CLUB.histories["times"].to_list())]
    tied = replace(CLUB, histories=CLUB.histories.with_columns(times=pl.Series(times)))
    assert levels(found(tied), "25 % of targets have the time of the interaction before them") == ["warns"]


def test_a_larder_without_times_is_audited_all_the_same():
    timeless = replace(
        CLUB,
        histories=CLUB.histories.with_columns(times=pl.lit(None, pl.List(pl.Int64))),
        queries=CLUB.queries.with_columns(time=pl.lit(None, pl.Int64)),
    )
    assert not levels(found(timeless, method="last"), "time of the interaction before")
    assert levels(found(timeless, method="time"), "no times") == ["warns"]


def test_books_that_nobody_read_in_training_are_noted():
    cold = club(members=20, books=50)
    assert levels(found(cold, offered(cold, 10)), "1 targets (5 %) never occur in training") == ["notes"]
