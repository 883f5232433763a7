from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.candidates import many
from llmrec.candidates.many import Drawn, Draws
from llmrec.candidates.negatives import negatives
from llmrec.errors import DataFault
from tests.candidates.shop import asked, shop

SHARES = st.sampled_from(
    [{"uniform": 1.0}, {"popular": 1.0}, {"uniform": 0.5, "popular": 0.5}, {"uniform": 0.1, "popular": 0.7}]
)


@settings(deadline=None, max_examples=60)
@given(
    borrowed=st.lists(st.lists(st.integers(0, 19), min_size=2, max_size=12, unique=True), min_size=1, max_size=8),
    alike=st.integers(14, 25),
    counts=st.lists(st.integers(0, 9), min_size=25, max_size=25),
    shares=SHARES,
    k=st.integers(1, 6),
    room=st.sampled_from([1, 60, 1 << 25]),
)
def test_draws_at_once_are_those_one_by_one(
    borrowed: list[list[int]], alike: int, counts: list[int], shares: dict[str, float], k: int, room: int
):
    larder = shop(borrowed, [f"Film {code % alike}" for code in range(25)], counts=counts)
    queries = asked([(9 * n + m, n, films, m) for n, films in enumerate(borrowed) for m in (1, 0)], fold="train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "ROOM", room)
        try:
            expected = negatives(queries, larder, k, shares, retrieved=None, seed=7)
        except DataFault as fault:
            with pytest.raises(DataFault) as told:
                Drawn(larder, k, shares, retrieved=None, seed=7)(queries)
            assert str(told.value) == str(fault)
            return
        assert Drawn(larder, k, shares, retrieved=None, seed=7)(queries).equals(expected)


def test_other_sources_are_drawn_one_by_one():
    draws = Draws(shop([[0, 1]], 5))
    assert draws.can({"uniform": 1, "popular": 1, "retrieved": 0})
    assert not draws.can({"uniform": 1, "retrieved": 0.1})


def test_no_queries_draw_nothing():
    larder = shop([[0, 1]], 9)
    none = Drawn(larder, 2, {"uniform": 1.0}, retrieved=None, seed=7)(asked([]))
    assert none.height == 0
    assert none.schema == negatives(asked([]), larder, 2, {"uniform": 1.0}, retrieved=None, seed=7).schema


def test_the_table_is_the_same_however_many_users_are_looked_at_together(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(3)
    borrowed = [rng.permutation(200)[:50].tolist() for _ in range(30)]
    larder, queries = shop(borrowed, 200), asked([(n, n, films, 9) for n, films in enumerate(borrowed)])
    shares = {"uniform": 0.5, "popular": 0.5}
    whole = Drawn(larder, 7, shares, retrieved=None, seed=1)(queries)
    monkeypatch.setattr(many, "ROOM", 450)
    assert Drawn(larder, 7, shares, retrieved=None, seed=1)(queries).equals(whole)
