"""The state-space dual of Mamba-2 in plain torch: one recurrence, three ways to run it, the same numbers.

    state_t = exp(dt_t A) state_{t-1} + dt_t x_t B_t^T          y_t = state_t C_t

`parallel` is for training, `extend` carries a state over a chunk of any length, `step` over one position. Each head
decays by one number a position, so the sum over the past is a matrix product with a decaying causal mask (Dao and Gu
2024, arXiv 2405.21060, section 6): quadratic within a chunk, and from chunk to chunk a state. Everything is a batched
matrix product; there is no native code and no loop over positions.

Letters of shapes:
    b  rows                 h  heads            c  chunks
    l  positions            p  channels a head  q  positions a chunk
    n  numbers of state a channel; B and C are shared by all heads (one group)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 32  # positions whose causal mask is made at once, at most; longer sequences go chunk by chunk


def parallel(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """The outputs of whole sequences that start from nothing: (b, l, h, p).

    x: (b, l, h, p); dt: (b, l, h), not negative; a: (h,), negative; b and c: (b, l, n). Causal, so padding on the right
    changes no output before it. A position with dt = 0 leaves no trace.
    """
    return extend(None, x, dt, a, b, c, chunk=chunk)[0]


def extend(
    state: Tensor | None, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """The outputs of sequences that go on from `state` (b, h, p, n), and the states that they end in.

    Shapes as in `parallel`; None is the empty state. Where rows differ in length, pad on the right with dt = 0: their
    states stand still there. No positions at all give no outputs and the state as it was.
    """
    rows, length, heads, width = x.shape
    if state is None:
        state = x.new_zeros(rows, heads, width, b.shape[-1])
    if length == 0:
        return x, state
    if length == 1:
        y, state = step(state, x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0])
        return y[:, None], state
    chunk = -(-length // -(-length // chunk))  # as many chunks, as even as they come: less padding
    padding = -length % chunk
    x, dt, b, c = (F.pad(t, (0, 0) * (t.dim() - 2) + (0, padding)) if padding else t for t in (x, dt, b, c))
    x = (x * dt[..., None]).unflatten(1, (-1, chunk)).transpose(2, 3)  # (b, c, h, q, p)
    b, c = b.unflatten(1, (-1, chunk)), c.unflatten(1, (-1, chunk))  # (b, c, q, n)
    # Log-decay from each chunk's start to after each of its positions. Sums stay within a chunk, so that their
    # differences keep their digits however long the sequence is.
    logs = (dt * a).unflatten(1, (-1, chunk)).transpose(2, 3).cumsum(-1)  # (b, c, h, q)
    y = _within(x, logs, b, c)
    if logs.shape[1] == 1:
        # One chunk: what it leaves behind and what it was given, without the machinery for many.
        y = y + _given(state[:, None], logs, c)
        state = state * logs[:, 0, :, -1].exp()[..., None, None] + _left_behind(x, logs, b)[:, 0]
    else:
        starts, state = _across(state, _left_behind(x, logs, b), logs[..., -1])
        y = y + _given(starts, logs, c)
    y = y.transpose(2, 3).flatten(1, 2)
    return (y[:, :length] if padding else y), state


def step(state: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One position: outputs (b, h, p) and the next state (b, h, p, n), in time that no history makes longer.

    x: (b, h, p); dt: (b, h); b and c: (b, n).
    """
    state = state * (dt * a).exp()[..., None, None] + (x * dt[..., None])[..., None] * b[:, None, None]
    return (state @ c[:, None, :, None])[..., 0], state


def _within(x: Tensor, logs: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """What each position hears of its own chunk: (b, c, h, q, p)."""
    spoken = c @ b.transpose(-1, -2)  # (b, c, q, q), shared by all heads
    # The future is masked before exp: its differences are positive and overflow, and inf times a mask of 0 is nan.
    between = logs[..., :, None] - logs[..., None, :]  # (b, c, h, q, q)
    decay = between.masked_fill(_future(logs.shape[-1], logs.device), -torch.inf).exp()
    return (spoken[:, :, None] * decay) @ x


def _left_behind(x: Tensor, logs: Tensor, b: Tensor) -> Tensor:
    """The state each chunk would leave, had it started from nothing: (b, c, h, p, n)."""
    remains = (logs[..., -1:] - logs).exp()  # (b, c, h, q)
    return (x * remains[..., None]).transpose(-1, -2) @ b[:, :, None]


def _across(state: Tensor, left: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """Each chunk's starting state (b, c, h, p, n) and the last one's end, from what chunks leave and forget.

    left: (b, c, h, p, n); logs: (b, c, h), the log-decay of whole chunks.
    """
    starts = []
    for one, forgets in zip(left.unbind(1), logs.exp().unbind(1), strict=True):
        starts.append(state)
        state = state * forgets[..., None, None] + one
    return torch.stack(starts, 1), state


def _given(starts: Tensor, logs: Tensor, c: Tensor) -> Tensor:
    """What each position hears of the state that its chunk started from: (b, c, h, q, p)."""
    return (c[:, :, None] @ starts.transpose(-1, -2)) * logs.exp()[..., None]


def _future(length: int, device: torch.device) -> Tensor:
    """True where the second position comes after the first."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
