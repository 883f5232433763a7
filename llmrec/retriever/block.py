"""One block of the retriever: look along the history, then think about each position, each behind a gate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.mixers import MIXERS, MixerState


class Gated(nn.Module):
    """x + sigmoid(W x) * F(norm x), once with a mixer for F and once with SwiGLU (Shazeer 2020, arXiv 2002.05202).

    The gated residual is LiGR's (Borisyuk et al. 2025, arXiv 2502.03417). x and the result: (b, l, d).
    """

    def __init__(self, section: Section) -> None:
        super().__init__()
        width = section.d_model
        self.mixer_norm, self.mixer_gate = nn.LayerNorm(width), nn.Linear(width, width)
        self.mixer = MIXERS[section.mixer](section)
        self.ff_norm, self.ff_gate = nn.LayerNorm(width), nn.Linear(width, width)
        self.ff_in = nn.Linear(width, 4 * width, bias=False)
        self.ff_out = nn.Linear(2 * width, width, bias=False)
        self.dropout = nn.Dropout(section.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self._finish(x, self.mixer(self.mixer_norm(x)))

    def start(self, rows: int) -> MixerState:
        """The mixer's state before anything came."""
        return self.mixer.start(rows)

    def extend(
        self, x: Tensor, state: MixerState, lengths: Tensor | None, at: Tensor | None = None
    ) -> tuple[Tensor, MixerState]:
        """As forward, going on from a state; `lengths` (b,) where rows are padded on the right.

        With `at` (b,), one position a row is finished and given: (b, 1, d).
        """
        mixed, state = self.mixer.extend(self.mixer_norm(x), state, lengths)
        if at is not None:
            where = at[:, None, None].expand(-1, 1, x.shape[2])
            x, mixed = x.gather(1, where), mixed.gather(1, where)
        return self._finish(x, mixed), state

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + torch.sigmoid(self.mixer_gate(x)) * self.dropout(mixed)
        gate, up = self.ff_in(self.ff_norm(x)).chunk(2, -1)
        thought: Tensor = self.dropout(self.ff_out(F.silu(gate) * up))
        return x + torch.sigmoid(self.ff_gate(x)) * thought
