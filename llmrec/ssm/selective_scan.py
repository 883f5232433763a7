"""Mamba-1's selective scan in plain torch: one recurrence, four ways to run it, the same numbers.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t          y_t = C_t . h_t          for every channel by itself

    parallel    whole histories that start from nothing (training)
    extend      the same, going on from a state and giving the state to go on from
    step        one position
    last        the output at the last position only (reading a history once)

Every channel has n numbers of state, each with a decay rate of its own (Gu and Dao 2023, arXiv 2312.00752), so the sum
over the past is no matrix product as in `llmrec.ssm.ssd`; it is a scan of l e n numbers a row. Here it goes chunk by
chunk, a chunk about sqrt(l) positions long, and what is made of a position is used while it is in the cache. A step in
Python is one position of many rows; where rows are too few to fill it, it is one position of many chunks of a row at
once, whose beginnings are found by a scan before. So there are about 2 sqrt(l) steps, or as few as have `STEP` numbers
each. Only the states that chunks begin with are kept for the gradient; those between are made again, a chunk at a time.

Several histories may be packed into one row: `starts` (b, l) is True where another one begins. The decay is 0 there, so
nothing from before is heard after it, not even in the last digit.

Letters of shapes:
    b  rows                 r  rows of a block      q  positions a chunk
    l  positions            k  chunks a row         w  chunks a row that are taken at once, a wave
    e  channels             s  lanes, r x w: what a step takes at once
    n  numbers of state a channel; B and C are shared by all channels
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.ssm import kernels

STEP = {"cpu": (1 << 15) - 1, "cuda": 1 << 22}
"""Numbers of state that a step takes at once, where there are so many. On a processor a core's cache holds them, and
torch takes an operation on fewer than 32,768 by one thread: to wake another costs more than it saves."""
LOG2E = math.log2(math.e)


def parallel(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *, starts: Tensor | None = None, chunk: int | None = None
) -> Tensor:
    """The outputs of whole sequences that start from nothing: (b, l, e).

    x: (b, l, e); dt: (b, l, e), not negative; a: (e, n), negative; b and c: (b, l, n). Causal, so padding on the right
    changes no output before it. A position with dt = 0 leaves no trace. `chunk` is how many positions at most go
    between states that are kept; left out, about sqrt(l).
    """
    if starts is None and x.shape[1] > 1 and kernels.fits("scan", x):
        return kernels.scan(x, dt, a, b, c)[0]
    return extend(None, x, dt, a, b, c, starts=starts, chunk=chunk)[0]


def extend(
    state: Tensor | None,
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    starts: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The outputs of sequences that go on from `state` (b, e, n), and the states that they end in.

    Shapes as in `parallel`; None is the empty state. Where rows differ in length, pad on the right with dt = 0: their
    states stand still there. No positions at all give no outputs and the state as it was. The gradient has none itself.
    """
    length = x.shape[1]
    if length <= 1:
        state = x.new_zeros(len(x), *a.shape) if state is None else state
        if length == 0:
            return x, state
        if starts is not None:
            state = state.masked_fill(starts[..., None], 0)
        y, state = step(state, x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0])
        return y[:, None], state
    return _scan(state, x, dt, a, b, c, starts, chunk)


