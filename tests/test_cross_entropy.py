"""The blockwise cross-entropy is the cross-entropy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from llmrec import cross_entropy as module
from llmrec.cross_entropy import ROWS, STEP, cross_entropy, product

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def drawn(rows: int, width: int, items: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    vectors = (torch.randn(rows, width, generator=draw) * scale).requires_grad_()
    table = torch.randn(items, width, generator=draw).requires_grad_()
    return vectors, table, torch.randint(0, items, (rows,), generator=draw)


@pytest.fixture(params=["as here", "without oneDNN"])
def either_product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without oneDNN":
        monkeypatch.setattr(module, "_has_onednn", lambda: False)


def test_knowing_nothing_costs_the_log_of_the_catalogue() -> None:
    loss = cross_entropy(torch.zeros(5, 3), torch.randn(20, 3), torch.arange(5))
    assert loss.item() == pytest.approx(torch.log(torch.tensor(20.0)))


@pytest.mark.usefixtures("either_product")
@pytest.mark.parametrize("biased", [False, True])
def test_value_and_gradients_are_those_of_the_formula_in_double_precision(
    monkeypatch: pytest.MonkeyPatch, biased: bool
) -> None:
    monkeypatch.setattr(module, "ROWS", STEP)
    vectors, table, targets = drawn(rows=3 * STEP + 5, width=6, items=30)
    bias = torch.linspace(-3, 3, 30).requires_grad_() if biased else None
    asked = [vectors, table, *([bias] if bias is not None else [])]
    exact = [one.detach().double().requires_grad_() for one in asked]
    wanted = F.cross_entropy(exact[0] @ exact[1].T + (exact[2] if biased else 0), targets)
    loss = cross_entropy(vectors, table, targets, bias=bias, cells=1)
    torch.testing.assert_close(loss.double(), wanted, **CLOSE)
    ours = torch.autograd.grad(3 * loss, asked)
    for mine, right in zip(ours, torch.autograd.grad(3 * wanted, exact), strict=True):
        assert mine.is_contiguous()
        torch.testing.assert_close(mine.double(), right, **CLOSE)


@pytest.mark.parametrize("cells", [1, 64 * STEP, 1 << 30])
def test_blocks_of_any_height_give_the_same(cells: int) -> None:
    vectors, table, targets = drawn(rows=500, width=6, items=30)
    loss = cross_entropy(vectors, table, targets, cells=cells)
    torch.testing.assert_close(loss, F.cross_entropy(vectors @ table.T, targets))


def test_in_double_precision_its_gradient_is_its_slope() -> None:
    vectors, table, targets = drawn(rows=5, width=3, items=7)
    asked = vectors.detach().double().requires_grad_(), table.detach().double().requires_grad_()
    bias = torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda vectors, table, bias: cross_entropy(vectors, table, targets, bias=bias), (*asked, bias)
    )


def test_no_rows_cost_nothing() -> None:
    vectors, table, targets = drawn(rows=0, width=3, items=7)
    loss = cross_entropy(vectors, table, targets)
    loss.backward()
    assert loss.item() == 0
    assert table.grad is not None
    assert not table.grad.any()


@pytest.mark.usefixtures("either_product")
def test_being_surely_wrong_costs_much_and_not_infinitely_much() -> None:
    """The target's chance underflows to 0 here, and its log would be -inf."""
    vectors, table = torch.tensor([[300.0]], requires_grad=True), torch.tensor([[1.0], [-1.0]])
    loss = cross_entropy(vectors, table, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(600)
    assert vectors.grad is not None
    assert vectors.grad.item() == pytest.approx(2)


@pytest.mark.parametrize("height", [-1e4, 1e4])
def test_logits_that_are_all_high_or_all_low_are_compared_all_the_same(height: float) -> None:
    vectors, table = torch.ones(2, 1), torch.zeros(3, 1)
    loss = cross_entropy(vectors, table, torch.tensor([0, 2]), bias=torch.tensor([height, height - 1, height + 1]))
    wanted = torch.logsumexp(torch.tensor([0.0, -1, 1]), 0) - 0.5
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=1e-3)


class Held(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that anything makes."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.most = max([self.most, *(one.numel() for one in [made] if isinstance(one, Tensor))])
        return made


def test_a_large_catalogue_is_never_held_for_all_rows_at_once() -> None:
    vectors, table, targets = drawn(rows=2000, width=4, items=3000)
    with Held() as held:
        cross_entropy(vectors, table, targets, cells=1).backward()
    assert held.most == ROWS * 3000


@pytest.mark.usefixtures("either_product")
def test_a_product_is_a_product_whatever_the_layout() -> None:
    a, b, bias = torch.randn(7, 5), torch.randn(9, 5), torch.randn(9)
    torch.testing.assert_close(product(a, b), a @ b.T)
    torch.testing.assert_close(product(a, b, bias), a @ b.T + bias)
    torch.testing.assert_close(product(a.T.contiguous().T, b.T.contiguous().T), a @ b.T)
    torch.testing.assert_close(product(a.double(), b.double()), a.double() @ b.double().T)
    for left, right in [(a[:0], b), (a, b[:0]), (a[:, :0], b[:, :0])]:
        torch.testing.assert_close(product(left, right), left @ right.T)
