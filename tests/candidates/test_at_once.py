"""Draws at once against the draws one by one."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.candidates.negatives import Negatives, at_once, negatives
from llmrec.candidates.negatives.at_once import AtOnce
from llmrec.errors import DataFault
from llmrec.recipe.sections import From, Guard
from tests.candidates.shop import asked, shop

SHARES = st.sampled_from(
    [
        {"uniform": 1.0},
        {"popular": 1.0},
        {"uniform": 0.5, "popular": 0.5},
        {"uniform": 0.1, "popular": 0.7},
        {"uniform": 0.3, "popular": {"share": 0.7, "exponent": 0.5}},
    ]
)


@settings(deadline=None, max_examples=60)
@given(
    borrowed=st.lists(st.lists(st.integers(0, 19), min_size=2, max_size=12, unique=True), min_size=1, max_size=8),
    alike=st.integers(14, 25),
    counts=st.lists(st.integers(0, 9), min_size=25, max_size=25),
    shares=SHARES,
    k=st.integers(1, 6),
    room=st.sampled_from([1, 60, 1 << 25]),
    strange=st.booleans(),
)
def test_draws_at_once_are_those_one_by_one(
    borrowed: list[list[int]],
    alike: int,
    counts: list[int],
    shares: dict[str, Any],
    k: int,
    room: int,
    strange: bool,
):
    larder = shop(borrowed, [f"Film {code % alike}" for code in range(25)], counts=counts)
    queries = asked([(9 * n + m, n, films, m) for n, films in enumerate(borrowed) for m in (1, 0)], fold="train")
    if strange:  # a target that its user never met is not rejected either
        queries = queries.with_columns(target=pl.lit(24, pl.Int32))
    drawn = Negatives(larder, k, From.model_validate(shares), seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at_once, "ROOM", room)
        try:
            expected = drawn._one_by_one(queries)
        except DataFault as fault:
            with pytest.raises(DataFault) as told:
                drawn(queries)
            assert str(told.value) == str(fault)
            return
        assert drawn(queries).equals(expected)


def test_other_sources_and_guards_are_drawn_one_by_one():
    larder = shop([[0, 1]], 5)
    plain = Negatives(larder, 1, {"uniform": 1, "popular": 1}, seed=7)
    assert AtOnce.can(plain.pool, plain.guards, plain.names)
    assert not AtOnce.can(plain.pool, plain.guards, [*plain.names, "retrieved"])
    guarded = Negatives(larder, 1, {"uniform": 1}, seed=7, guard=Guard(after=0))
    assert not AtOnce.can(guarded.pool, guarded.guards, guarded.names)


def test_no_queries_draw_nothing():
    larder = shop([[0, 1]], 9)
    none = negatives(asked([]), larder, 2, {"uniform": 1.0}, seed=7)
    assert none.height == 0
    some = negatives(asked([(0, 0, [0, 1], 1)]), larder, 2, {"uniform": 1.0}, seed=7)
    assert none.schema == some.schema
