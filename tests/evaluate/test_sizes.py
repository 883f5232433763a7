from __future__ import annotations

from tests.evaluate.audited import found, levels
from tests.evaluate.club import club, offered


def test_few_users_are_noted():
    small = club(members=20)
    assert levels(found(small, offered(small, 10)), "20 users only") == ["notes"]
    assert not levels(found(), "users only")
