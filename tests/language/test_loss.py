from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.language import loss
from llmrec.language.loss import blocked_cross_entropy


@pytest.mark.parametrize("rows", [1, 7, 64, 65])
def test_blocks_give_torch_s_own_loss_and_gradients(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "BLOCK", 32)
    torch.manual_seed(rows)
    labels = torch.randint(50, (rows,))
    sides = []
    both: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda h, w: F.cross_entropy(h @ w.T, labels),
        lambda h, w: blocked_cross_entropy(h, w, labels),
    ]
    for compute in both:
        torch.manual_seed(1)
        hidden, weight = torch.randn(rows, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
        value = 3 * compute(hidden, weight)
        torch.autograd.backward(value)
        sides.append((value.detach(), hidden.grad, weight.grad))
    for ours, theirs in zip(*sides, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_large_logits_do_not_overflow() -> None:
    hidden, weight = torch.full((3, 4), 50.0, requires_grad=True), torch.eye(4).repeat(2, 1) * 50
    assert torch.isfinite(blocked_cross_entropy(hidden, weight, torch.tensor([0, 1, 2])))
