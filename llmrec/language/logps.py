"""Log-probabilities of given tokens from logits, without the log-probabilities of all others.

A softmax over everything would write rows x vocabulary numbers to read one or a few a row; here the only thing of that
size beside the logits is their gradient.

Shapes: r rows of logits, v words, n tokens asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CELLS = 1 << 22  # logits taken to float32 at once


def token_logps(logits: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """log softmax(logits[rows])[ids]: (n,) float32, from logits (r, v) of any precision; rows and ids: (n,).

    A row may be asked for several tokens, or for none. The gradient itself has none.
    """
    said: Tensor = _TokenLogps.apply(logits, rows, ids)  # type: ignore[no-untyped-call]
    return said


def log_mass(logits: Tensor) -> Tensor:
    """The log of each row's summed exponentials, (r,) float32."""
    step = max(1, CELLS // logits.shape[-1])
    parts = [logits[start : start + step].float().logsumexp(-1) for start in range(0, len(logits), step)]
    return torch.cat(parts) if parts else logits.new_empty(0, dtype=torch.float32)


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
        by_logits = torch.empty_like(logits)
        step = max(1, CELLS // logits.shape[-1])
        for start in range(0, len(logits), step):
            some = slice(start, start + step)
            share = (logits[some].float() - mass[some, None]).exp_().mul_(-weight[some, None])
            inside = (rows >= start) & (rows < start + step)
            # In float32: near certainty the two sides cancel, and what is left of them is the gradient.
            share.index_put_((rows[inside] - start, ids[inside]), by_said[inside], accumulate=True)
            by_logits[some] = share
        return by_logits, None, None
