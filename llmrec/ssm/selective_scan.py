"""Mamba-1's selective scan in plain torch: one recurrence, four ways to run it, the same numbers.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t          y_t = C_t . h_t          for every channel by itself

    parallel    whole histories that start from nothing (training)
    extend      the same, going on from a state and giving the state to go on from
    step        one position
    last        the output at the last position only (reading a history once)

Every channel has n numbers of state, each with a decay rate of its own (Gu and Dao 2023, arXiv 2312.00752), so the sum
over the past is no matrix product as in `llmrec.ssm.ssd`; it is a scan of l e n numbers a row, done chunk by chunk
(`llmrec.ssm.tiles`).

Several histories may be packed into one row: `starts` (b, l) is True where another one begins. The decay is 0 there, so
nothing from before is heard after it, not even in the last digit.

Letters of shapes:
    b  rows                 e  channels
    l  positions            n  numbers of state a channel; B and C are shared by all channels
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.ssm import kernels
from llmrec.ssm.tiles import Tiled

CHUNK = 40  # positions at least, where there are so many, between states that are kept


def parallel(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *, starts: Tensor | None = None, chunk: int | None = None
) -> Tensor:
    """The outputs of whole sequences that start from nothing: (b, l, e).

    x: (b, l, e); dt: (b, l, e), not negative; a: (e, n), negative; b and c: (b, l, n). Causal, so padding on the right
    changes no output before it. A position with dt = 0 leaves no trace. `chunk` is how many positions at most go
    between states that are kept; left out, `CHUNK` or about sqrt(l).
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
    most = chunk or max(CHUNK, math.ceil(1.4 * math.sqrt(length)))
    chunk = -(-length // -(-length // most)) if length else 1  # as many chunks, as even as they come
    padding = -length % chunk
    if padding:
        x, dt, b = (F.pad(t, (0, 0, 0, padding)) for t in (x, dt, b))
        c = c if c is None else F.pad(c, (0, 0, 0, padding))
        starts = starts if starts is None else F.pad(starts, (0, padding))
    with torch.autocast(x.device.type, enabled=False):  # products of decays lose a history's digits in half precision
        x, b = x.to(dt.dtype), b.to(dt.dtype)
        c = c if c is None else c.to(dt.dtype)
        state = state if state is None else state.to(dt.dtype).mT
        kept = torch.is_grad_enabled()  # inside, it never is
        y, state = Tiled.apply(state, x, dt, a.to(dt.dtype).mT, b, c, starts, chunk, kept)  # type: ignore[no-untyped-call]
    return (y[:, :length] if padding else y), state.mT
