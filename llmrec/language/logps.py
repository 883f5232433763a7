"""Log-probabilities of given tokens from logits, without the log-probabilities of all others.

A softmax over everything would write rows x vocabulary numbers to read one or a few a row. Here nothing of that size is
made beside the logits: their gradient is written over them, block by block.

Shapes: r rows of logits, v words, n tokens asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CELLS = {"cpu": 1 << 18}  # logits taken at once, a row at least: what a core's cache holds
MANY = 1 << 22  # on anything else: enough to keep it busy


def token_logps(logits: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """log softmax(logits[rows])[ids]: (n,) float32, from logits (r, v) of any precision; rows and ids: (n,).

    A row may be asked for several tokens, or for none. The backward pass overwrites the logits (unless they are a
    leaf), so they are to be read before it; who needs them for another gradient gets torch's error about changes in
    place. The gradient itself has none.
    """
    said: Tensor = _TokenLogps.apply(logits, rows, ids)  # type: ignore[no-untyped-call]
    return said


def log_mass(logits: Tensor) -> Tensor:
    """The log of each row's summed exponentials, (r,) float32."""
    parts = [logits[some].float().logsumexp(-1) for some in _blocks(logits)]
    return torch.cat(parts) if parts else logits.new_empty(0, dtype=torch.float32)


def _blocks(logits: Tensor) -> list[slice]:
    step = max(1, CELLS.get(logits.device.type, MANY) // logits.shape[-1])
    return [slice(start, start + step) for start in range(0, len(logits), step)]


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
        mass = log_mass(logits)
        ctx.save_for_backward(logits, mass, rows, ids)
        return logits[rows, ids].float() - mass[rows]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_said: Tensor) -> tuple[Tensor | None, ...]:
        logits, mass, rows, ids = ctx.saved_tensors
        weight = torch.zeros_like(mass).index_add_(0, rows, by_said)
        by_logits = logits.clone() if logits.is_leaf else logits.detach()
        order = rows.argsort()
        rows, ids, by_said = rows[order], ids[order], by_said[order]
        blocks = _blocks(logits)
        edges = torch.tensor([some.start for some in blocks] + [len(logits)], device=rows.device)
        ends = torch.searchsorted(rows, edges).tolist()  # of the sorted rows, where each block begins
        for some, begin, end in zip(blocks, ends, ends[1:], strict=False):
            block = by_logits[some]
            share = block if block.dtype == torch.float32 else block.float()
            share.sub_(mass[some, None]).exp_().mul_(-weight[some, None])
            # In float32: near certainty the two sides cancel, and what is left of them is the gradient.
            at = rows[begin:end] - some.start
            share.index_put_((at, ids[begin:end]), by_said[begin:end], accumulate=True)
            if share is not block:
                block.copy_(share)
        return by_logits, None, None
