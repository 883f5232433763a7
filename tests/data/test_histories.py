"""Order, repeats and codes, on handfuls of interactions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.histories import codes, in_order, stays

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def log(rows: list[tuple[str, str, int | None]]) -> pl.DataFrame:
    """Interactions whose keys are letters, numbered by their place in the alphabet, so that equal keys are equal."""
    schema = {"user": pl.String, "item": pl.String, "time": pl.Int64}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    places = [
        pl.col(name).replace_strict(list(LETTERS), list(range(26)), return_dtype=pl.UInt32) for name in ("user", "item")
    ]
    return table.with_columns(places).with_columns(line=pl.int_range(2, len(rows) + 2))


def seen(table: pl.DataFrame) -> list[tuple[str, str]]:
    return [(LETTERS[user], LETTERS[item]) for user, item in table.select("user", "item").iter_rows()]


def test_equal_times_keep_the_order_of_the_file():
    table = in_order(log([("b", "z", 1), ("a", "y", 2), ("a", "x", 1), ("a", "w", 2), ("a", "v", 1)]))
    assert seen(table) == [("a", "x"), ("a", "v"), ("a", "y"), ("a", "w"), ("b", "z")]


def test_without_times_the_file_is_the_order():
    assert seen(in_order(log([("a", "z", None), ("b", "y", None), ("a", "x", None)]))) == [
        ("a", "z"),
        ("a", "x"),
        ("b", "y"),
    ]


@pytest.mark.parametrize(("policy", "left"), [("first", ["x", "y"]), ("last", ["y", "x"]), ("keep", ["x", "y", "x"])])
def test_meeting_an_item_again(policy: str, left: list[str]):
    ordered = in_order(log([("a", "x", 1), ("a", "y", 2), ("a", "x", 3)]))
    kept = ordered.filter(stays(ordered, policy, None))  # type: ignore[arg-type]
    assert [item for _, item in seen(kept)] == left


@pytest.mark.parametrize(("policy", "times"), [("first", [2, 3]), ("last", [3, 4])])
def test_what_was_bought_stays_bought_however_often_it_was_looked_at(policy: str, times: list[int]):
    ordered = in_order(log([("a", "x", 1), ("a", "x", 2), ("a", "y", 3), ("a", "x", 4), ("a", "x", 5)]))
    bought = np.array([False, True, False, True, False])
    kept = ordered.filter(stays(ordered, policy, bought))  # type: ignore[arg-type]
    assert kept["time"].to_list() == times


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
