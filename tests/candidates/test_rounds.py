from __future__ import annotations

from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from llmrec.candidates.rounds import dealt


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12), rounds=st.integers(1, 5))
def test_every_query_is_in_one_round_and_nobody_goes_back_in_time(sizes: list[int], rounds: int):
    rows = [(user, place + 3) for user, size in enumerate(sizes) for place in range(size)]
    queries = pl.DataFrame(rows, schema={"user": pl.Int32, "position": pl.Int32}, orient="row")
    parts = dealt(queries, rounds)
    assert pl.concat(parts).sort("user", "position").equals(queries)
    for part, later in pairwise(parts):
        ends = part.group_by("user").agg(pl.col("position").max().alias("end"))
        assert (later.join(ends, on="user").select(pl.col("position") > pl.col("end")).to_series()).all()
    for user, size in enumerate(sizes):
        counts = [part.filter(user=user).height for part in parts]
        assert max(counts) - min(counts) <= 1, size


def test_users_with_one_position_are_spread_over_the_rounds():
    queries = pl.DataFrame({"user": range(90), "position": [1] * 90})
    assert [part.height for part in dealt(queries, 3)] == [30, 30, 30]
