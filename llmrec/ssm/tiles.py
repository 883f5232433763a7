"""Mamba-1's recurrence tile by tile, with its gradient written out.

Every number of state decays at its own rate, so there is a number to make for each of l e n a row, and what counts is
how often they go through memory. A tile is some rows' chunk of positions, small enough for the cache, and
everything is one operation on a whole tile but the recurrence itself: that is one operation a position, in place. Where
rows are too few to fill such a step, it is one position of many chunks of a row at once, whose beginnings are found by
a scan before. So there are a few times sqrt(l) steps in Python, or as few as have `STEP` numbers each. Only the states
that chunks begin with are kept for the gradient; those between are made again.

Channels are innermost: a vector instruction takes 16 of them, whose decays and inputs differ. Packed histories are kept
apart by a decay of 0: what one says, however loud, does not reach the last digit of another.

Letters of shapes:
    b  rows                 r  rows of a tile       q  positions a chunk
    l  positions            k  chunks a row         w  chunks a row that are taken at once, a wave
    e  channels             s  lanes of a tile, r x w: what a step takes at once
    n  numbers of state a channel
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

STEP = {"cpu": (1 << 15) - 1, "cuda": 1 << 20}
"""Numbers of state that a step takes at once, where there are so many. On a processor a tile of such steps fits its
cache, and torch takes an operation on fewer than 32,768 by one thread: to wake another costs more than it saves."""
LOG2E = math.log2(math.e)


class Tiled(torch.autograd.Function):
    """(state, x, dt, a, b, c, starts, chunk, kept) -> (y, state), as in `llmrec.ssm.selective_scan.extend`.

    For whole chunks only; a is (n, e) and states are (b, n, e). state may be None; where c is, no outputs are made.
    `kept` says whether anybody will ask for gradients. The gradient itself has none.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        state, x, dt, a, b, c, starts, chunk, kept = arguments
        chunks, wanted, a = x.shape[1] // chunk, kept and any(ctx.needs_input_grad), a.contiguous()
        y, end = x.new_empty(x.shape if c is not None else (len(x), 0)), x.new_empty(len(x), *a.shape)
        entered = x.new_empty(len(x), chunks if wanted else 0, *a.shape)
        memory = _Memory(2, x, chunk, a)
        for rows, waves in _tiles(len(x), chunks, a):
            before = x.new_zeros(a.shape).expand_as(end[rows]) if state is None else state[rows]
            for wave in waves:
                tile = _tile(x, dt, b, c, starts, rows, wave, chunk)
                (decay, decays), (hidden, states) = memory.of(tile)
                _recurrence(tile, a, decay, hidden)
                begins = before[:, None]
                if tile.chunks > 1:
                    begins = _carried(before, _left(tile, decays, states), _passed(tile, decay))
                if wanted:
                    entered[rows, wave] = begins
                ends = _walk(decays, states, begins.flatten(0, 1))
                before = ends.unflatten(0, (-1, tile.chunks))[:, -1].clone()
                if tile.c is not None:
                    y[rows, tile.span] = _over_numbers(tile.c, hidden).reshape(len(before), -1, x.shape[-1])
            end[rows] = before
        if wanted:
            ctx.save_for_backward(x, dt, a, b, c, starts, entered)
            ctx.chunk = chunk
            ctx.set_materialize_grads(False)
        return y, end

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_y: Tensor | None, by_end: Tensor | None) -> tuple[Tensor | None, ...]:
        x, dt, a, b, c, starts, entered = ctx.saved_tensors
        by_x, by_dt, by_b, by_a = torch.empty_like(x), torch.empty_like(dt), torch.empty_like(b), torch.zeros_like(a)
        by_c = None if c is None else torch.zeros_like(c)
        by_state = x.new_empty(len(x), *a.shape)
        heard = None if by_y is None else c  # where nothing asks for outputs, C has no part in anything
        memory = _Memory(3, x, ctx.chunk, a)
        for rows, waves in _tiles(len(x), entered.shape[1], a):
            by_after = torch.zeros_like(by_state[rows]) if by_end is None else by_end[rows]
            for wave in reversed(waves):
                tile = _tile(x, dt, b, heard, starts, rows, wave, ctx.chunk)
                asked = None if by_y is None else _lanes(by_y[rows, tile.span], ctx.chunk)
                given, by_after = _gradients(tile, a, memory, entered[rows, wave], asked, by_after, by_a)
                for whole, part in zip((by_x, by_dt, by_b, by_c), given, strict=True):
                    if whole is not None and part is not None:
                        whole[rows, tile.span] = part.reshape(len(by_after), -1, part.shape[-1])
            by_state[rows] = by_after
        return (by_state if ctx.needs_input_grad[0] else None), by_x, by_dt, by_a, by_b, by_c, None, None, None


