"""What the two state-space mixers share: how a layer's recurrence is started, run in each form, and paced by the clock.

Letters of shapes: b rows, l positions, d width.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from types import ModuleType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.layout import PLAIN, Layout
from llmrec.retriever.mixers.mixer import Mixer, MixerState

EXPAND = 2
TAPS = 4


class StateSpace(Mixer):
    """A gate, a short convolution, and a state space whose steps depend on the item and, with a clock, on the wait.

    A subclass says which `recurrence` of `llmrec.ssm` it runs, what that hears of the inputs, and what is made of what
    it says. The state is the convolution's last values and the recurrence's.
    """

    recurrence: ClassVar[ModuleType]
    A_log: nn.Parameter
    gap: nn.Parameter | None

    @abstractmethod
    def _heard(self, x: Tensor, before: Tensor | None, layout: Layout) -> tuple[Tensor, ...]:
        """The gate z, what the recurrence runs on (x, B, C and dt, as it wants them), the convolution's next values."""

    @abstractmethod
    def _said(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """From the recurrence's outputs to the layer's (..., d)."""

    def forward(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        z, x, b, c, dt, _ = self._heard(x, None, layout)  # no state is asked for, which suits the kernels on a GPU
        return self._said(self.recurrence.parallel(x, dt, -self.A_log.exp(), b, c, starts=layout.starts), x, z)

    def extend(self, x: Tensor, state: MixerState | None, layout: Layout = PLAIN) -> tuple[Tensor, MixerState]:
        before, hidden = state if state is not None else (None, None)
        z, x, b, c, dt, after = self._heard(x, before, layout)
        y, hidden = self.recurrence.extend(hidden, x, dt, -self.A_log.exp(), b, c, starts=layout.starts)
        return self._said(y, x, z), (after, hidden)

    def last(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        z, x, b, c, dt, _ = self._heard(x, None, layout)
        y = self.recurrence.last(x, dt, -self.A_log.exp(), b, layout.at_last(c))
        return self._said(y, layout.at_last(x), layout.at_last(z))

    def _steps(self, dt: Tensor, layout: Layout) -> Tensor:
        """Step sizes (b, l, heads or channels) from what the items ask for; 0 at padding, where nothing may move."""
        if self.gap is not None and layout.gaps is not None:
            dt = dt + layout.gaps[..., None] * self.gap
        dt = F.softplus(dt)
        real = layout.real(dt.shape[1])
        return dt if real is None else dt * real[..., None]


def first_steps(channels: int, section: Section) -> Tensor:
    """Biases of step sizes as `dt_init` has them: their softplus log-uniform from 1 / max_length to 1, or all .69.

    Log-uniform, each of `channels` equal parts of that range gives one.
    """
    share = (torch.arange(channels) + torch.rand(channels)) / channels
    low, high = math.log(1 / section.max_length), math.log(1.0)
    dt = torch.exp(low + share * (high - low))
    drawn = dt + torch.log(-torch.expm1(-dt))  # the inverse of softplus
    return drawn if section.dt_init == "log_uniform" else torch.zeros(channels)


def first_gap(channels: int, section: Section) -> nn.Parameter | None:
    """How much each step size heeds the wait: not at all at first; None without a clock."""
    return None if section.time_scale is None else nn.Parameter(torch.zeros(channels))
