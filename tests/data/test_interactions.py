"""Which rows are interactions, and what is said of the others."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest

from llmrec.data.dropped import Dropped
from llmrec.data.interactions import interactions, key, times
from llmrec.data.readers import Rows
from llmrec.data.salvage import nothing_bad
from llmrec.errors import DataFault


def rows(**columns: list[object]) -> Rows:
    table = pl.DataFrame(columns, strict=False)
    return Rows(table.insert_column(0, pl.Series("line", range(2, table.height + 2), dtype=pl.Int64)), nothing_bad())


def kept(found: Rows, min_rating: float | None = None) -> tuple[pl.DataFrame, Dropped]:
    dropped = Dropped()
    return interactions(found, file="log.csv", min_rating=min_rating, dropped=dropped), dropped


def test_rows_without_a_user_an_item_or_a_time_are_left_out_each_with_its_reason():
    table, dropped = kept(
        rows(
            user=["ann", "NaN", "", "bob", "cid"],
            item=["1", "2", "3", None, "5"],
            time=["10", "11", "12", "13", "yesterday"],
        )
    )
    assert table.select("line", "user", "item", "time").rows() == [(2, "ann", "1", 10)]
    entries = dropped.table().select("line", "reason", "raw").rows()
    assert entries == [
        (3, "no user", "NaN,2,11"),
        (4, "no user", ",3,12"),
        (5, "no item", "bob,,13"),
        (6, "time cannot be read", "cid,5,yesterday"),
    ]


def test_every_row_is_either_kept_or_accounted_for():
    found = rows(user=["a", None, "c", "d"], item=["1", "2", "nan", "4"], rating=["5", "5", "5", "2"])
    table, dropped = kept(found, min_rating=3)
    assert table.height + dropped.table().height == 4
    assert dropped.counts() == {"no item": 1, "no user": 1, "rated below 3": 1}


def test_ratings_count_only_where_a_minimum_is_asked_for():
    found = rows(user=["a", "b"], item=["1", "2"], rating=["?", "4"])
    assert kept(found)[0].height == 2
    table, dropped = kept(found, min_rating=4)
    assert table["user"].to_list() == ["b"]
    assert dropped.counts() == {"rating is no number": 1}


def test_a_minimum_without_ratings_is_a_fault():
    with pytest.raises(DataFault, match="no rating column"):
        kept(rows(user=["a"], item=["1"]), min_rating=3)


def test_nothing_left_says_why():
    with pytest.raises(DataFault, match="no interaction is left of 2: 1 no item; 1 no user"):
        kept(rows(user=["", "b"], item=["1", ""]))


def test_times_that_nobody_can_read_are_a_fault_with_an_example():
    with pytest.raises(DataFault, match=r"none of 2 times can be read; the first is 'soon'.*ISO"):
        kept(rows(user=["a", "b"], item=["1", "2"], time=["soon", "later"]))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["10", "9", "x"], [10, 9, None]),
        (["10.0", "9", ""], [10, 9, None]),
        (["1588687728923"], [1588687728923]),  # milliseconds stay milliseconds
        (["1.5", "2"], [1_500_000, 2_000_000]),
        (["9007199254740993"], [9007199254740993]),  # past what a float can hold
        (["inf", "nan", "7"], [None, None, 7]),
        (["1970-01-01", "1970-01-02 00:00:01", "x"], [0, 86_401, None]),
        (["1970-01-01T00:00:00Z", "1970-01-01T00:00:01+01:00"], [0, -3599]),
        (["1970-01-01 00:00:00.5", "1970/01/01"], [500_000, 0]),
        (["2024-01-01", "2024", "2024-01-02"], [1704067200, None, 1704153600]),  # one stray number among dates
    ],
)
def test_times_as_people_write_them(written: list[str], read: list[int | None]):
    assert times(pl.Series(written), where="log.csv").to_list() == read


def test_times_as_parquet_types_them():
    assert times(pl.Series([date(1970, 1, 2)]), where="x").to_list() == [86_400]
    assert times(pl.Series([datetime(1970, 1, 1, 0, 0, 2)]), where="x").to_list() == [2]  # noqa: DTZ001
    assert times(pl.Series([3, None]), where="x").to_list() == [3, None]
    assert times(pl.Series([3.0, float("nan")]), where="x").to_list() == [3, None]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ([1, 2, None], ["1", "2", None]),
        ([1.0, 2.0, float("nan")], ["1", "2", None]),  # whole numbers that pandas made floats for want of one
        (["1.0", "2.0", ""], ["1", "2", None]),
        (["1.0", "a"], ["1.0", "a"]),
        ([" ann ", "None", "NULL", "na"], ["ann", None, None, "na"]),
        ([9007199254740993], ["9007199254740993"]),
    ],
)
def test_identifiers_as_people_write_them(written: list[object], read: list[str | None]):
    assert key(pl.Series(written)).to_list() == read
