"""What must hold of every metric at every place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from llmrec import metrics

EVERY = pytest.mark.parametrize("metric", metrics.METRICS.values(), ids=metrics.METRICS)
Metric = Callable[[object, object, int], np.ndarray]

above = some.integers(0, 60)
tied = some.integers(1, 30)
depth = some.integers(1, 40)


@EVERY
@given(above=some.integers(-1, 60), tied=tied, k=depth)
def test_a_metric_lies_between_0_and_1(metric: Metric, above: int, tied: int, k: int) -> None:
    assert 0 <= metric([above], [tied], k)[0] <= 1


@EVERY
@given(above=above, tied=tied, k=depth, climb=some.integers(0, 60))
def test_improving_the_place_never_lowers_it(metric: Metric, above: int, tied: int, k: int, climb: int) -> None:
    better = max(0, above - climb)
    assert metric([better], [tied], k)[0] >= metric([above], [tied], k)[0] - 1e-12


@EVERY
@given(above=above, tied=tied, k=depth)
def test_winning_a_tie_never_lowers_it_and_losing_one_never_raises_it(
    metric: Metric, above: int, tied: int, k: int
) -> None:
    between = metric([above], [tied], k)[0]
    assert metric([above], [1], k)[0] >= between - 1e-12
    assert metric([above + tied - 1], [1], k)[0] <= between + 1e-12


@pytest.mark.parametrize("metric", [metrics.hit, metrics.ndcg, metrics.mrr])
@given(above=above, tied=tied, k=depth, deeper=some.integers(0, 20))
def test_a_deeper_cut_never_lowers_it(metric: Metric, above: int, tied: int, k: int, deeper: int) -> None:
    assert metric([above], [tied], k + deeper)[0] >= metric([above], [tied], k)[0] - 1e-12


@EVERY
@given(places=some.lists(some.tuples(above, tied), min_size=1, max_size=20), k=depth)
def test_a_query_does_not_depend_on_its_neighbours(metric: Metric, places: list[tuple[int, int]], k: int) -> None:
    together = metric([a for a, _ in places], [t for _, t in places], k)
    alone = [metric([a], [t], k)[0] for a, t in places]
    assert together.tolist() == pytest.approx(alone)


@given(above=above, tied=tied, k=depth)
def test_hit_is_never_below_ndcg_nor_ndcg_below_mrr(above: int, tied: int, k: int) -> None:
    hit, ndcg, mrr = (metrics.METRICS[name]([above], [tied], k)[0] for name in metrics.OWN)
    assert hit >= ndcg - 1e-12
    assert ndcg >= mrr - 1e-12