class _Tile(NamedTuple):
    """What some rows hear in a wave of chunks."""

    x: Tensor  # (s, q, e)
    dt: Tensor  # (s, q, e)
    said: Tensor  # (s, q, e)  dt x
    b: Tensor  # (s, q, n)
    c: Tensor | None  # (s, q, n)
    starts: Tensor | None  # the positions, counted through s and q, where another history begins
    chunks: int  # w
    span: slice  # of the positions of a row


class _Memory:
    """Room for all numbers of state of a tile, `many` times, where one tile after another is worked out.

    Nothing is asked of the system for every tile, and the views of positions, thousands of them, are made once.
    """

    def __init__(self, many: int, x: Tensor, chunk: int, a: Tensor) -> None:
        block, wave = _sizes(len(x), x.shape[1] // chunk, a)
        self.room = x.new_empty(many, block * wave, chunk, *a.shape)
        self.made: dict[int, list[tuple[Tensor, tuple[Tensor, ...]]]] = {}

    def of(self, tile: _Tile) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
        """(s, q, n, e), and the same position by position, `many` times."""
        lanes = len(tile.x)
        if lanes not in self.made:
            self.made[lanes] = [(one[:lanes], one[:lanes].unbind(1)) for one in self.room]
        return self.made[lanes]


def _recurrence(tile: _Tile, a: Tensor, decay: Tensor, added: Tensor) -> None:
    """Writes how much of the state before each position is left at it, and what is added to it: (s, q, n, e) each."""
    # By powers of 2: torch has exp2 in a fifth of exp's time.
    torch.mul(tile.dt[:, :, None], a * LOG2E, out=decay).exp2_()
    if tile.starts is not None:
        decay.flatten(0, 1).index_fill_(0, tile.starts, 0)
    torch.mul(tile.said[:, :, None], tile.b[..., None], out=added)


def _walk(decay: Sequence[Tensor], states: Sequence[Tensor], state: Tensor) -> Tensor:
    """Takes `state` (s, n, e) along: each of `states` gets what is left of the one before; the last of them."""
    for left, here in zip(decay, states, strict=True):
        state = here.addcmul_(left, state)
    return state


def _left(tile: _Tile, decay: Sequence[Tensor], added: Sequence[Tensor]) -> Tensor:
    """Where a walk from nothing ends, (r, w, n, e), without taking it."""
    state = torch.zeros_like(added[0])
    for left, here in zip(decay, added, strict=True):
        state.mul_(left).add_(here)
    return state.view(-1, tile.chunks, *state.shape[1:])


def _passed(tile: _Tile, decay: Tensor) -> Tensor:
    """How much of the state before each chunk is left after it: (r, w, n, e)."""
    return decay.prod(1).view(-1, tile.chunks, *decay.shape[2:])


def _carried(first: Tensor, left: Tensor, passed: Tensor) -> Tensor:
    """What each chunk begins with, (r, w, n, e), where the first begins with `first` (r, n, e)."""
    begins = torch.empty_like(left)
    begins[:, 0] = first
    for i in range(1, left.shape[1]):
        torch.addcmul(left[:, i - 1], begins[:, i - 1], passed[:, i - 1], out=begins[:, i])
    return begins


def _gradients(
    tile: _Tile, a: Tensor, memory: _Memory, entered: Tensor, by_y: Tensor | None, by_after: Tensor, by_a: Tensor
) -> tuple[tuple[Tensor | None, ...], Tensor]:
    """The gradients of x, dt (s, q, e), B and C (s, q, n), and of the state before (r, n, e); adds to that of A.

    entered: (r, w, n, e); by_y: (s, q, e); by_after, of the state after the wave: (r, n, e).
    """
    (decay, decays), (hidden, states), (by_hidden, by_each) = memory.of(tile)
    _recurrence(tile, a, decay, hidden)
    begins = entered.flatten(0, 1)
    _walk(decays, states, begins)
    by_c = None
    if by_y is None or tile.c is None:
        by_hidden.zero_()
    else:
        torch.mul(by_y[:, :, None], tile.c[..., None], out=by_hidden)
        by_c = _over_channels(by_y, hidden)
    if tile.chunks > 1:  # the walk back, from chunk to chunk as from position to position
        left = _left(tile, decays[:1] + decays[:0:-1], by_each[::-1]) * decays[0].unflatten(0, (-1, tile.chunks))
        by_after = _carried(by_after, left.flip(1), _passed(tile, decay).flip(1)).flip(1).flatten(0, 1)
    by_each[-1].add_(by_after)
    _walk(decays[:0:-1], by_each[-2::-1], by_each[-1])
    by_b, by_said = _over_channels(tile.said, by_hidden), _over_numbers(tile.b, by_hidden)
    decay.mul_(by_hidden)  # now the gradient of the state before each position
    by_before = decays[0].unflatten(0, (-1, tile.chunks))[:, 0].clone()
    decay[:, 1:].mul_(hidden[:, :-1])  # and now that of dt A
    decays[0].mul_(begins)
    by_dt = torch.mul(decay, a, out=by_hidden).sum(2).addcmul_(by_said, tile.x)
    by_a += decay.mul_(tile.dt[:, :, None]).sum((0, 1))
    return (by_said.mul_(tile.dt), by_dt, by_b, by_c), by_before


def _over_numbers(weights: Tensor, states: Tensor) -> Tensor:
    """The sum over n of weights (s, q, n) times states (s, q, n, e): (s, q, e)."""
    return torch.bmm(weights.flatten(0, 1)[:, None], states.flatten(0, 1)).view(*states.shape[:2], -1)


def _over_channels(weights: Tensor, states: Tensor) -> Tensor:
    """The sum over e of weights (s, q, e) times states (s, q, n, e): (s, q, n)."""
    # A row times a transposed matrix: MKL takes eight times as long for the matrix times a column.
    return torch.bmm(weights.flatten(0, 1)[:, None], states.flatten(0, 1).mT).view(*states.shape[:2], -1)


def _sizes(rows: int, chunks: int, a: Tensor) -> tuple[int, int]:
    """Rows of a tile and chunks of a wave that fill a step."""
    lanes = max(1, STEP["cuda" if a.is_cuda else "cpu"] // max(1, a.numel()))
    block = min(lanes, max(1, rows))
    return block, min(max(1, lanes // block), max(1, chunks))


def _tiles(rows: int, chunks: int, a: Tensor) -> Iterator[tuple[slice, list[slice]]]:
    """Blocks of rows, each with its waves of chunks."""
    block, wave = _sizes(rows, chunks, a)
    waves = [slice(i, min(i + wave, chunks)) for i in range(0, chunks, wave)]
    for row in range(0, rows, block):
        yield slice(row, min(row + block, rows)), waves


def _tile(
    x: Tensor, dt: Tensor, b: Tensor, c: Tensor | None, starts: Tensor | None, rows: slice, wave: slice, chunk: int
) -> _Tile:
    span = slice(wave.start * chunk, wave.stop * chunk)
    x, dt, b = (_lanes(t[rows, span], chunk) for t in (x, dt, b))
    c = None if c is None else _lanes(c[rows, span], chunk)
    begins = None if starts is None else starts[rows, span].flatten().nonzero()[:, 0]
    return _Tile(x, dt, x * dt, b, c, begins, wave.stop - wave.start, span)


def _lanes(t: Tensor, chunk: int) -> Tensor:
    """(r, w q, ...) as (s, q, ...)."""
    return t.reshape(-1, chunk, *t.shape[2:])
