"""The layers that look along a history, looked up by name. Each runs whole histories, chunks and single events alike.

    mixer(x)                     whole histories that start from nothing (training): (b, l, d) -> (b, l, d)
    mixer.extend(x, state)       the same, going on from `state`, giving the state to go on from
    mixer.start(rows)            the state before anything came

Letters of shapes: b rows, l positions, d width, e inner width, h heads, p channels a head, n numbers of state each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.ssm import ssd
from llmrec.ssm.conv import conv

MixerState = tuple[Tensor, ...]
EXPAND = 2
TAPS = 4


class SSD(nn.Module):
    """Mamba-2's mixer: a gate, a short convolution, and a state space whose step size depends on the item.

    Laid out as in Dao and Gu 2024 (arXiv 2405.21060), B and C shared by all heads. Two things differ from language
    models: step sizes begin log-uniform between 1 / `max_length` and 1, so that heads remember from one item to a whole
    history (a language model's 0.001 to 0.1 is made for thousands of tokens), and A begins at -1, so that the step size
    alone says how long. Public recommenders on Mamba lose this start: they redraw every layer and zero its bias.
    """

    def __init__(self, section: Section) -> None:
        super().__init__()
        width, self.n = section.d_model, section.d_state
        inner = EXPAND * width
        self.p = min(section.headdim, inner)
        if inner % self.p:
            raise ValueError(f"headdim {section.headdim} does not divide {inner}, twice d_model")
        self.h = inner // self.p
        self.sizes = [inner, inner + 2 * self.n, self.h]
        self.in_proj = nn.Linear(width, sum(self.sizes), bias=False)  # z | x, B, C | dt
        channels = inner + 2 * self.n
        self.conv_weight = nn.Parameter(torch.empty(channels, TAPS).uniform_(-1, 1) / math.sqrt(TAPS))
        self.conv_bias = nn.Parameter(torch.zeros(channels))
        self.dt_bias = nn.Parameter(_dt_bias(self.h, 1 / section.max_length, 1.0))
        self.A_log = nn.Parameter(torch.zeros(self.h))
        self.D = nn.Parameter(torch.ones(self.h))
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.out_proj = nn.Linear(inner, width, bias=False)

    def start(self, rows: int) -> MixerState:
        """What is remembered before anything came: the convolution's last values, and the state."""
        zeros = self.conv_bias.new_zeros
        return zeros(rows, TAPS - 1, len(self.conv_bias)), zeros(rows, self.h, self.p, self.n)

    def forward(self, x: Tensor) -> Tensor:
        return self.extend(x, None)[0]

    def extend(self, x: Tensor, state: MixerState | None, lengths: Tensor | None = None) -> tuple[Tensor, MixerState]:
        """(b, l, d) and the state after it; `lengths` (b,) where rows are padded on the right."""
        before, hidden = state if state is not None else (None, None)
        z, xbc, dt = self.in_proj(x).split(self.sizes, -1)
        xbc, after = conv(before, xbc, self.conv_weight, self.conv_bias, lengths)
        x, b, c = F.silu(xbc).split([self.sizes[0], self.n, self.n], -1)
        dt = F.softplus(dt + self.dt_bias)  # (b, l, h)
        if lengths is not None:
            dt = dt * (torch.arange(dt.shape[1], device=dt.device) < lengths[:, None])[..., None]
        x = x.unflatten(-1, (self.h, self.p))  # (b, l, h, p)
        y, hidden = ssd.extend(hidden, x, dt, -self.A_log.exp(), b, c)
        y = (y + self.D[:, None] * x).flatten(-2)  # (b, l, e)
        return self.out_proj(self.norm(y * F.silu(z))), (after, hidden)


MIXERS: dict[str, Callable[[Section], SSD]] = {"ssd": SSD}
"""Mixers by the names that recipes use."""


def _dt_bias(heads: int, low: float, high: float) -> Tensor:
    """Biases whose softplus is log-uniform in [low, high], one draw from each of `heads` equal parts of that range."""
    share = (torch.arange(heads) + torch.rand(heads)) / heads
    dt = torch.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return dt + torch.log(-torch.expm1(-dt))  # the inverse of softplus
