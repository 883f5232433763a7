"""Log-probabilities of a few tokens are those of the whole softmax, and so are their gradients, however it is cut."""

from __future__ import annotations

import pytest
import torch

from llmrec.language import logps as room
from llmrec.language.logps import log_mass, token_logps

ROWS, IDS = torch.tensor([0, 2, 2, 5, 0]), torch.tensor([3, 1, 1, 6, 3])  # one asked twice, some rows never


@pytest.mark.parametrize("cells", [7, 20, 1 << 22])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_those_of_the_whole_softmax(dtype: torch.dtype, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(room.CELLS, "cpu", cells)
    torch.manual_seed(0)
    logits = (4 * torch.randn(6, 7)).to(dtype).requires_grad_()
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.25])
    ours, whole = token_logps(logits, ROWS, IDS), logits.float().log_softmax(-1)[ROWS, IDS]
    torch.testing.assert_close(ours, whole)
    (mine,), (right,) = (torch.autograd.grad((weights * one).sum(), logits) for one in (ours, whole))
    torch.testing.assert_close(mine, right, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)
    torch.testing.assert_close(log_mass(logits.detach()), logits.detach().float().logsumexp(-1))


def test_the_gradient_takes_the_place_of_the_logits() -> None:
    """A step holds one thing of their size. Another gradient that still needs them is refused, and not made wrongly."""
    leaf = torch.randn(6, 7, requires_grad=True)
    logits = 2 * leaf
    said = token_logps(logits, ROWS, IDS)
    (gradient,) = torch.autograd.grad(said.sum(), logits, retain_graph=True)
    assert gradient.data_ptr() == logits.data_ptr()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(said.sum(), logits)


def test_near_certainty_bfloat16_keeps_what_is_left_of_the_gradient() -> None:
    """1 - p = .0011: rounded on its own, p would be 1 and nothing left."""
    logits = torch.tensor([[6.8, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    token_logps(logits, torch.tensor([0]), torch.tensor([0])).sum().backward()
    assert logits.grad is not None
    assert float(logits.grad[0, 0]) == pytest.approx(float(1 - logits.detach().float().softmax(-1)[0, 0]), rel=1e-2)


def test_none_asked_for_is_none() -> None:
    empty = torch.empty(0, dtype=torch.long)
    assert token_logps(torch.zeros(0, 5), empty, empty).shape == (0,)
