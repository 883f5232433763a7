"""Both recurrences as the laws of their forms see them: random inputs, and the definition position by position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from llmrec.ssm import selective_scan, ssd

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def ssd_inputs(rows: int, length: int, heads: int = 3, width: int = 4, numbers: int = 5, seed: int = 0) -> Inputs:
    """x, dt, a, b, c: step sizes from 0 to 1, decay rates from slow to a language model's fastest."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, length, heads, width, generator=draw)
    dt = torch.rand(rows, length, heads, generator=draw)
    a = -torch.logspace(-2, 1.2, heads)
    b, c = torch.randn(2, rows, length, numbers, generator=draw)
    return x, dt, a, b, c


def ssd_by_hand(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor | None = None, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition, in double precision: one position after another."""
    x, dt, a, b, c = (t.double() for t in (x, dt, a, b, c))
    nothing = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], b.shape[-1])
    state = nothing if state is None else state.double().clone()
    heard = []
    for t in range(x.shape[1]):
        for row in range(x.shape[0]):
            if starts is not None and starts[row, t]:
                state[row] = 0
            for head in range(x.shape[2]):
                decay = torch.exp(dt[row, t, head] * a[head])
                spoken = dt[row, t, head] * torch.outer(x[row, t, head], b[row, t])
                state[row, head] = decay * state[row, head] + spoken
        heard.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]))
    return torch.stack(heard, 1).float(), state.float()


def scan_inputs(rows: int, length: int, channels: int = 6, numbers: int = 5, seed: int = 0) -> Inputs:
    """x, dt, a, b, c: step sizes from 0 to 1, decay rates from slow to a language model's fastest."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, length, channels, generator=draw)
    dt = torch.rand(rows, length, channels, generator=draw)
    a = -torch.logspace(-2, 1.2, channels * numbers)[torch.randperm(channels * numbers, generator=draw)]
    b, c = torch.randn(2, rows, length, numbers, generator=draw)
    return x, dt, a.view(channels, numbers), b, c


def scan_by_hand(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor | None = None, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition, in double precision: one position after another."""
    x, dt, a, b, c = (t.double() for t in (x, dt, a, b, c))
    state = x.new_zeros(len(x), *a.shape) if state is None else state.double().clone()
    heard = []
    for t in range(x.shape[1]):
        for row in range(len(x)):
            if starts is not None and starts[row, t]:
                state[row] = 0
            decay = torch.exp(dt[row, t, :, None] * a)
            state[row] = decay * state[row] + torch.outer(dt[row, t] * x[row, t], b[row, t])
        heard.append(torch.einsum("ben,bn->be", state, c[:, t]))
    return torch.stack(heard, 1).float(), state.float()


@dataclass(frozen=True)
class Recurrence:
    """A recurrence's module, inputs for it (rows, length, seed), its definition, and the shape of one row's state."""

    forms: ModuleType
    inputs: Callable[..., Inputs]
    by_hand: Callable[..., tuple[Tensor, Tensor]]
    state: tuple[int, ...]


BOTH = {
    "ssd": Recurrence(ssd, ssd_inputs, ssd_by_hand, (3, 4, 5)),
    "selective_scan": Recurrence(selective_scan, scan_inputs, scan_by_hand, (6, 5)),
}
