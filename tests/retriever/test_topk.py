"""The streamed search of the catalogue against a sort of all its scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmrec.errors import ModelFault
from llmrec.rank.scorer import first_and_tied
from llmrec.retriever import topk as module
from llmrec.retriever.topk import Found, topk

FILMS = torch.tensor([[3.0, 9.0], [5.0, 0.0], [3.0, 0.0], [1.0, 1.0]])
FIRST = torch.tensor([[1.0, 0.0]])  # likes what the first number says


def listed(found: Found) -> list[tuple[int, int, float]]:
    """(row, item, score) in the order found."""
    return list(zip(found.rows.tolist(), found.items.tolist(), found.scores.tolist(), strict=True))


def sorted_whole(scores: np.ndarray, k: int, seen: list[list[int]]) -> list[tuple[int, int, float]]:
    """What should be found, from the scores of all rows and items."""
    wanted = []
    for row, of_row in enumerate(scores):
        left = sorted((-float(score), item) for item, score in enumerate(of_row) if item not in seen[row])
        wanted += [(row, item, -score) for score, item in left if len(left) <= k or score <= left[k - 1][0]]
    return wanted


@st.composite
def questions(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Whole numbers, so that products are exact and many scores tie; some rows have seen everything, some nothing."""
    rows, items, width = draw(st.integers(0, 7)), draw(st.integers(0, 150)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    high = draw(st.integers(1, 6))
    vectors, catalogue = (rng.integers(-high, high + 1, (n, width)).astype(np.float32) for n in (rows, items))
    if draw(st.booleans()):  # the worst order for a bound that rises
        catalogue = catalogue[np.argsort(catalogue @ np.ones(width))]
    seen = [rng.integers(0, items, rng.integers(0, 3 * items)).tolist() if items else [] for _ in range(rows)]
    if rows and items:
        seen[0] = list(range(items)) if draw(st.booleans()) else []
    return torch.from_numpy(vectors), torch.from_numpy(catalogue), seen


def test_the_kth_brings_along_whatever_ties_with_it() -> None:
    assert listed(topk(FIRST, FILMS, k=1)) == [(0, 1, 5)]
    assert listed(topk(FIRST, FILMS, k=2)) == [(0, 1, 5), (0, 0, 3), (0, 2, 3)]
    assert listed(topk(FIRST, FILMS, k=3)) == [(0, 1, 5), (0, 0, 3), (0, 2, 3)]


def test_what_was_seen_makes_room_for_the_next() -> None:
    assert listed(topk(FIRST, FILMS, k=1, seen=[np.array([1])])) == [(0, 0, 3), (0, 2, 3)]
    assert listed(topk(FIRST, FILMS, k=1, seen=[np.array([2, 1, 2, 0])])) == [(0, 3, 1)]


def test_who_has_few_left_gets_them_all_and_who_has_none_gets_none() -> None:
    vectors = FIRST.repeat(3, 1)
    found = topk(vectors, FILMS, k=2, seen=[np.array([0, 1, 2]), np.arange(4), np.empty(0)])
    assert listed(found) == [(0, 3, 1), (2, 1, 5), (2, 0, 3), (2, 2, 3)]


def test_an_items_own_score_is_added() -> None:
    assert listed(topk(FIRST, FILMS, k=1, bias=torch.tensor([0.0, 0.0, 0.0, 9.0]))) == [(0, 3, 10)]


@settings(max_examples=300, deadline=None)
@given(
    question=questions(),
    k=st.integers(1, 200),
    block=st.none() | st.integers(1, 170),
    cells=st.sampled_from([1, 60, 1 << 20]),
    slack=st.sampled_from([0, 1 << 16]),
)
def test_any_way_of_going_through_the_items_finds_what_a_sort_finds(
    question: tuple[Tensor, Tensor, list[list[int]]], k: int, block: int | None, cells: int, slack: int
) -> None:
    vectors, items, seen = question
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CELLS", cells)
        patch.setattr(module, "SLACK", slack)
        masked = topk(vectors, items, k, seen=[np.array(codes, dtype=np.int32) for codes in seen], block=block)
        whole = topk(vectors, items, k, block=block)
    scores = (vectors @ items.T).numpy()
    assert listed(masked) == sorted_whole(scores, k, seen)
    assert listed(whole) == sorted_whole(scores, k, [[]] * len(vectors))


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, 60), block=st.none() | st.integers(1, 3000), seed=st.integers(0, 9))
def test_it_finds_what_a_ranking_of_the_catalogue_lists(k: int, block: int | None, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    vectors, items = torch.randn(5, 8, generator=draw), torch.randn(2000, 8, generator=draw)
    scores = (vectors @ items.T).numpy()
    found = topk(vectors, items, k, block=block)
    rows, codes = np.nonzero(first_and_tied(scores, k))
    assert set(zip(found.rows, found.items, strict=True)) == set(zip(rows, codes, strict=True))
    np.testing.assert_allclose(found.scores, scores[found.rows, found.items], rtol=1e-5, atol=1e-5)
    assert (np.diff(found.scores)[np.diff(found.rows) == 0] <= 0).all()


def test_rows_and_items_are_never_scored_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, score = [], module._score
    monkeypatch.setattr(module, "CELLS", 1 << 12)
    monkeypatch.setattr(module, "_score", lambda out, *rest: sizes.append(out.numel()) or score(out, *rest))
    draw = torch.Generator().manual_seed(0)
    topk(torch.randn(100, 4, generator=draw), torch.randn(3000, 4, generator=draw), k=3)
    assert max(sizes) <= 1 << 12
    assert sum(sizes) == 100 * 3000


def test_weights_that_are_being_fitted_and_half_precision_are_searched_as_numbers() -> None:
    items = torch.nn.Parameter(FILMS.to(torch.bfloat16))
    assert listed(topk(FIRST.double().requires_grad_(), items, k=1)) == [(0, 1, 5)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("block", [None, 1, 2])
def test_a_score_that_is_no_number_is_refused_by_row_and_item(value: float, block: int | None) -> None:
    items = FILMS.clone()
    items[2, 0] = value
    with pytest.raises(ModelFault, match=f"row 0 scores item 2 with {value}"):
        topk(FIRST, items, k=1, seen=[np.array([2])], block=block)
    vectors = torch.ones(70, 2)
    vectors[67, 1] = value
    with pytest.raises(ModelFault, match="row 67 scores item 0 with"):
        topk(vectors, FILMS, k=1, block=block)


def test_large_scores_are_numbers_even_where_their_sum_is_none() -> None:
    assert topk(FIRST, FILMS * 3e37, k=1).items.tolist() == [1]


def test_numbers_whose_product_is_none_are_refused() -> None:
    with pytest.raises(ModelFault, match="row 0 scores item 0 with inf.*far too large"):
        topk(FIRST * 1e30, FILMS * 1e30, k=1)


@pytest.mark.parametrize("item", [4, -1])
def test_seen_items_of_another_catalogue_are_refused_by_row(item: int) -> None:
    seen = [np.array([0])] * 69 + [np.array([1, item])]
    with pytest.raises(ModelFault, match=rf"row 69 has item {item}, which is not in the catalogue; its 4 items"):
        topk(FIRST.repeat(70, 1), FILMS, k=1, seen=seen)


def test_questions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        topk(FIRST, FILMS, k=0)
    with pytest.raises(ValueError, match="block is 0"):
        topk(FIRST, FILMS, k=1, block=0)
    with pytest.raises(ModelFault, match=r"vectors are \(1, 2\) on cpu, items \(2, 4\)"):
        topk(FIRST, FILMS.T, k=1)
    with pytest.raises(ModelFault, match=r"bias is \(3,\)"):
        topk(FIRST, FILMS, k=1, bias=torch.zeros(3))
    with pytest.raises(ModelFault, match="what 2 rows have seen, and there are 1"):
        topk(FIRST, FILMS, k=1, seen=[np.array([1])] * 2)
    with pytest.raises(TypeError, match="float64"):  # codes are whole numbers
        topk(FIRST, FILMS, k=1, seen=[np.array([1.5])])


@pytest.mark.gpu
def test_a_gpu_finds_the_same() -> None:
    draw = torch.Generator().manual_seed(0)
    vectors, items = (torch.randint(-4, 5, (n, 6), generator=draw).float() for n in (300, 20_000))
    seen = [np.arange(row) for row in range(300)]
    near, far = topk(vectors, items, 50, seen=seen), topk(vectors.cuda(), items.cuda(), 50, seen=seen)
    assert listed(near) == listed(far)
    assert listed(near) == listed(topk(vectors.cuda(), items.cuda(), 50, seen=seen, block=999))
