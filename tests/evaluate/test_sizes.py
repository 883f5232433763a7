from __future__ import annotations

from tests.evaluate.audited import found, levels, of
from tests.evaluate.club import club, offered, placing


def test_few_users_are_noted():
    small = club(members=20)
    assert levels(found(small, offered(small, 10)), "20 users only") == ["notes"]
    assert not levels(found(), "users only")


def test_rows_of_one_user_are_no_independent_evidence():
    """Half of 100 people get everything right and half get nothing, ten times each: that is 100 facts, not 1,000."""
    crowded = club(members=100, books=50, queries_each=10)
    table = offered(crowded, 10)
    ranking = placing(crowded, table, [1 if row // 10 % 2 else 10 for row in range(1000)], ranker="me")
    [(level, what)] = of(found(crowded, table, me=ranking, rest={"primary": "hit@1"}), "rows-per-user")
    assert level == "warns"
    assert what == (
        "1,000 queries come from 100 users, at most 10 from one; intervals over rows would have to be 3.2 times as "
        "wide to be right"
    )


def test_one_row_a_user_is_no_finding():
    assert not of(found(), "rows-per-user")
