"""The state-space dual of Mamba-2 in plain torch: one recurrence, four ways to run it, the same numbers.

    state_t = exp(dt_t A) state_{t-1} + dt_t x_t B_t^T          y_t = state_t C_t

    parallel    whole histories that start from nothing (training)
    extend      the same, going on from a state and giving the state to go on from
    step        one position
    last        the output at the last position only, without a state anywhere (reading a history once)

Each head decays by one number a position, so the sum over the past is a matrix product with a decaying causal mask (Dao
and Gu 2024, arXiv 2405.21060, section 6). Up to `CHUNK` positions that mask is made whole, the quadratic dual; longer
histories go chunk by chunk with a state between (`llmrec.ssm.dual`). There is no loop over positions, and no native
code but on a GPU, where mamba-ssm's kernels do the same if they are installed (`llmrec.ssm.backend`).

Several histories may be packed into one row: `starts` (b, l) is True where another one begins, and nothing from before
is heard after it, not even in the last digit.

Letters of shapes:
    b  rows                 h  heads
    l  positions            p  channels a head
    n  numbers of state a channel; B and C are shared by all heads (one group)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.ssm import kernels
from llmrec.ssm.dual import Chunked

CHUNK = 32  # positions whose causal mask is made at once, at most


def parallel(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *, starts: Tensor | None = None, chunk: int = CHUNK
) -> Tensor:
    """The outputs of whole sequences that start from nothing: (b, l, h, p).

    x: (b, l, h, p); dt: (b, l, h), not negative; a: (h,), negative; b and c: (b, l, n). Causal, so padding on the right
    changes no output before it. A position with dt = 0 leaves no trace.
    """
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
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """The outputs of sequences that go on from `state` (b, h, p, n), and the states that they end in.

    Shapes as in `parallel`; None is the empty state. Where rows differ in length, pad on the right with dt = 0: their
    states stand still there. No positions at all give no outputs and the state as it was. The gradient has none itself.
    """
    rows, length, heads, width = x.shape
    if length <= 1:
        state = x.new_zeros(rows, heads, width, b.shape[-1]) if state is None else state
        if length == 0:
            return x, state
        if starts is not None:
            state = state.masked_fill(starts[:, :, None, None], 0)
        y, state = step(state, x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0])
        return y[:, None], state
    if kernels.fits("ssd", x):
        return kernels.ssd_extend(state, x, dt, a, b, c, starts)
    # The size that leaves least over, of those not much smaller: 200 positions are 8 chunks of 25.
    chunk = min(range(max(1, chunk // 2), chunk + 1), key=lambda size: (-length % size, -size))
    padding = -length % chunk
    if padding:
        x, dt, b, c = (F.pad(t, (0, 0) * (t.dim() - 2) + (0, padding)) for t in (x, dt, b, c))
        starts = starts if starts is None else F.pad(starts, (0, padding))
    with torch.autocast(x.device.type, enabled=False):  # sums of dt lose a history's digits in half precision
        x, b, c = (t.to(dt.dtype) for t in (x, b, c))
        state = state if state is None else state.to(dt.dtype)
        y, state = Chunked.apply(state, x, dt, a, b, c, starts, chunk)  # type: ignore[no-untyped-call]
    return (y[:, :length] if padding else y), state


def step(state: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One position: outputs (b, h, p) and the next state (b, h, p, n), in time that no history makes longer.

    x: (b, h, p); dt: (b, h); b and c: (b, n).
    """
    if kernels.fits("step", x):
        return kernels.ssd_step(state, x, dt, a, b, c)
    state = state * (dt * a).exp()[..., None, None] + (x * dt[..., None])[..., None] * b[:, None, None]
    return (state @ c[:, None, :, None])[..., 0], state


def last(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The output at the last position only, (b, h, p), of sequences that start from nothing.

    y = sum over s of (C . B_s) exp(A_T - A_s) dt_s x_s: the work of reading the history once, l (n + h p) a row, and no
    state is made. Shapes as in `parallel`, but c: (b, n), that of the last position. Padding is on the right with
    dt = 0, whatever x and b are there.
    """
    logs = F.pad((dt * a)[:, 1:], (0, 0, 0, 1))
    after = logs.flip(1).cumsum(1).flip(1)  # (b, l, h)  A_T - A_s, summed from the end
    weights = (b @ c[..., None]) * dt * after.exp()
    return (weights.mT[:, :, None] @ x.transpose(1, 2))[:, :, 0]
