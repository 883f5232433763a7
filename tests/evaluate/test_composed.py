"""Two stages: what the retriever leaves, and what a reranker makes of it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.evaluate.composed import composed, retrieved
from llmrec.evaluate.per_query import Values, per_query
from tests.evaluate.club import club, listing


def values(**places: list[int | None]) -> Values:
    """What rankers make of one query a member, each target put at a place, or nowhere."""
    larder = club(members=len(next(iter(places.values()))))
    rankings = {name: [listing(larder, ranks, ranker=name)] for name, ranks in places.items()}
    return Values.of(per_query("two_stage", rankings, larder.queries, [1, 10]))


def test_a_target_is_retrieved_where_it_is_a_candidate():
    queries = pl.DataFrame({"query": [5, 3, 8], "target": [1, 2, 3]})
    candidates = pl.DataFrame({"query": [3, 5], "items": [[4, 2], [2, 3]]})
    assert retrieved(candidates, queries).tolist() == [False, True, False]  # nothing was listed for query 8


def test_the_ceiling_is_what_a_reranker_that_is_always_right_would_reach():
    right = composed(values(orpo=[1, 1, None, 1]), np.array([True, True, False, True]), count=200, seed=7)
    assert (right["retrieved"], right["ceiling"]) == (3, 0.75)
    assert {one["mean"] for one in right["rankers"]["orpo"].values()} == {1.0}


def test_a_mean_over_all_is_the_ceiling_times_the_mean_over_the_retrieved():
    found = np.array([True, False, True, True, False])
    table = values(orpo=[2, None, 1, 7, None], retriever=[1, None, 3, 5, None])
    parts = composed(table, found, count=200, seed=7)
    for ranker in ("orpo", "retriever"):
        for column, metric in enumerate(table.metrics):
            whole = table.rankers[ranker][0, :, column].mean()
            assert parts["ceiling"] * parts["rankers"][ranker][metric]["mean"] == pytest.approx(whole)
    assert parts["rankers"]["orpo"]["hit@1"]["mean"] == pytest.approx(1 / 3)


def test_where_nothing_was_retrieved_there_is_nothing_to_take_a_share_of():
    assert composed(values(orpo=[None, None]), np.array([False, False]), count=200, seed=7) == {
        "retrieved": 0, "ceiling": 0.0, "rankers": {},
    }  # fmt: skip
