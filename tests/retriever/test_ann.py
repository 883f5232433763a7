"""Approximate search against exact search, and what it says where FAISS is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from llmrec.errors import ModelFault
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever import ann
from llmrec.retriever.ann import Approximate, Kind
from llmrec.retriever.model import Retriever
from llmrec.retriever.topk import topk

needs_faiss = pytest.mark.skipif(find_spec("faiss") is None, reason="needs the extra `ann`")
every_kind = pytest.mark.parametrize("kind", get_args(Kind))


def genres(rows: int, items: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Items around twenty centres, and rows that each like one of them."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(20, 16, generator=draw)
    near = [centres[torch.randint(20, (n,), generator=draw)] for n in (rows, items)]
    vectors, films = (part + 0.5 * torch.randn(part.shape, generator=draw) for part in near)
    return vectors, films


def test_without_faiss_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # what Python takes for "not there"
    with pytest.raises(ModelFault, match=r"pip install 'llmrec\[ann\]'"):
        Approximate(torch.eye(3))


@needs_faiss
def test_a_look_at_every_item_is_exact_search() -> None:
    vectors, items = genres(30, 400)
    bias = torch.linspace(-1, 1, 400)
    seen = [np.arange(row) for row in range(30)]
    found = Approximate(items, kind="flat", bias=bias).topk(vectors, 7, seen=seen)
    exact = topk(vectors, items, 7, seen=seen, bias=bias)
    np.testing.assert_array_equal(found.rows, exact.rows)
    np.testing.assert_array_equal(found.items, exact.items)
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5, atol=1e-5)


@needs_faiss
@every_kind
def test_what_is_found_is_unseen_exactly_scored_and_in_order(kind: Kind) -> None:
    vectors, items = genres(20, 3000)
    best = topk(vectors, items, 15)
    seen = [best.items[best.rows == row] for row in range(20)]  # the worst case: whatever would come first
    found = Approximate(items, kind=kind).topk(vectors, 10, seen=seen)
    assert (np.bincount(found.rows, minlength=20) == 10).all()
    assert not set(zip(found.rows, found.items, strict=True)) & set(zip(best.rows, best.items, strict=True))
    scores = (vectors @ items.T).numpy()
    np.testing.assert_allclose(found.scores, scores[found.rows, found.items], rtol=1e-5, atol=1e-5)
    assert (np.diff(found.scores)[np.diff(found.rows) == 0] <= 0).all()


@needs_faiss
@every_kind
def test_most_of_the_exact_answer_is_found_and_the_report_says_how_much(kind: Kind) -> None:
    vectors, items = genres(100, 3000)
    index = Approximate(items, kind=kind)
    report = index.report(vectors, 10)
    found, exact = index.topk(vectors, 10), topk(vectors, items, 10)
    both = set(zip(found.rows, found.items, strict=True)) & set(zip(exact.rows, exact.items, strict=True))
    assert report.recall == pytest.approx(len(both) / 1000)
    assert report.recall >= (1 if kind == "flat" else 0.9)
    assert report.bytes >= 4 * items.numel()
    assert report.build_seconds > 0
    assert report.queries_per_second > 0
    assert report.exact_queries_per_second > 0


@needs_faiss
@every_kind
def test_the_same_items_and_seed_give_the_same_index(kind: Kind) -> None:
    vectors, items = genres(50, 3000)
    one, two = (Approximate(items, kind=kind, seed=3).topk(vectors, 20) for _ in range(2))
    np.testing.assert_array_equal(one.items, two.items)
    np.testing.assert_array_equal(one.scores, two.scores)


@needs_faiss
def test_where_too_little_is_found_a_row_gets_what_there_is() -> None:
    vectors, items = genres(5, 3000)
    found = Approximate(items, kind="ivf").topk(vectors, 2000)  # more than an eighth of the lists hold
    counts = np.bincount(found.rows, minlength=5)
    assert ((counts > 0) & (counts < 2000)).all()
    everything = Approximate(items[:4]).topk(vectors, 9, seen=[np.arange(4), np.arange(3), [], [], []])
    assert np.bincount(everything.rows).tolist() == [0, 1, 4, 4, 4]
    assert len(Approximate(items).topk(vectors[:0], 3).rows) == 0


@needs_faiss
@every_kind
def test_a_catalogue_of_one_item_can_be_searched(kind: Kind) -> None:
    found = Approximate(torch.tensor([[2.0]]), kind=kind).topk(torch.tensor([[3.0], [-1.0]]), 5)
    assert found.items.tolist() == [0, 0]
    assert found.scores.tolist() == [6, -2]


@needs_faiss
def test_ties_among_what_is_found_are_kept_whole() -> None:
    found = Approximate(torch.tensor([[1.0], [2.0], [2.0], [2.0]])).topk(torch.tensor([[1.0]]), 3)
    assert found.items.tolist() == [1, 2, 3]


@needs_faiss
def test_large_catalogues_get_lists_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann, "FEW", 1000)
    _, items = genres(1, 1001)
    assert [Approximate(some).kind for some in (items[:1000], items)] == ["flat", "ivf"]
    assert Approximate(items, kind="flat").kind == "flat"


@needs_faiss
def test_what_cannot_be_searched_is_refused() -> None:
    odd = torch.ones(5, 2)
    odd[3, 1] = torch.nan
    with pytest.raises(ModelFault, match=r"vector or bias of item 3 is not finite \(1 such"):
        Approximate(odd)
    with pytest.raises(ModelFault, match=r"items are \(0, 2\)"):
        Approximate(odd[:0])
    with pytest.raises(ModelFault, match=r"bias \(2,\)"):
        Approximate(odd[:3], bias=torch.zeros(2))
    index = Approximate(odd[:3])
    with pytest.raises(ModelFault, match="row 3 is not finite"):
        index.topk(odd, 1)
    with pytest.raises(ModelFault, match="with inf"):
        Approximate(odd[:3] * 1e30).topk(odd[:1] * 1e30, 1)
    with pytest.raises(ModelFault, match=r"items \(3, 2\)"):
        index.topk(torch.ones(1, 3), 1)
    with pytest.raises(ModelFault, match="row 0 has item 3"):
        index.topk(odd[:1], 1, seen=[np.array([3])])
    with pytest.raises(ValueError, match="k is 0"):
        index.topk(odd[:1], 0)
    with pytest.raises(ModelFault, match="there are none"):
        index.report(odd[:0], 1)


@needs_faiss
def test_a_retriever_asks_an_index_of_its_own_weights_alone() -> None:
    torch.manual_seed(0)
    model, other = (Retriever(300, Section(d_model=16, layers=1, bias=True)).eval() for _ in range(2))
    contexts = [np.array([3, 4]), np.array([], dtype=np.int64), np.arange(250)]
    exact, index = model.best(contexts, 7), model.index("flat")
    for found in (model.best(contexts, 7, index=index), model.best_from(model.state(contexts), 7, index=index)):
        np.testing.assert_array_equal(found.items, exact.items)
    with pytest.raises(ModelFault, match="of other weights"):
        other.best(contexts, 7, index=index)
