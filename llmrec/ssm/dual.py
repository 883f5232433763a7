"""The dual form of Mamba-2's recurrence: matrix products of chunks, with their gradient written out.

Within a chunk position t hears an earlier s through C_t . B_s, decayed by exp(A_t - A_s), where A is the running sum of
dt a; from chunk to chunk goes a state (Dao and Gu 2024, arXiv 2405.21060, section 6). Two things that autograd would
not do halve the time of a training step on a CPU. Rows go block by block, so that what is made of a block stays in the
cache. And the decays are made again for the gradient, not kept, and have no gradient of their own: an output depends on
A_t as exp(A_t), and on what was said at s as exp(-A_s), so the gradient of A is the outputs times their gradients, less
what was said times its gradient.

Packed histories are kept apart by masks of 0 and 1 and by sums that begin anew with each, never by adding infinities:
what one history says, however loud, does not reach the last digit of another.

Letters of shapes:
    r  rows of a block      h  heads               c  chunks a row
    l  positions            p  channels a head     q  positions a chunk
    n  numbers of state     k  chunks of a block, r x c
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmrec.ssm.blocks import blocks

BLOCK = 200_000  # numbers of x in a block of rows on a CPU: some eight times as many are made of it at once
SHARED = 4_000_000  # the same where threads share the work: waking them for every product of small blocks costs more


class Chunked(torch.autograd.Function):
    """(state, x, dt, a, b, c, starts, chunk) -> (y, state), as in `llmrec.ssm.ssd.extend`, for whole chunks only.

    The gradient itself has no gradient.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        state, x, dt, a, b, c, starts, chunk = arguments
        y, end = x.new_empty(x.shape), x.new_empty(len(x), *x.shape[2:], b.shape[-1])
        entered: list[Tensor | None] = []
        for rows in _blocks(x):
            block = _chunks(x[rows], dt[rows], a, b[rows], c[rows], _of(starts, rows), chunk)
            entered.append(_outputs(block, _of(state, rows), y[rows], end[rows]))
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, dt, a, b, c, starts, y, end, *entered)
            ctx.chunk = chunk
            ctx.set_materialize_grads(False)
        return y, end

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_y: Tensor | None, by_end: Tensor | None) -> tuple[Tensor | None, ...]:
        x, dt, a, b, c, starts, y, end, *entered = ctx.saved_tensors
        by_y = torch.zeros_like(y) if by_y is None else by_y
        by_x, by_dt, by_b, by_c = (t.new_empty(t.shape) for t in (x, dt, b, c))
        by_a, by_state = torch.zeros_like(a), end.new_empty(end.shape) if ctx.needs_input_grad[0] else None
        for rows, states in zip(_blocks(x), entered, strict=True):
            block = _chunks(x[rows], dt[rows], a, b[rows], c[rows], _of(starts, rows), ctx.chunk)
            _gradients(block, by_y[rows], by_x[rows], by_b[rows], by_c[rows])
            ends = None
            if states is not None or by_end is not None:
                ends = _gradients_of_states(
                    block, states, end[rows], by_y[rows], _of(by_end, rows), by_x[rows], by_b[rows], by_c[rows],
                    _of(by_state, rows),
                )  # fmt: skip
            # So far by_x is the gradient of what was said, dt x; from here it is that of x.
            by_size = (by_x[rows] * x[rows]).sum(-1)  # (r, l, h)
            by_x[rows].mul_(dt[rows, ..., None])
            by_sums = ((by_y[rows] * y[rows]).sum(-1) - by_size * dt[rows]).reshape(block.fades.shape)  # (k, q, h)
            if ends is not None:
                by_sums[:, -1] += ends
            by_logs = (block.sums.mT @ by_sums).view_as(by_size)
            torch.addcmul(by_size, by_logs, a, out=by_dt[rows])
            by_a += (by_logs * dt[rows]).sum((0, 1))
        return by_state, by_x, by_dt, by_a, by_b, by_c, None, None


class _Chunks(NamedTuple):
    """What is made of a block of rows, for the outputs and again for their gradient."""

    b: Tensor  # (k, q, n)
    c: Tensor  # (k, q, n)
    said: Tensor  # (k h, q, p)  dt x
    kept: Tensor  # (k, q, h p)  what of it is still heard at the chunk's end
    sums: Tensor  # (k or 1, q, q)  1 where the first hears the second: not the future, not another history
    spoken: Tensor  # (k, q, q)  C_t . B_s where t hears s, else 0; the same for all heads
    decay: Tensor  # (k, h, q, q)  exp(A_t - A_s)
    fades: Tensor  # (k, q, h)  how much is left of the state that the chunk began with: nothing once a history started
    stays: Tensor  # (k, q, h)  how much of what is said is left at the chunk's end: nothing if a history starts between
    passes: Tensor  # (r, c, h)  how much of the state that the chunk began with is left at its end


