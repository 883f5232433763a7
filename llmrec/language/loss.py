"""Cross-entropy over a vocabulary without ever holding all its logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

BLOCK = 2048  # rows of logits held at once; 2048 x 4096 floats are 32 MB, about a last-level cache


class _BlockedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ weight.T`, its gradients computed block by block in the forward pass.

    Plain autograd writes the logits, their softmax and its gradient for all rows to memory; here a block of rows
    is multiplied, reduced and turned into both gradients while it is in cache (the idea of cut cross-entropy,
    Wijmans et al. 2024, arXiv 2411.09009, in plain matrix products).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:  # (n, d), (v, d), (n,)
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), BLOCK):
            rows, answer = hidden[start : start + BLOCK], labels[start : start + BLOCK, None]
            logits = rows @ weight.T  # (block, v)
            peak = logits.amax(1, keepdim=True)
            right = logits.gather(1, answer)
            odds = logits.sub_(peak).exp_()
            mass = odds.sum(1, keepdim=True)
            total += (mass.log() + peak - right).sum()
            gradient = odds.div_(mass).scatter_add_(1, answer, right.new_full(answer.shape, -1.0))  # softmax - onehot
            torch.mm(gradient, weight, out=d_hidden[start : start + BLOCK])
            d_weight.addmm_(gradient.T, rows)
        ctx.save_for_backward(d_hidden, d_weight)
        count = max(len(hidden), 1)
        ctx.rows = count
        return total / count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        d_hidden, d_weight = ctx.saved_tensors
        scale = gradients[0] / ctx.rows
        return d_hidden * scale, d_weight * scale, None


_apply: Callable[[Tensor, Tensor, Tensor], Tensor] = _BlockedCrossEntropy.apply


def blocked_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of `labels` (n,) under softmax(hidden (n, d) @ weight (v, d).T), in nats."""
    return _apply(hidden, weight, labels)
