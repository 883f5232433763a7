"""Metrics of one target a query: what they are at each rank, and what ties make of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise, permutations, product

import numpy as np
import pytest

from llmrec import metrics

SHELF = 5


def worlds() -> Iterator[tuple[list[int], int]]:
    """Every way in which up to five items can score 0, 1 or 2, with each of them as the target."""
    for size in range(1, SHELF + 1):
        for scores in product(range(3), repeat=size):
            for target in range(size):
                yield list(scores), target


def sorted_by(scores: list[int], order: tuple[int, ...]) -> bool:
    return all(scores[a] >= scores[b] for a, b in pairwise(order))


@cache
def enumerated() -> list[tuple[list[int], int, np.ndarray]]:
    """Every world with its target's rank in each order that sorts the scores."""
    found = []
    for scores, target in worlds():
        orders = [order for order in permutations(range(len(scores))) if sorted_by(scores, order)]
        found.append((scores, target, np.array([order.index(target) + 1 for order in orders])))
    return found


def at_rank(metric: str, rank: int, k: int) -> float:
    gains = {"hit": 1.0, "ndcg": 1 / np.log2(1 + rank), "mrr": 1 / rank}
    return float(gains[metric]) if rank <= k else 0.0


def test_a_target_at_the_top_scores_one_everywhere() -> None:
    for name in metrics.names([1, 5, 10]):
        assert metrics.measure(name, [0], [1]).tolist() == [1.0]


def test_a_target_that_is_not_listed_is_missed_whatever_ties() -> None:
    for name in metrics.names([1, 5, 10]):
        assert metrics.measure(name, [-1, -1], [1, 20]).tolist() == [0.0, 0.0]


def test_each_rank_has_the_value_of_the_textbook() -> None:
    above = np.arange(6)
    alone = np.ones(6, dtype=int)
    assert metrics.hit(above, alone, 3).tolist() == [1, 1, 1, 0, 0, 0]
    assert metrics.ndcg(above, alone, 3) == pytest.approx([1, 1 / np.log2(3), 1 / 2, 0, 0, 0])
    assert metrics.mrr(above, alone, 3) == pytest.approx([1, 1 / 2, 1 / 3, 0, 0, 0])
    assert metrics.mrr(above, alone) == pytest.approx(1 / np.arange(1, 7))


@pytest.mark.parametrize("k", [1, 2, 4, 7])
@pytest.mark.parametrize("metric", ["hit", "ndcg", "mrr"])
def test_ties_score_the_mean_over_every_order_that_they_allow(metric: str, k: int) -> None:
    gain = np.array([at_rank(metric, rank, k) for rank in range(1, SHELF + 1)])
    above, tied, means = [], [], []
    for scores, target, ranks in enumerated():
        above.append(sum(score > scores[target] for score in scores))
        tied.append(scores.count(scores[target]))
        means.append(gain[ranks - 1].mean())
    assert metrics.measure(f"{metric}@{k}", above, tied) == pytest.approx(np.array(means))


def test_the_first_half_of_a_tie_across_the_cut_is_a_hit_half_the_time() -> None:
    assert metrics.hit([8], [4], 10).tolist() == [0.5]


def test_a_ranker_that_knows_nothing_hits_k_of_n() -> None:
    assert metrics.at_chance("hit@1", 20) == pytest.approx(1 / 20)
    assert metrics.at_chance("hit@5", 20) == pytest.approx(5 / 20)
    assert metrics.at_chance("hit@50", 20) == 1
    assert metrics.at_chance("mrr@2", 4) == pytest.approx((1 + 1 / 2) / 4)


def test_no_queries_give_no_values() -> None:
    empty = np.empty(0, dtype=int)
    for name in metrics.names([5]):
        assert metrics.measure(name, empty, empty).shape == (0,)
    assert metrics.mrr(empty, empty).shape == (0,)


@pytest.mark.parametrize("name", ["auc@10", "ndcg", "ndcg@", "ndcg@0", "ndcg@ten", "@5"])
def test_a_name_that_is_no_metric_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a metric; use one of hit, ndcg, mrr"):
        metrics.split_name(name)


def test_a_listed_target_that_ties_with_nobody_not_even_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="ties at least with itself"):
        metrics.hit([0], [0], 1)
