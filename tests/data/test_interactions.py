"""Which rows are interactions, and what is said of the others."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.buckets import COUNT
from llmrec.data.dropped import Dropped
from llmrec.data.interactions import Arrivals
from llmrec.data.keys import Keys, key
from llmrec.data.moments import Moments, times
from llmrec.data.readers import Rows
from llmrec.data.salvage import nothing_bad
from llmrec.data.shuffle import settled
from llmrec.errors import DataFault
from llmrec.recipe.sections import Data


def rows(**columns: list[object]) -> Rows:
    table = pl.DataFrame(columns, strict=False)
    return Rows(table.insert_column(0, pl.Series("line", range(2, table.height + 2), dtype=pl.Int64)), nothing_bad())


def kept(found: Rows, min_rating: float | None = None) -> tuple[pl.DataFrame, Dropped]:
    """What is left of a file, read in one piece: line, user, item, time."""
    with TemporaryDirectory() as folder:
        dropped = Dropped()
        data = Data(path="log.csv", min_rating=min_rating)
        arrivals = Arrivals(data, file="log.csv", dropped=dropped, folder=Path(folder), memory=1e9)
        arrivals.take(found)
        names = settled(arrivals)
        every = [arrivals.rows.take(number) for number in range(COUNT)]
        table = pl.concat(part for part in every if part is not None).sort("line")
        users, items = names.users[table["user"]], names.items[table["item"]]
        return table.with_columns(users.alias("user"), items.alias("item")), dropped


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
        (["-1", "5"], [None, 5]),  # a word for none
        (["-5.5", "5"], [None, 5_000_000]),
        (["1969-12-31", "1970-01-02"], [-86_400, 86_400]),  # a date is a date
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


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["1700000000", "1700000001000"], [1_700_000_000_000_000, 1_700_000_001_000_000]),
        (["1700000000.5", "1700000001000"], [1_700_000_000_500_000, 1_700_000_001_000_000]),
        (["1700000000", "1700000001000000", "1700000002000000000"], [1_700_000_000 + n for n in range(3)]),
        (["1700000000", "1700000001", "0", "1700000001000"], [1_700_000_000, 1_700_000_001, None, 1_700_000_001]),
        (["3", "4", "5"], [3, 4, 5]),  # one size only: whatever it counts
    ],
)
def test_seconds_among_milliseconds_are_read_by_their_size(written: list[str], read: list[int | None]):
    micro = [moment * 1_000_000 if moment is not None and 5 < moment < 1e12 else moment for moment in read]
    assert times(pl.Series(written), where="log.csv").to_list() == micro


def test_times_of_several_sizes_that_nobody_can_tell_apart_are_refused():
    with pytest.raises(DataFault, match=r"log: times of several sizes .* 3 like s \(5\), 1 like ms \(1700000001000\)"):
        times(pl.Series(["5", "6", "7", "1700000001000"]), where="log")


PIECES = st.lists(
    st.sampled_from(["", "x", "7", "7.5", "-1", "1700000000", "1700000000123", "2024-01-01", "2024-01-01 00:00:00.5",
                     "nan"]),
    min_size=1, max_size=12,
)  # fmt: skip


@given(PIECES, st.integers(1, 12))
def test_a_column_in_pieces_is_the_column(written: list[str], size: int):
    moments = Moments()
    seen = [moments.seen(pl.Series(written[at : at + size])) for at in range(0, len(written), size)]
    try:
        moments.check(where="log")
    except DataFault as fault:
        with pytest.raises(DataFault) as whole:
            times(pl.Series(written), where="log")
        assert str(whole.value) == str(fault)
        return
    settled_in_pieces = moments.settle(pl.concat(seen))
    usable = settled_in_pieces["time"].set(settled_in_pieces["fault"].is_not_null(), None)
    assert usable.to_list() == times(pl.Series(written), where="log").to_list()


IDS = st.lists(st.sampled_from(["1", "1.0", " 1", "2.0", "2", "ann", "", None, "nan"]), max_size=10)


@given(IDS, st.integers(1, 10))
def test_identifiers_in_pieces_are_the_identifiers(ids: list[str | None], size: int):
    keys = Keys()
    pieces = [pl.Series(ids[at : at + size], dtype=pl.String) for at in range(0, len(ids), size)]
    numbers = [number for piece in pieces for number in keys.numbered(piece).to_list()]
    names, places = keys.settled()
    found = [None if number is None else names[int(places[number])] for number in numbers]
    assert found == key(pl.Series(ids, dtype=pl.String)).to_list()
    assert names.to_list() == sorted({name for name in found if name is not None})


def test_numbers_that_one_shard_keeps_as_floats_are_the_same_numbers():
    keys = Keys()
    numbers = [keys.numbered(pl.Series(ids)) for ids in ([1, 2], [2.0, 1.0], ["1", " 2 "])]
    names, places = keys.settled()
    assert names.to_list() == ["1", "2"]
    assert [places[own.to_numpy()].tolist() for own in numbers] == [[0, 1], [1, 0], [0, 1]]
    buckets = [keys.buckets(own.to_numpy(), 64).tolist() for own in numbers]
    assert buckets == [buckets[0], buckets[0][::-1], buckets[0]]
