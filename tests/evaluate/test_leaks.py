from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from llmrec.evaluate.audit import findings as look
from llmrec.evaluate.case import Case, Mined, parts_of
from tests.evaluate.audited import CLUB, MINE, TABLE, found, levels, of
from tests.evaluate.club import club, listing, offered


def test_leave_last_out_is_noted_where_nobody_comes_later_and_time_is_not():
    assert of(found(method="last"), "future-training") == [
        (
            "notes",
            "leave-last-out cuts at no moment; here no training interaction is later than the first target that is "
            "asked for",
        )
    ]
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
            "4 training interactions (0.25 %), of 1 users, are later than the first target that is asked for, "
            "0.25 % later than half of the targets",
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


def test_the_same_question_twice_is_told():
    twice = pl.concat([CLUB.queries, CLUB.queries.head(40).with_columns(query=pl.col("query") + 1000)])
    findings = found(replace(CLUB, queries=twice), None)
    assert of(findings, "repeated-queries") == [
        ("warns", "40 queries (9.1 %) ask again what another asked, of the same user")
    ]


def test_a_question_of_two_folds_disqualifies():
    """Settings were chosen on what is measured."""
    valid = CLUB.queries.head(40).with_columns(query=pl.col("query") + 1000, fold=pl.lit("valid"))
    larder = replace(CLUB, queries=pl.concat([CLUB.queries, valid]))
    parts = parts_of(larder, larder.fold("test"))
    case = Case(**parts, rankings={"uniform": {"me": [MINE]}}, candidates={"uniform": TABLE})
    assert of(look(case), "repeated-queries") == [
        ("disqualifies", "40 queries (10 %) stand in another fold, too: settings were chosen on them")
    ]


def mined(seen: float, unseen: float) -> Mined:
    """A miner's lists: the target is among the first ten for these shares of training and of validation queries."""
    ranks = [[1 if query < share * 400 else None for query in range(400)] for share in (seen, unseen)]
    training, valid = (listing(CLUB, each, ranker="retriever") for each in ranks)
    return Mined(training, CLUB.queries, valid, CLUB.queries)


def test_a_miner_that_was_fitted_on_what_it_mines_is_told():
    findings = found(rest={"mined": mined(0.9, 0.3)})
    assert of(findings, "in-fold-mining") == [
        (
            "warns",
            "the ranker that negatives were mined from has 0.900 of the training queries' targets among its first 10, "
            "and 0.300 of validation's",
        )
    ]


@pytest.mark.parametrize(("seen", "unseen"), [(0.25, 0.2), (0.3, 0.9), (1.0, 1.0)])
def test_a_miner_that_knows_about_as_much_of_both_is_not(seen: float, unseen: float):
    assert not of(found(rest={"mined": mined(seen, unseen)}), "in-fold-mining")
