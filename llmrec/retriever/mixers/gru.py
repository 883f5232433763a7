"""A gated recurrent unit as a mixer: what GRU4Rec looks along histories with.

Letters of shapes: b rows, l positions, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.layout import PLAIN, Layout
from llmrec.retriever.mixers.mixer import Mixer, MixerState


class GRU(Mixer):
    """One layer of gated recurrent units as wide as the model (Hidasi et al. 2016, arXiv 1511.06939)."""

    def __init__(self, section: Section) -> None:
        super().__init__()
        self.gru = nn.GRU(section.d_model, section.d_model, batch_first=True)

    def start(self, rows: int) -> MixerState:
        """The hidden values (b, d)."""
        return (next(self.gru.parameters()).new_zeros(rows, self.gru.hidden_size),)

    def extend(self, x: Tensor, state: MixerState | None, layout: Layout = PLAIN) -> tuple[Tensor, MixerState]:
        if layout.starts is not None:
            raise ValueError("a gru cannot start over inside a row")
        (hidden,) = state if state is not None else self.start(len(x))
        if not x.shape[1]:
            return x, (hidden,)
        y, after = self.gru(x, hidden[None].contiguous())
        if layout.lengths is None:
            return y, (after[0],)
        # A row with nothing to add keeps what it had; the others stop at their last real position.
        return y, (torch.where((layout.lengths > 0)[:, None], layout.at_last(y), hidden),)
