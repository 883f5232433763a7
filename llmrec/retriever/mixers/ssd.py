"""Mamba-2's mixer on the state-space dual.

Letters of shapes: b rows, l positions, d width, e inner width, h heads, p channels a head, n numbers of state each.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.layout import Layout
from llmrec.retriever.mixers.mixer import MixerState
from llmrec.retriever.mixers.state_space import EXPAND, TAPS, StateSpace, first_gap, first_steps
from llmrec.ssm import ssd
from llmrec.ssm.conv import conv


class SSD(StateSpace):
    """Mamba-2's mixer: a gate, a short convolution, and a state space whose step size depends on the item.

    Laid out as in Dao and Gu 2024 (arXiv 2405.21060), B and C shared by all heads. Two things differ from language
    models: step sizes begin log-uniform between 1 / `max_length` and 1, so that heads remember from one item to a whole
    history (a language model's 0.001 to 0.1 is made for thousands of tokens), and A begins at -1, so that the step size
    alone says how long. Public recommenders on Mamba lose this start: they redraw every layer and zero its bias
    (`dt_init: zero`). With a clock, a head's step also grows with the time since the item before (TiM4Rec's idea,
    without its fixed length).
    """

    recurrence: ClassVar[ModuleType] = ssd

    def __init__(self, section: Section) -> None:
        super().__init__()
        width, self.n = section.d_model, section.d_state
        inner = EXPAND * width
        self.p = min(section.headdim, inner)
        self.h = inner // self.p
        self.sizes = [inner, inner + 2 * self.n, self.h]
        self.in_proj = nn.Linear(width, sum(self.sizes), bias=False)  # z | x, B, C | dt
        channels = inner + 2 * self.n
        self.conv_weight = nn.Parameter(torch.empty(channels, TAPS).uniform_(-1, 1) / math.sqrt(TAPS))
        self.conv_bias = nn.Parameter(torch.zeros(channels))
        self.dt_bias = nn.Parameter(first_steps(self.h, section))
        self.gap = first_gap(self.h, section)
        self.A_log = nn.Parameter(torch.zeros(self.h))
        self.D = nn.Parameter(torch.ones(self.h))
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.out_proj = nn.Linear(inner, width, bias=False)

    def start(self, rows: int) -> MixerState:
        """The convolution's last values and the state."""
        zeros = self.conv_bias.new_zeros
        return zeros(rows, TAPS - 1, len(self.conv_bias)), zeros(rows, self.h, self.p, self.n)

    def _heard(self, x: Tensor, before: Tensor | None, layout: Layout) -> tuple[Tensor, ...]:
        """What the recurrence runs on: z (b, l, e), x (b, l, h, p), B and C (b, l, n), dt (b, l, h); the next taps."""
        z, xbc, dt = self.in_proj(x).split(self.sizes, -1)
        xbc, after = conv(before, xbc, self.conv_weight, self.conv_bias, layout.lengths, layout.starts)
        x, b, c = F.silu(xbc).split([self.sizes[0], self.n, self.n], -1)
        dt = self._steps(dt + self.dt_bias, layout)
        return z, x.unflatten(-1, (self.h, self.p)), b, c, dt, after

    def _said(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """From the recurrence's outputs (..., h, p) to the layer's (..., d)."""
        y = (y + self.D[:, None] * x).flatten(-2)
        said: Tensor = self.out_proj(self.norm(y * F.silu(z)))
        return said
