from __future__ import annotations

import numpy as np
import pytest

from llmrec.evaluate.per_query import Values, per_query
from tests.evaluate.club import club, listing, offered, placing


def test_every_ranker_and_seed_has_a_row_for_every_query():
    larder = club(members=5)
    table = offered(larder)
    rankings = {
        "popularity": [placing(larder, table, 2, ranker="popularity")],
        "orpo": [placing(larder, table, rank, ranker="orpo") for rank in (1, 3)],
    }
    rows = per_query("uniform", rankings, larder.queries, [1, 5])
    assert rows.columns == [
        *("query", "user", "table", "ranker", "seed", "above", "tied"),
        *("hit@1", "hit@5", "ndcg@1", "ndcg@5", "mrr@1", "mrr@5"),
    ]
    assert rows.group_by("ranker", "seed", maintain_order=True).len().rows() == [
        ("popularity", 0, 5),
        ("orpo", 0, 5),
        ("orpo", 1, 5),
    ]
    assert rows["above"].to_list() == [1] * 5 + [0] * 5 + [2] * 5
    assert rows["mrr@5"].to_list() == pytest.approx([1 / 2] * 5 + [1.0] * 5 + [1 / 3] * 5)


def test_what_is_not_listed_is_missed():
    larder = club(members=3)
    rows = per_query("catalogue", {"me": [listing(larder, [1, None, 2], ranker="me")]}, larder.queries, [10])
    assert rows["above"].to_list() == [0, -1, 1]
    assert rows["hit@10"].to_list() == [1, 0, 1]


def test_values_hold_seeds_queries_and_metrics_apart():
    larder = club(members=4)
    table = offered(larder)
    seeds = [placing(larder, table, rank, ranker="orpo") for rank in (1, 2)]
    values = Values.of(per_query("uniform", {"orpo": seeds}, larder.queries, [1, 5]))
    assert values.rankers["orpo"].shape == (2, 4, 6)
    assert values.users.tolist() == [0, 1, 2, 3]
    some = values.only(np.array([True, False, False, True]), ["mrr@5"])
    assert some.users.tolist() == [0, 3]
    assert some.rankers["orpo"].tolist() == [[[1.0], [1.0]], [[0.5], [0.5]]]
