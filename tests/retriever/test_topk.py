"""The first items of a catalogue, found block by block: always those that a full sort would put first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ModelFault
from llmrec.rank.scorer import first_and_tied
from llmrec.retriever import topk as room
from llmrec.retriever.topk import topk


def sorted_whole(scores: np.ndarray, k: int, seen: list[np.ndarray]) -> tuple[list[int], list[int]]:
    scores = scores.copy()
    for row, items in enumerate(seen):
        scores[row, items] = -np.inf
    rows, items = np.nonzero(first_and_tied(scores, k))
    order = np.lexsort((items, -scores[rows, items], rows))
    return rows[order].tolist(), items[order].tolist()


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 5),
    n_items=st.integers(1, 400),
    k=st.integers(1, 60),
    block=st.integers(1, 450),
    high=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_it_finds_what_a_full_sort_finds(rows: int, n_items: int, k: int, block: int, high: int, seed: int) -> None:
    """Small whole numbers, so that many items tie and no product rounds."""
    rng = np.random.default_rng(seed)
    vectors, items = rng.integers(-2, 3, (rows, 3)), rng.integers(-high, high + 1, (n_items, 3))
    bias = rng.integers(-1, 2, n_items)
    seen = [rng.integers(0, n_items, rng.integers(0, n_items + 1)) for _ in range(rows)]
    tensors = [torch.from_numpy(part.astype(np.float32)) for part in (vectors, items, bias)]
    found = topk(tensors[0], tensors[1], k, seen=seen, bias=tensors[2], block=block)
    scores = (vectors @ items.T + bias).astype(np.float32)
    assert (found.rows.tolist(), found.items.tolist()) == sorted_whole(scores, k, seen)
    np.testing.assert_array_equal(found.scores, scores[found.rows, found.items])


@pytest.mark.parametrize("rows", [1, 3, 130])
def test_large_catalogues_go_by_in_groups(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SLACK", 50)  # so that bounds are drawn again and again
    rng = np.random.default_rng(0)
    vectors, items = rng.integers(-9, 10, (rows, 4)), rng.integers(-9, 10, (30_011, 4))
    seen = [rng.integers(0, len(items), 200) for _ in range(rows)]
    found = topk(torch.from_numpy(vectors).float(), torch.from_numpy(items).float(), 20, seen=seen, block=20_000)
    assert (found.rows.tolist(), found.items.tolist()) == sorted_whole((vectors @ items.T).astype(float), 20, seen)


def test_a_row_that_has_seen_all_but_a_few_gets_those_few() -> None:
    found = topk(torch.ones(2, 1), torch.arange(5.0)[:, None], 3, seen=[np.arange(5), np.array([0, 1, 4, 4])])
    assert found.rows.tolist() == [1, 1]
    assert found.items.tolist() == [3, 2]


def test_nobody_and_nothing() -> None:
    assert len(topk(torch.ones(0, 2), torch.ones(3, 2), 1).rows) == 0
    assert len(topk(torch.ones(2, 2), torch.ones(0, 2), 1).rows) == 0


@pytest.mark.parametrize(("k", "block"), [(0, None), (1, 0)])
def test_none_asked_for_is_refused(k: int, block: int | None) -> None:
    with pytest.raises(ValueError, match="at least one item"):
        topk(torch.ones(1, 1), torch.ones(1, 1), k, block=block)


@pytest.mark.parametrize("item", [-1, 3])
def test_seen_items_that_are_not_there_are_refused(item: int) -> None:
    with pytest.raises(ModelFault, match=rf"row 1 has item {item}, which is not in the catalogue"):
        topk(torch.ones(2, 1), torch.ones(3, 1), 1, seen=[np.array([0]), np.array([1, item])])
    with pytest.raises(ModelFault, match="what 1 rows have seen, and there are 2"):
        topk(torch.ones(2, 1), torch.ones(3, 1), 1, seen=[np.array([0])])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_are_refused_by_name(value: float) -> None:
    items = torch.ones(100, 1)
    items[70] = value
    with pytest.raises(ModelFault, match="row 0 scores item 70 with"):
        topk(torch.ones(2, 1), items, 1, block=30, seen=[np.array([70]), np.array([], dtype=int)])


def test_large_scores_whose_sum_overflows_are_fine() -> None:
    found = topk(torch.ones(1, 1), torch.full((10, 1), 3e38), 2)
    assert found.items.tolist() == list(range(10))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelFault, match=r"vectors are \(1, 2\) on cpu, items \(4, 3\)"):
        topk(torch.ones(1, 2), torch.ones(4, 3), 1)
    with pytest.raises(ModelFault, match=r"bias is \(3,\); each of 4 items needs one number"):
        topk(torch.ones(1, 3), torch.ones(4, 3), 1, bias=torch.ones(3))