def step(state: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One position: outputs (b, e) and the next state (b, e, n), in time that no history makes longer.

    x and dt: (b, e); b and c: (b, n).
    """
    if kernels.fits("step", x):
        return kernels.scan_step(state, x, dt, a, b, c)
    state = state * (dt[..., None] * a).exp() + (x * dt)[..., None] * b[:, None]
    return (state @ c[..., None])[..., 0], state


def last(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The output at the last position only, (b, e), of sequences that start from nothing.

    Shapes as in `parallel`, but c: (b, n), that of the last position. Padding is on the right with dt = 0, whatever x
    and b are there. No output is made before the last.
    """
    _, state = _scan(None, x, dt, a, b, None, None, None)
    return (state @ c.to(state.dtype)[..., None])[..., 0]


def _scan(
    state: Tensor | None,
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    starts: Tensor | None,
    chunk: int | None,
) -> tuple[Tensor, Tensor]:
    """As `extend`; without c no outputs are made, and y is as good as empty."""
    length = x.shape[1]
    most = chunk or math.ceil(1.4 * math.sqrt(length))
    # The size that leaves least over, of those not much smaller: 200 positions are 10 chunks of 20.
    chunk = min(range(max(1, most // 2), most + 1), key=lambda size: (-length % size, -size))
    padding = -length % chunk
    if padding:
        x, dt, b = (F.pad(t, (0, 0, 0, padding)) for t in (x, dt, b))
        c = c if c is None else F.pad(c, (0, 0, 0, padding))
        starts = starts if starts is None else F.pad(starts, (0, padding))
    with torch.autocast(x.device.type, enabled=False):  # products of decays lose a history's digits in half precision
        x, b = x.to(dt.dtype), b.to(dt.dtype)
        c = c if c is None else c.to(dt.dtype)
        # Channels innermost: a vector instruction takes 16 of them, whose decays and inputs differ.
        state = state if state is None else state.to(dt.dtype).mT
        y, state = _Scan.apply(state, x, dt, a.to(dt.dtype).mT, b, c, starts, chunk)  # type: ignore[no-untyped-call]
    return (y[:, :length] if padding else y), state.mT


class _Scan(torch.autograd.Function):
    """(state, x, dt, a, b, c, starts, chunk) -> (y, state) for whole chunks only; a (n, e) and states (b, n, e)."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        state, x, dt, a, b, c, starts, chunk = arguments
        chunks, wanted = x.shape[1] // chunk, any(ctx.needs_input_grad)
        y, end = x.new_empty(x.shape if c is not None else (len(x), 0)), x.new_empty(len(x), *a.shape)
        entered = x.new_empty(len(x), chunks if wanted else 0, *a.shape)
        for rows, waves in _blocks(len(x), chunks, a):
            before = x.new_zeros(a.shape).expand_as(end[rows]) if state is None else state[rows]
            for wave in waves:
                lanes = _lanes(x, dt, a, b, c, starts, rows, wave, chunk)
                hidden = _entered(lanes, before)  # (r, w, n, e)
                if wanted:
                    entered[rows, wave] = hidden
                before = hidden[:, -1]
                outputs = _outputs(lanes, hidden.flatten(0, 1))
                if c is not None:
                    _split(y[rows], wave, chunk).copy_(outputs.unflatten(1, hidden.shape[:2]))
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
        for rows, waves in _blocks(len(x), entered.shape[1], a):
            by_after = torch.zeros_like(by_state[rows]) if by_end is None else by_end[rows]
            for wave in reversed(waves):
                lanes = _lanes(x, dt, a, b, heard, starts, rows, wave, ctx.chunk)
                by_outputs = None if by_y is None else _together(by_y, rows, wave, ctx.chunk)
                given, by_after = _gradients(lanes, entered[rows, wave], by_outputs, by_after, by_a)
                for whole, part in zip((by_x, by_dt, by_b, by_c), given, strict=True):
                    if whole is not None and part is not None:
                        _split(whole[rows], wave, ctx.chunk).copy_(part.unflatten(1, (-1, wave.stop - wave.start)))
            by_state[rows] = by_after
        return (by_state if ctx.needs_input_grad[0] else None), by_x, by_dt, by_a, by_b, by_c, None, None


class _Lanes(NamedTuple):
    """What a block of rows hears in a wave of chunks, positions first."""

    a: Tensor  # (n, e)
    rates: Tensor  # (n, e)  of powers of 2: torch has exp2 in a fifth of exp's time
    x: Tensor  # (q, s, e)
    dt: Tensor  # (q, s, 1, e)
    said: Tensor  # (q, s, 1, e)  dt x
    b: Tensor  # (q, s, n, 1)
    c: Tensor | None  # (q, s, n, 1)
    stays: Tensor | None  # (q, s, 1, 1)  0 where another history begins, else 1
    chunks: int  # w

    def positions(self) -> Iterable[Sequence[Any]]:
        """dt, dt x, B and `stays`, each position by position: to cut them at every step takes as long as the step."""
        stays = [None] * len(self.x) if self.stays is None else self.stays.unbind()
        return self.dt.unbind(), self.said.unbind(), self.b.unbind(), stays

    def decay(self, dt: Tensor, stays: Tensor | None, out: Tensor) -> Tensor:
        """How much of the state before a position of each chunk is left at it, written to `out` (s, n, e)."""
        torch.mul(dt, self.rates, out=out).exp2_()
        return out if stays is None else out.mul_(stays)

    def passed(self) -> Tensor:
        """How much of the state before each chunk is left after it: (r, w, n, e)."""
        share = (self.dt.sum(0) * self.rates).exp2_()
        share = share if self.stays is None else share.mul_(self.stays.amin(0))
        passed: Tensor = share.unflatten(0, (-1, self.chunks))
        return passed


def _entered(lanes: _Lanes, before: Tensor) -> Tensor:
    """The states that chunks begin with, (r, w, n, e), where the first begins with `before` (r, n, e)."""
    if lanes.chunks == 1:
        return before[:, None].clone(memory_format=torch.contiguous_format)
    left = before.new_zeros(lanes.x.shape[1], *lanes.a.shape)
    decay = torch.empty_like(left)
    for dt, said, b, stays in zip(*lanes.positions(), strict=True):
        left.mul_(lanes.decay(dt, stays, decay)).addcmul_(b, said)
    left, passed = left.unflatten(0, (-1, lanes.chunks)), lanes.passed()
    entered = torch.empty_like(left)
    entered[:, 0] = before
    for i in range(1, lanes.chunks):
        torch.addcmul(left[:, i - 1], entered[:, i - 1], passed[:, i - 1], out=entered[:, i])
    return entered


def _outputs(lanes: _Lanes, hidden: Tensor) -> Tensor:
    """The outputs (q, s, e); takes the states `hidden` (s, n, e) on to the chunks' ends, where they stand."""
    decay, q = torch.empty_like(hidden), len(lanes.x)
    states = hidden.expand(q, *hidden.shape) if lanes.c is None else hidden.new_empty(q, *hidden.shape)
    before = hidden
    for dt, said, b, stays, after in zip(*lanes.positions(), states.unbind(), strict=True):
        before = torch.mul(before, lanes.decay(dt, stays, decay), out=after).addcmul_(b, said)
    hidden.copy_(before)
    return lanes.x if lanes.c is None else _product(lanes.c.mT, states)[:, :, 0]


def _gradients(
    lanes: _Lanes, entered: Tensor, by_y: Tensor | None, by_after: Tensor, by_a: Tensor
) -> tuple[tuple[Tensor | None, ...], Tensor]:
    """The gradients of x, dt (q, s, e), B and C (q, s, n), and of the state before (r, n, e); adds to that of A.

    entered: (r, w, n, e); by_y: (q, s, e); by_after, of the state after the wave: (r, n, e).
    """
    q, s, _ = lanes.x.shape
    states, decay = entered.new_empty(q + 1, s, *lanes.a.shape), entered.new_empty(q, s, *lanes.a.shape)
    states[0] = entered.flatten(0, 1)
    hidden, decays = states.unbind(), decay.unbind()
    for i, (dt, said, b, stays) in enumerate(zip(*lanes.positions(), strict=True)):
        torch.mul(hidden[i], lanes.decay(dt, stays, decays[i]), out=hidden[i + 1]).addcmul_(b, said)
    by_each = None if by_y is None or lanes.c is None else by_y[:, :, None]  # (q, s, 1, e)
    by_c = None if by_each is None else _product(states[1:], by_each.mT)
    by_hidden = _exits(lanes, decays, by_each, by_after).flatten(0, 1)  # (s, n, e)
    by_rates, by_log = torch.zeros_like(by_hidden), torch.empty_like(by_hidden)
    by_dt = torch.empty_like(lanes.x)
    for i in reversed(range(q)):
        # A position's state is needed no more, its gradient below: it takes the place.
        if lanes.c is not None and by_each is not None:
            torch.addcmul(by_hidden, lanes.c[i], by_each[i], out=hidden[i + 1])
        else:
            hidden[i + 1].copy_(by_hidden)
        torch.mul(hidden[i + 1], decays[i], out=by_hidden)
        torch.mul(by_hidden, hidden[i], out=by_log)
        by_rates.addcmul_(by_log, lanes.dt[i])
        torch.sum(by_log.mul_(lanes.a), 1, out=by_dt[i])
    by_said, by_b = _product(lanes.b.mT, states[1:])[:, :, 0], _product(states[1:], lanes.said.mT)
    by_a += by_rates.sum(0)
    by_dt.addcmul_(by_said, lanes.x)
    by_x = by_said.mul_(lanes.dt[:, :, 0])
    before = by_hidden.unflatten(0, (-1, lanes.chunks))[:, 0]
    return (by_x, by_dt, by_b[..., 0], None if by_c is None else by_c[..., 0]), before


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Of every position's matrices, a whole chunk at a time: a product's threads are not woken at every step."""
    product: Tensor = torch.bmm(one.flatten(0, 1), other.flatten(0, 1)).unflatten(0, one.shape[:2])
    return product


def _exits(lanes: _Lanes, decays: Sequence[Tensor], by_y: Tensor | None, by_after: Tensor) -> Tensor:
    """The gradients of the states that chunks end in, (r, w, n, e), as far as they are heard after their chunk."""
    if lanes.chunks == 1:
        return by_after[:, None].clone(memory_format=torch.contiguous_format)
    given = torch.zeros_like(decays[0])
    if by_y is not None and lanes.c is not None:
        for i in reversed(range(len(decays))):
            given.addcmul_(lanes.c[i], by_y[i]).mul_(decays[i])
    given, passed = given.unflatten(0, (-1, lanes.chunks)), lanes.passed()
    exits = torch.empty_like(given)
    exits[:, -1] = by_after
    for i in reversed(range(1, lanes.chunks)):
        torch.addcmul(given[:, i], exits[:, i], passed[:, i], out=exits[:, i - 1])
    return exits


def _blocks(rows: int, chunks: int, a: Tensor) -> Iterator[tuple[slice, list[slice]]]:
    """Blocks of rows, each with its waves of chunks, that fill a step."""
    step = STEP["cuda" if a.is_cuda else "cpu"]
    block = min(max(1, step // max(1, a.numel())), max(1, rows))
    wave = min(max(1, step // max(1, a.numel() * block)), chunks)
    waves = [slice(i, min(i + wave, chunks)) for i in range(0, chunks, wave)]
    for row in range(0, rows, block):
        yield slice(row, min(row + block, rows)), waves


def _lanes(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    starts: Tensor | None,
    rows: slice,
    wave: slice,
    chunk: int,
) -> _Lanes:
    x, dt, b = (_together(t, rows, wave, chunk) for t in (x, dt, b))
    c = c if c is None else _together(c, rows, wave, chunk)[..., None]
    stays = None if starts is None else _together(~starts[..., None], rows, wave, chunk)[..., None].to(x.dtype)
    a, dt = a.contiguous(), dt[:, :, None]
    said = x[:, :, None] * dt
    return _Lanes(a, a * LOG2E, x, dt, said, b[..., None], c, stays, wave.stop - wave.start)


def _split(t: Tensor, wave: slice, chunk: int) -> Tensor:
    """A block's wave, positions first: a view of (r, l, ...) as (q, r, w, ...)."""
    split: Tensor = t.unflatten(1, (-1, chunk))[:, wave].movedim(2, 0)
    return split


def _together(t: Tensor, rows: slice, wave: slice, chunk: int) -> Tensor:
    """The same of all rows (b, l, ...), lanes side by side: (q, s, ...)."""
    return _split(t[rows], wave, chunk).flatten(1, 2).contiguous()
