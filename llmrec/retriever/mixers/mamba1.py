"""Mamba-1's mixer on the selective scan, tensor for tensor that of `mamba_ssm.Mamba` and of transformers.

Letters of shapes: b rows, l positions, d width, e inner width, n numbers of state a channel, r rank of the step sizes.
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
from llmrec.ssm import selective_scan
from llmrec.ssm.conv import conv


class Mamba1(StateSpace):
    """Mamba's mixer (Gu and Dao 2023, arXiv 2312.00752): every channel has n states, each with a decay of its own.

    Its names and shapes are those that published weights have. Step sizes begin as in `SSD`; with a clock, each
    channel's also grows with the time since the item before.
    """

    recurrence: ClassVar[ModuleType] = selective_scan

    def __init__(self, section: Section) -> None:
        super().__init__()
        width, self.n = section.d_model, section.d_state
        self.e, self.r = EXPAND * width, math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * self.e, bias=False)  # x | z
        self.conv1d = nn.Conv1d(self.e, self.e, TAPS, groups=self.e)
        self.x_proj = nn.Linear(self.e, self.r + 2 * self.n, bias=False)  # dt | B | C
        self.dt_proj = nn.Linear(self.r, self.e)
        nn.init.uniform_(self.dt_proj.weight, -(self.r**-0.5), self.r**-0.5)
        self.dt_proj.bias.data = first_steps(self.e, section)
        self.gap = first_gap(self.e, section)
        self.A_log = nn.Parameter(torch.arange(1, self.n + 1).float().log().repeat(self.e, 1))
        self.D = nn.Parameter(torch.ones(self.e))
        self.out_proj = nn.Linear(self.e, width, bias=False)

    def start(self, rows: int) -> MixerState:
        """The convolution's last values and the state."""
        return self.D.new_zeros(rows, TAPS - 1, self.e), self.D.new_zeros(rows, self.e, self.n)

    def _heard(self, x: Tensor, before: Tensor | None, layout: Layout) -> tuple[Tensor, ...]:
        """What the recurrence runs on: z, x and dt (b, l, e), B and C (b, l, n); the convolution's next values."""
        x, z = self.in_proj(x).chunk(2, -1)
        assert self.conv1d.bias is not None
        x, after = conv(before, x, self.conv1d.weight[:, 0], self.conv1d.bias, layout.lengths, layout.starts)
        x = F.silu(x)
        dt, b, c = self.x_proj(x).split([self.r, self.n, self.n], -1)
        return z, x, b, c, self._steps(self.dt_proj(dt), layout), after

    def _said(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """From the scan's outputs (..., e) to the layer's (..., d)."""
        said: Tensor = self.out_proj((y + self.D * x) * F.silu(z))
        return said
