"""The blockwise cross-entropy is the cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec import cross_entropy as module
from llmrec.cross_entropy import CELLS, ROWS, cross_entropy


def drawn(rows: int, width: int, items: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    vectors = (torch.randn(rows, width, generator=draw) * scale).requires_grad_()
    table = torch.randn(items, width, generator=draw).requires_grad_()
    return vectors, table, torch.randint(0, items, (rows,), generator=draw)


def test_knowing_nothing_costs_the_log_of_the_catalogue() -> None:
    loss = cross_entropy(torch.zeros(5, 3), torch.randn(20, 3), torch.arange(5))
    assert loss.item() == pytest.approx(torch.log(torch.tensor(20.0)))


def test_value_and_gradients_are_torchs_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 7)
    vectors, table, targets = drawn(rows=50, width=6, items=30)
    wanted = F.cross_entropy(vectors @ table.T, targets)
    loss = cross_entropy(vectors, table, targets, cells=1)
    torch.testing.assert_close(loss, wanted)
    ours = torch.autograd.grad(3 * loss, [vectors, table])
    for mine, torchs in zip(ours, torch.autograd.grad(3 * wanted, [vectors, table]), strict=True):
        torch.testing.assert_close(mine, torchs)


def test_being_surely_wrong_costs_much_and_not_infinitely_much() -> None:
    """The target's chance underflows to 0 here, and its log would be -inf."""
    vectors, table = torch.tensor([[300.0]], requires_grad=True), torch.tensor([[1.0], [-1.0]])
    loss = cross_entropy(vectors, table, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(600)
    assert vectors.grad is not None
    assert vectors.grad.item() == pytest.approx(2)


def test_a_large_catalogue_is_never_held_for_all_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    softmax = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda logits, dim: held.append(logits.numel()) or softmax(logits, dim))
    cross_entropy(*drawn(rows=2000, width=4, items=3000))
    assert sum(held) == 2000 * 3000
    assert max(held) <= max(CELLS, ROWS * 3000)
