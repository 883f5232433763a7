"""What every mixer can do: whole histories, chunks that go on from a state, and the last position alone.

Letters of shapes: b rows, l positions, d width, h heads or channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from llmrec.retriever.layout import PLAIN, Layout

MixerState = tuple[Tensor, ...]


class Mixer(nn.Module, ABC):
    """Causal: a position hears itself and what came before it in its own history. All forms give the same numbers."""

    @abstractmethod
    def start(self, rows: int) -> MixerState:
        """The state before anything came, one row a user."""

    @abstractmethod
    def extend(self, x: Tensor, state: MixerState | None, layout: Layout = PLAIN) -> tuple[Tensor, MixerState]:
        """(b, l, d) going on from a state (None: nothing came), and the state after each row's last real position."""

    def forward(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        """Whole histories that start from nothing: (b, l, d). Padding on the right changes nothing before it."""
        return self.extend(x, None, layout)[0]

    def last(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        """As forward, at each row's last real position only: (b, d)."""
        return layout.at_last(self(x, layout))
