"""Mamba-1's mixer on the selective scan, tensor for tensor that of `mamba_ssm.Mamba` and of transformers.

Letters of shapes: b rows, l positions, d width, e inner width, n numbers of state a channel, r rank of the step sizes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.layout import PLAIN, Layout
from llmrec.retriever.mixers.mixer import Mixer, MixerState, dt_bias
from llmrec.ssm import selective_scan
from llmrec.ssm.conv import conv

EXPAND = 2
TAPS = 4


class Mamba1(Mixer):
    """Mamba's mixer (Gu and Dao 2023, arXiv 2312.00752): every channel has n states, each with a decay of its own.

    Its names and shapes are those that published weights have. Step sizes begin as in `SSD`; with a clock, each
    channel's also grows with the time since the item before.
    """

    def __init__(self, section: Section) -> None:
        super().__init__()
        width, self.n = section.d_model, section.d_state
        self.e, self.r = EXPAND * width, math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * self.e, bias=False)  # x | z
        self.conv1d = nn.Conv1d(self.e, self.e, TAPS, groups=self.e)
        self.x_proj = nn.Linear(self.e, self.r + 2 * self.n, bias=False)  # dt | B | C
        self.dt_proj = nn.Linear(self.r, self.e)
        nn.init.uniform_(self.dt_proj.weight, -(self.r**-0.5), self.r**-0.5)
        drawn = dt_bias(self.e, 1 / section.max_length, 1.0)
        self.dt_proj.bias.data = drawn if section.dt_init == "log_uniform" else torch.zeros(self.e)
        self.gap = nn.Parameter(torch.zeros(self.e)) if section.time_scale is not None else None
        self.A_log = nn.Parameter(torch.arange(1, self.n + 1).float().log().repeat(self.e, 1))
        self.D = nn.Parameter(torch.ones(self.e))
        self.out_proj = nn.Linear(self.e, width, bias=False)

    def start(self, rows: int) -> MixerState:
        """The convolution's last values and the state."""
        return self.D.new_zeros(rows, TAPS - 1, self.e), self.D.new_zeros(rows, self.e, self.n)

    def extend(self, x: Tensor, state: MixerState | None, layout: Layout = PLAIN) -> tuple[Tensor, MixerState]:
        before, hidden = state if state is not None else (None, None)
        z, x, b, c, dt, after = self._heard(x, before, layout)
        y, hidden = selective_scan.extend(hidden, x, dt, -self.A_log.exp(), b, c, starts=layout.starts)
        return self._said(y, x, z), (after, hidden)

    def forward(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        z, x, b, c, dt, _ = self._heard(x, None, layout)  # no state is asked for, which suits the kernel on a GPU
        return self._said(selective_scan.parallel(x, dt, -self.A_log.exp(), b, c, starts=layout.starts), x, z)

    def last(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        z, x, b, c, dt, _ = self._heard(x, None, layout)
        y = selective_scan.last(x, dt, -self.A_log.exp(), b, layout.at_last(c))  # (b, e)
        return self._said(y, layout.at_last(x), layout.at_last(z))

    def _heard(self, x: Tensor, before: Tensor | None, layout: Layout) -> tuple[Tensor, ...]:
        """What the recurrence runs on: z, x and dt (b, l, e), B and C (b, l, n); the convolution's next values."""
        x, z = self.in_proj(x).chunk(2, -1)
        assert self.conv1d.bias is not None
        x, after = conv(before, x, self.conv1d.weight[:, 0], self.conv1d.bias, layout.lengths, layout.starts)
        x = F.silu(x)
        dt, b, c = self.x_proj(x).split([self.r, self.n, self.n], -1)
        dt = self.dt_proj(dt)
        if self.gap is not None and layout.gaps is not None:
            dt = dt + layout.gaps[..., None] * self.gap
        dt = F.softplus(dt)
        real = layout.real(dt.shape[1])
        if real is not None:
            dt = dt * real[..., None]
        return z, x, b, c, dt, after

    def _said(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """From the scan's outputs (..., e) to the layer's (..., d)."""
        said: Tensor = self.out_proj((y + self.D * x) * F.silu(z))
        return said
