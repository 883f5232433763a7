"""The retriever's network: item vectors, a few blocks along the history, and a product with the same item vectors.

Letters of shapes: b rows, l positions, d width, v items.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.blocks import BLOCKS, EPS, Block
from llmrec.retriever.layout import PLAIN, Layout
from llmrec.retriever.mixers import MixerState


class Network(nn.Module):
    """From item codes to what each position expects next, a vector that is compared with item vectors.

    Every history begins with a start vector, so that the first item is learned like any other and an empty history has
    an answer; Mamba4Rec's, as published, has none. Nothing counts positions: a history may be longer than `max_length`,
    which bounds only what fitting sees at once.
    """

    def __init__(self, n_items: int, section: Section) -> None:
        super().__init__()
        self.n_items, self.section = n_items, section
        self.published = section.block == "mamba4rec"  # its frame too: dropout before the norm, no norm at the end
        width = section.d_model
        self.items = nn.Embedding(n_items + (not self.published), width)  # the start vector is the last
        nn.init.normal_(self.items.weight, std=0.02)  # logits near 0: a wider start has to be unlearned first
        self.item_bias = nn.Parameter(torch.zeros(n_items)) if section.bias else None
        self.norm_in = nn.LayerNorm(width, eps=EPS if self.published else 1e-5)
        self.dropout = nn.Dropout(section.dropout)
        self.blocks = nn.ModuleList(BLOCKS[section.block](section) for _ in range(section.layers))
        self.norm_out = None if self.published else nn.LayerNorm(width)

    @property
    def begin(self) -> int | None:
        """The code of the start vector, after those of the items; None where there is none."""
        return None if self.published else self.n_items

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.items.weight.device

    def forward(self, codes: Tensor, layout: Layout = PLAIN) -> Tensor:
        """What each position expects next, (b, l, d), from codes (b, l) that say themselves where histories begin.

        Causal: padding on the right (any code) changes nothing before it.
        """
        x = self._embedded(codes)
        for block in self._stack():
            x = block(x, layout)
        return self._out(x)

    def last(self, codes: Tensor, layout: Layout = PLAIN) -> Tensor:
        """As forward, at each row's last real position only: (b, d). The last block finishes one position a row."""
        x = self._embedded(codes)
        *lower, top = self._stack()
        for block in lower:
            x = block(x, layout)
        return self._out(top.last(x, layout))

    def extend(
        self, codes: Tensor, states: tuple[MixerState, ...], layout: Layout = PLAIN
    ) -> tuple[Tensor, tuple[MixerState, ...]]:
        """As last, going on from each block's state, and the states after it."""
        x, after, stack = self._embedded(codes), [], self._stack()
        for block, state in zip(stack, states, strict=True):
            x, state = block.extend(x, state, layout, last=block is stack[-1])
            after.append(state)
        return self._out(x), tuple(after)

    def start(self, rows: int) -> tuple[MixerState, ...]:
        """Each block's state before anything came."""
        return tuple(block.mixer.start(rows) for block in self._stack())

    def compared(self) -> Tensor:
        """The item vectors that expectations are multiplied with: (v, d)."""
        items = self.items.weight[: self.n_items]
        if self.section.temperature is None:
            return items
        return F.normalize(items, dim=-1) / self.section.temperature

    def _stack(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _embedded(self, codes: Tensor) -> Tensor:
        x = self.items(codes)
        return torch.as_tensor(self.norm_in(self.dropout(x)) if self.published else self.dropout(self.norm_in(x)))

    def _out(self, x: Tensor) -> Tensor:
        if self.norm_out is not None:
            x = self.norm_out(x)
        return x if self.section.temperature is None else F.normalize(x, dim=-1)
