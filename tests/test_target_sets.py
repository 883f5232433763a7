"""Metrics of several targets a query: the mean over every order that ties allow, found by trying every order."""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from llmrec import metrics, target_sets
from llmrec.target_sets import Groups

SHELF = 4
World = tuple[list[int], tuple[int, ...], int]


@cache
def worlds() -> list[World]:
    """Up to four items that score 0, 1 or 2, every set of targets among them, and 0 or 2 targets that nobody lists."""
    return [
        (list(scores), targets, unlisted)
        for size in range(1, SHELF + 1)
        for scores in product(range(3), repeat=size)
        for wanted in range(size + 1)
        for targets in combinations(range(size), wanted)
        for unlisted in (0, 2)
        if wanted + unlisted
    ]


def groups(some_worlds: list[World]) -> Groups:
    rows = [
        (query, sum(score > scores[t] for score in scores), scores.count(scores[t]))
        for query, (scores, targets, _) in enumerate(some_worlds)
        for t in targets
    ]
    rows += [(query, -1, 1) for query, (_, _, unlisted) in enumerate(some_worlds) for _ in range(unlisted)]
    query, above, tied = (np.array(column) for column in zip(*rows, strict=True))
    return Groups.of(above, tied, query)


def of_order(name: str, relevant: list[bool], wanted: int, k: int) -> float:
    """The textbook's value of one list without ties."""
    ranks = [rank for rank, hit in enumerate(relevant[:k], start=1) if hit]
    if name == "hit":
        return float(bool(ranks))
    if name == "mrr":
        return 1 / ranks[0] if ranks else 0.0
    if name == "recall":
        return len(ranks) / wanted
    if name == "precision":
        return len(ranks) / k
    if name == "map":
        return sum((i + 1) / rank for i, rank in enumerate(ranks)) / wanted
    best = sum(1 / np.log2(1 + rank) for rank in range(1, min(wanted, k) + 1))
    return float(sum(1 / np.log2(1 + rank) for rank in ranks) / best)


@cache
def orders() -> list[list[list[bool]]]:
    """For each world, which places hold targets, in every order that sorts the scores."""
    return [
        [
            [i in targets for i in order]
            for order in permutations(range(len(scores)))
            if all(scores[a] >= scores[b] for a, b in pairwise(order))
        ]
        for scores, targets, _ in worlds()
    ]


@pytest.mark.parametrize("k", [1, 2, 3, 6])
@pytest.mark.parametrize("name", metrics.METRICS)
def test_ties_score_the_mean_over_every_order_that_they_allow(name: str, k: int) -> None:
    wanted = [
        float(np.mean([of_order(name, order, len(targets) + unlisted, k) for order in every]))
        for (_, targets, unlisted), every in zip(worlds(), orders(), strict=True)
    ]
    assert target_sets.measure(f"{name}@{k}", groups(worlds())) == pytest.approx(np.array(wanted))


@pytest.mark.parametrize("name", metrics.METRICS)
def test_one_target_is_a_set_of_one(name: str) -> None:
    above, tied = np.array([0, 3, -1, 8, 2]), np.array([1, 4, 1, 9, 2])
    for k in (1, 5, 10):
        of_set = target_sets.measure(f"{name}@{k}", Groups.of(above, tied, np.arange(5)))
        assert of_set == pytest.approx(metrics.measure(f"{name}@{k}", above, tied))


def test_a_query_without_targets_is_absent_not_zero() -> None:
    places = Groups.of([0, 1, 0], [1, 1, 1], [3, 3, 8])
    assert target_sets.measure("recall@1", places).tolist() == [0.5, 1.0]


def test_targets_that_nobody_lists_count_as_missed() -> None:
    places = Groups.of([0, -1, -1], [1, 1, 1], [0, 0, 0])
    assert target_sets.measure("recall@5", places).tolist() == pytest.approx([1 / 3])
    assert target_sets.measure("ndcg@5", Groups.of([-1, -1], [1, 1], [0, 0])).tolist() == [0.0]


def test_more_targets_at_a_place_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match="as many or more"):
        Groups.of([0, 0], [1, 1], [0, 0])


@given(scores=some.lists(some.integers(0, 4), min_size=1, max_size=30), k=some.integers(1, 12), data=some.data())
def test_every_metric_lies_between_0_and_1(scores: list[int], k: int, data: some.DataObject) -> None:
    targets = data.draw(some.sets(some.integers(0, len(scores) - 1), min_size=1))
    places = groups([(scores, tuple(targets), data.draw(some.integers(0, 3)))])
    for name in metrics.METRICS:
        assert -1e-12 <= target_sets.measure(f"{name}@{k}", places)[0] <= 1 + 1e-12
