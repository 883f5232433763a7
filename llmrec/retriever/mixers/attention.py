"""Causal self-attention over the last positions: what SASRec looks along histories with.

Letters of shapes: b rows, l positions, w positions remembered, d width, h heads, p channels a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.layout import PLAIN, Layout
from llmrec.retriever.mixers.mixer import Mixer, MixerState

BASE = 1_000.0  # of the rotations: of 32 channels the slowest pair turns once in some 4,000 positions


class Attention(Mixer):
    """Each position looks at itself and the `max_length` - 1 before it (Kang and McAuley 2018, arXiv 1808.09781).

    Where SASRec adds a vector for each place in its window, keys and queries are turned by their place (Su et al. 2021,
    arXiv 2104.09864): only distances count, so that a user can be followed past any window. What is remembered are the
    keys and values of the last `max_length` - 1 items: by default ten times the numbers that `SSD` keeps.
    """

    turns: Tensor

    def __init__(self, section: Section) -> None:
        super().__init__()
        width = section.d_model
        self.p = min(section.headdim, width)
        self.h, self.w = width // self.p, section.max_length - 1
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = section.dropout
        self.register_buffer("turns", BASE ** (-torch.arange(0, self.p, 2) / self.p), persistent=False)

    def start(self, rows: int) -> MixerState:
        """Keys and values (b, w, d), the newest last, and how many of them there are (b,)."""
        none = self.out.bias.new_zeros(rows, self.w, self.h * self.p)
        return none, none, torch.zeros(rows, dtype=torch.long, device=none.device)

    def forward(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        length = x.shape[1]
        if layout.starts is None and length <= self.w + 1:
            return self._attended(q, k, v, None)
        places = torch.arange(length, device=x.device)
        heard = (places[:, None] >= places) & (places[:, None] - places <= self.w)  # (l, l)
        if layout.starts is not None:
            history = layout.starts.cumsum(1)
            heard = heard & (history[:, :, None] == history[:, None])
        return self._attended(q, k, v, heard)

    def extend(self, x: Tensor, state: MixerState | None, layout: Layout = PLAIN) -> tuple[Tensor, MixerState]:
        if layout.starts is not None:
            raise ValueError("states are of whole rows; a packed row has several histories")
        keys, values, count = state if state is not None else self.start(len(x))
        length = x.shape[1]
        q, k, v = self.qkv(x).chunk(3, -1)
        k, v = torch.cat([keys, k], 1), torch.cat([values, v], 1)  # (b, w + l, d)
        places = torch.arange(self.w + length, device=x.device)
        asking = places[self.w :, None]
        near = (asking >= places) & (asking - places <= self.w)  # (l, w + l)
        there = places >= self.w - count[:, None]  # (b, w + l)
        y = self._attended(q, k, v, near & there[:, None]) if length else x
        added = layout.lengths if layout.lengths is not None else count.new_full(count.shape, length)
        kept = (added[:, None] + places[: self.w])[..., None].expand(-1, -1, k.shape[2])
        return y, (k.gather(1, kept), v.gather(1, kept), (count + added).clamp(max=self.w))

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, heard: Tensor | None) -> Tensor:
        """q (b, l, d) over k and v (b, w + l, d), of which `heard` (l, w + l) or (b, l, w + l); None: all before."""
        behind = k.shape[1] - q.shape[1]
        q, k, v = (t.unflatten(-1, (self.h, self.p)).transpose(1, 2) for t in (q, k, v))
        q, k = self._turned(q, behind), self._turned(k, 0)
        if heard is not None and heard.dim() == 3:
            heard = heard[:, None]
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, heard, dropout, is_causal=heard is None)
        said: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return said

    def _turned(self, x: Tensor, first: int) -> Tensor:
        """Pairs of channels turned by their place, counted from `first`: (b, h, l, p)."""
        angles = torch.arange(first, first + x.shape[2], device=x.device)[:, None] * self.turns  # (l, p / 2)
        cos, sin = angles.cos(), angles.sin()
        one, other = x[..., 0::2], x[..., 1::2]
        return torch.stack([one * cos - other * sin, one * sin + other * cos], -1).flatten(-2)