def _chunks(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor | None, chunk: int) -> _Chunks:
    x, dt = x.unflatten(1, (-1, chunk)), dt.unflatten(1, (-1, chunk))  # (r, c, q, h, p), (r, c, q, h)
    b, c = (t.unflatten(1, (-1, chunk)).flatten(0, 1) for t in (b, c))
    r, chunks, q, h, p = x.shape
    # How many histories have started in the chunk up to each position. What it began with is from before all of them.
    begun = dt.new_zeros(1, q) if starts is None else starts.reshape(-1, q).cumsum(1)  # (k or 1, q)
    sums = (begun[:, :, None] == begun[:, None]).tril().to(dt.dtype)
    # Sums stay within a chunk and a history, so that their differences keep their digits however long the row is.
    logs = sums @ (dt * a).flatten(0, 1)  # (k, q, h)
    by_head = logs.mT.contiguous()
    # Between positions that do not hear each other the difference may be positive, and exp of it infinite.
    decay = (by_head[..., :, None] - by_head[..., None, :]).clamp_(max=0).exp_()
    fades = logs.exp() * (begun == 0)[..., None]
    stays = (logs[:, -1:] - logs).clamp_(max=0).exp_() * (begun == begun[:, -1:])[..., None]
    said, kept = x.new_empty(r, chunks, h, q, p), x.new_empty(r, chunks, q, h, p)
    torch.mul(x.transpose(2, 3), dt.transpose(2, 3)[..., None], out=said)
    torch.mul(x, (dt * stays.view_as(dt))[..., None], out=kept)
    spoken = torch.bmm(c, b.mT).mul_(sums)
    said, kept = said.view(-1, q, p), kept.view(-1, q, h * p)
    return _Chunks(b, c, said, kept, sums, spoken, decay, fades, stays, fades[:, -1].view(r, chunks, h))


def _outputs(block: _Chunks, state: Tensor | None, y: Tensor, end: Tensor) -> Tensor | None:
    """Writes y (r, l, h, p) and the last states (r, h, p, n); gives the states that chunks begin with, (r, c, h, p, n).

    A single chunk that begins with nothing has none to give.
    """
    (k, h, q, _), (r, chunks, _), p = block.decay.shape, block.passes.shape, y.shape[-1]
    within = torch.bmm((block.decay * block.spoken[:, None]).flatten(0, 1), block.said).view(k, h, q, p).transpose(1, 2)
    y = y.view(k, q, h, p)
    if chunks == 1 and state is None:
        torch.bmm(block.kept.mT, block.b, out=end.view(k, h * p, -1))
        y.copy_(within)
        return None
    left = torch.bmm(block.kept.mT, block.b).view(r, chunks, *end.shape[1:])
    if chunks == 1 and state is not None:
        entered = state[:, None]
    else:
        entered = torch.empty_like(left)
        entered[:, 0] = 0 if state is None else state
    for i, after in enumerate((*entered.unbind(1)[1:], end)):
        torch.addcmul(left[:, i], entered[:, i], block.passes[:, i, :, None, None], out=after)
    given = torch.bmm(block.c, entered.flatten(0, 1).flatten(1, 2).mT).view(k, q, h, p)
    torch.addcmul(within, given, block.fades[..., None], out=y)
    return entered


def _gradients(block: _Chunks, by_y: Tensor, by_said: Tensor, by_b: Tensor, by_c: Tensor) -> None:
    """Writes the gradients of dt x (r, l, h, p), B and C (r, l, n) as far as they are heard within their chunk."""
    (k, h, q, _), p = block.decay.shape, by_y.shape[-1]
    by_head = by_y.reshape(k, q, h, p).transpose(1, 2).reshape(k * h, q, p)
    by_spoken = torch.bmm(by_head, block.said.mT).view_as(block.decay).mul_(block.decay).sum(1).mul_(block.sums)
    by_within = torch.bmm((block.decay * block.spoken[:, None]).flatten(0, 1).mT, by_head)
    by_said.view(k, q, h, p).copy_(by_within.view(k, h, q, p).transpose(1, 2))
    torch.bmm(by_spoken.mT, block.c, out=by_b.view_as(block.b))
    torch.bmm(by_spoken, block.b, out=by_c.view_as(block.c))


def _gradients_of_states(
    block: _Chunks,
    entered: Tensor | None,
    end: Tensor,
    by_y: Tensor,
    by_end: Tensor | None,
    by_said: Tensor,
    by_b: Tensor,
    by_c: Tensor,
    by_state: Tensor | None,
) -> Tensor:
    """Adds what is heard through states, writes the gradient of the first, gives that of A at chunks' ends (k, h)."""
    (k, q, n), (r, chunks, h), p = block.b.shape, block.passes.shape, by_said.shape[-1]
    entered = end.new_zeros(r, chunks, h, p, n) if entered is None else entered
    by_given = torch.mul(by_y.reshape(k, q, h, p), block.fades[..., None]).reshape(k, q, h * p)
    by_entered = torch.bmm(by_given.mT, block.c).view(r, chunks, h, p, n)
    by_left, by_ends = torch.empty_like(by_entered), block.passes.new_empty(r, chunks, h)
    by_left[:, -1] = 0 if by_end is None else by_end
    for i in reversed(range(chunks)):
        by_ends[:, i] = (by_left[:, i] * (end if i == chunks - 1 else entered[:, i + 1])).sum((-1, -2))
        before = by_left[:, i - 1] if i else by_state
        if before is not None:
            torch.addcmul(by_entered[:, i], by_left[:, i], block.passes[:, i, :, None, None], out=before)
    by_left, entered = by_left.view(k, h * p, n), entered.reshape(k, h * p, n)
    across = torch.bmm(block.b, by_left.mT).view(k, q, h, p)
    by_said.view(k, q, h, p).addcmul_(across, block.stays[..., None])
    by_b.view_as(block.b).baddbmm_(block.kept, by_left)
    by_c.view_as(block.c).baddbmm_(by_given, entered)
    return by_ends.view(k, h)


def _blocks(x: Tensor) -> list[slice]:
    return blocks(x, BLOCK if torch.get_num_threads() == 1 else SHARED)


def _of(tensor: Tensor | None, rows: slice) -> Tensor | None:
    return None if tensor is None else tensor[rows]
