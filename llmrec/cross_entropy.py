"""Exact cross-entropy over a catalogue or a vocabulary, without ever holding all its logits; both sides train with it.

Letters of shapes: r rows (positions of all histories), d width, v items or tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CELLS = 1 << 18  # logits held at once: 1 MB of float32, so that a block stays in a core's second-level cache
ROWS = 64  # of a block at least: thinner matrix products waste what the cache saves


def cross_entropy(vectors: Tensor, items: Tensor, targets: Tensor, *, cells: int = CELLS) -> Tensor:
    """Mean over rows of -log softmax(vectors items^T)[target]: exact over all items, never r x v at once.

    vectors: (r, d); items: (v, d); targets: (r,). Rows go block by block, and the gradient of a block is taken while
    its probabilities are at hand, so that nothing is kept or computed twice (the idea of Liger's fused linear
    cross-entropy). `cells` is how many logits are held at once. The gradient itself has no gradient.
    """
    loss: Tensor = _CrossEntropy.apply(vectors, items, targets, cells)  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, items: Tensor, targets: Tensor, cells: int) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        by_vector = torch.zeros_like(vectors) if wanted else None
        by_item = torch.zeros_like(items) if wanted else None
        total = vectors.new_zeros(())
        block = max(ROWS, cells // max(1, len(items)))
        for start in range(0, len(vectors), block):
            some, target = vectors[start : start + block], targets[start : start + block, None]
            logits = some @ items.T  # (block, v)
            highest, picked = logits.amax(1, keepdim=True), logits.gather(1, target)
            chances = torch.softmax(logits, 1)
            # The highest chance is at least 1 / v, so its log is finite where the target's own chance may be 0.
            total += (highest - chances.amax(1, keepdim=True).log() - picked).sum()
            if by_vector is not None and by_item is not None:
                chances.scatter_add_(1, target, chances.new_full(target.shape, -1))
                torch.mm(chances, items, out=by_vector[start : start + block])
                by_item.addmm_(chances.T, some)
        if by_vector is not None and by_item is not None:
            ctx.save_for_backward(by_vector, by_item)
        ctx.rows = max(1, len(vectors))
        mean: Tensor = total / ctx.rows
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_vector, by_item = ctx.saved_tensors
        share = gradients[0] / ctx.rows
        return by_vector * share, by_item * share, None, None
