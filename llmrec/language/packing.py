"""Prompts and branches as rows of tokens, and which token may see which.

A packed row is a prompt, padded on the left, and its branches one after another, padded on the right. Every branch
stands where it would stand alone, right after the prompt, and sees the prompt and itself. Sliding windows count those
places and not the row's own.

Shapes: b prompts, p tokens of the longest prompt, t branch tokens of the fullest row, q queries, s = p + t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Ids = Sequence[int]
LAYERED = {"qwen2", "qwen3", "gemma3_text"}
"""Families that take a mask for each kind of layer."""


@dataclass(frozen=True)
class Row:
    """Tokens side by side, (b, s) each: `ids`; whose they are, 0 the prompt's, j + 1 branch j's, -1 nobody's
    (padding); and `place`, where they would stand without the other branches."""

    ids: Tensor
    owner: Tensor
    place: Tensor

    @property
    def real(self) -> Tensor:
        """(b, s), False at padding."""
        return self.owner >= 0

    @property
    def lengths(self) -> Tensor:
        """(b,) real tokens."""
        return self.real.sum(1)

    def __add__(self, other: Row) -> Row:
        parts = zip((self.ids, self.owner, self.place), (other.ids, other.owner, other.place), strict=True)
        return Row(*(torch.cat(pair, 1) for pair in parts))

    def __getitem__(self, rows: Tensor) -> Row:
        return Row(self.ids[rows], self.owner[rows], self.place[rows])


def prompts_row(prompts: Sequence[Ids], pad: int, device: torch.device) -> Row:
    """Prompts, padded on the left: their ends stand together, and what follows them does not know of the padding."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts])
    owner = torch.tensor([[-1] * (width - len(p)) + [0] * len(p) for p in prompts])
    place = torch.tensor([[0] * (width - len(p)) + list(range(len(p))) for p in prompts])
    return Row(*(part.long().to(device) for part in (ids, owner, place)))


def branches_row(branches: Sequence[Sequence[Ids]], after: Tensor, pad: int) -> Row:
    """The branches of each prompt, packed, where the prompts are `after` (b,) tokens long."""
    flat = [[(token, j + 1, d) for j, branch in enumerate(row) for d, token in enumerate(branch)] for row in branches]
    width = max(map(len, flat))
    cells = [row + [(pad, -1, 0)] * (width - len(row)) for row in flat]
    ids, owner, depth = (
        torch.tensor(cells, dtype=torch.long, device=after.device).reshape(len(cells), width, 3).unbind(-1)
    )
    return Row(ids, owner, after[:, None] + depth)


def tail(width: int, kept: int, device: torch.device) -> Tensor:
    """The last `kept` places of rows of `width` tokens, as `logits_to_keep` takes them.

    By number, a model cuts its hidden states into rows that lie apart in memory, and torch then copies the head's
    weight once a row before it multiplies: four fifths of a step of Gemma 3 270M in bfloat16. Places are gathered side
    by side.
    """
    return torch.arange(width - kept, width, device=device)


def mask(config: Any, row: Row, queries: int) -> Tensor | dict[str, Tensor]:
    """What the last `queries` tokens of a row may see of it, as a model with this transformers config takes it.

    (b, 1, q, s), of one kind for all layers or by kind. Padding sees itself: a softmax over nothing is no number.
    """
    s = row.ids.shape[1]
    first = s - queries
    index = torch.arange(s, device=row.ids.device)
    own, others = row.owner[:, first:, None], row.owner[:, None]  # (b, q, 1), (b, 1, s)
    earlier = index <= index[first:, None]
    seen = (others == 0) | ((others == own) & row.real[:, None])
    seen = (seen & earlier) | (index == index[first:, None])
    window = getattr(config, "sliding_window", None)
    near = seen if window is None else seen & (row.place[:, first:, None] - row.place[:, None] < window)
    if config.model_type not in LAYERED:
        return _as_taken(config, near)
    kinds = {"full_attention": seen, "sliding_attention": near}
    return {kind: _as_taken(config, kinds[kind]) for kind in sorted(set(config.layer_types))}


def _as_taken(config: Any, seen: Tensor) -> Tensor:
    """True and False for torch's attention, numbers to add to scores for a model's own."""
    seen = seen[:, None]
    if config._attn_implementation == "sdpa":
        return seen
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, torch.finfo(torch.float32).min)
