"""Order, repeats, the k-core and codes, on handfuls of interactions."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.dropped import Dropped
from llmrec.data.histories import codes, core, histories, in_order, without_repeats
from llmrec.errors import DataFault

ROW = st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz"), st.integers(0, 5))


def log(rows: list[tuple[str, str, int | None]]) -> pl.DataFrame:
    schema = {"user": pl.String, "item": pl.String, "time": pl.Int64}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.insert_column(0, pl.Series("line", range(2, len(rows) + 2), dtype=pl.Int64))


def seen(table: pl.DataFrame) -> list[tuple[str, str]]:
    return table.select("user", "item").rows()


def test_equal_times_keep_the_order_of_the_file():
    table = in_order(log([("b", "z", 1), ("a", "y", 2), ("a", "x", 1), ("a", "w", 2), ("a", "v", 1)]))
    assert seen(table) == [("a", "x"), ("a", "v"), ("a", "y"), ("a", "w"), ("b", "z")]


def test_without_times_the_file_is_the_order():
    assert seen(in_order(log([("a", "z", None), ("b", "y", None), ("a", "x", None)]))) == [
        ("a", "z"),
        ("a", "x"),
        ("b", "y"),
    ]


@pytest.mark.parametrize(
    ("policy", "left", "gone"),
    [("first", ["x", "y"], [4]), ("last", ["y", "x"], [2]), ("keep", ["x", "y", "x"], [])],
)
def test_meeting_an_item_again(policy: str, left: list[str], gone: list[int]):
    dropped = Dropped()
    ordered = in_order(log([("a", "x", 1), ("a", "y", 2), ("a", "x", 3)]))
    kept = without_repeats(ordered, policy, file="log", dropped=dropped)  # type: ignore[arg-type]
    assert kept["item"].to_list() == left
    assert dropped.table()["line"].to_list() == gone


def test_one_user_may_fall_with_an_item_and_pull_another_down():
    # Item y falls first (one user), then b has one interaction left and falls, then x has a only.
    table = in_order(log([("a", "x", 1), ("a", "z", 2), ("b", "x", 3), ("b", "y", 4), ("c", "z", 5), ("c", "v", 6)]))
    with pytest.raises(DataFault, match=r"nothing is left of 6 interactions by 3 users .*most active user has 2"):
        core(table, min_user=2, min_item=2, file="log", dropped=Dropped())


def test_one_user_alone_cannot_be_compared():
    table = in_order(log([("a", "x", 1), ("a", "z", 2), ("b", "x", 3)]))
    with pytest.raises(DataFault, match="only one user is left, 'a' with 2 interactions"):
        core(table, min_user=2, min_item=1, file="log", dropped=Dropped())


@given(st.lists(ROW, min_size=1, max_size=40), st.integers(1, 3), st.integers(1, 3))
def test_the_core_holds_and_loses_nothing_unaccounted_for(rows: list[tuple[str, str, int]], users: int, items: int):
    dropped = Dropped()
    ordered = in_order(log(rows))
    try:
        kept = core(ordered, min_user=users, min_item=items, file="log", dropped=dropped)
    except DataFault:
        return
    assert kept.group_by("user").len()["len"].min() >= users  # type: ignore[operator]
    assert kept.group_by("item").len()["len"].min() >= items  # type: ignore[operator]
    entries = dropped.table()["line"].to_list()
    assert sorted(kept["line"].to_list() + entries) == ordered["line"].sort().to_list()


@given(st.sets(st.text(max_size=4), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_codes_are_a_permutation_that_forgets_the_order_of_rows(keys: set[str], shuffler: object):
    listed = sorted(keys)
    first = codes(pl.Series(listed * 2), seed=7, purpose="item")
    shuffler.shuffle(listed)  # type: ignore[attr-defined]
    again = codes(pl.Series(listed), seed=7, purpose="item")
    assert first.sort("key").equals(again.sort("key"))
    assert sorted(first["code"].to_list()) == list(range(len(keys)))


def test_another_seed_or_purpose_draws_other_codes():
    keys = pl.Series([str(n) for n in range(100)])
    drawn = [codes(keys, seed=s, purpose=p)["code"].to_list() for s, p in ((7, "item"), (8, "item"), (7, "user"))]
    assert drawn[0] != drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0] != sorted(drawn[0])


def test_a_history_is_one_row_oldest_first():
    ordered = in_order(log([("b", "y", 3), ("a", "x", 2), ("b", "x", 1)]))
    users = pl.DataFrame({"key": ["a", "b"], "code": [1, 0]}, schema_overrides={"code": pl.Int32})
    items = pl.DataFrame({"key": ["x", "y"], "code": [5, 4]}, schema_overrides={"code": pl.Int32})
    assert histories(ordered, users, items).rows() == [(0, [5, 4], [1, 3]), (1, [5], [2])]
