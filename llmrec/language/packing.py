"""Prompts and branches as rows of tokens, and which token may see which.

A packed row is a prompt, padded on the left, and the tree of its branches, depth first, padded on the right: branches
that begin alike share those tokens. Every token stands where it would stand if its branch were alone, right after the
prompt, and sees the prompt and what it continues. Sliding windows count those places and not the row's own.

Shapes: b prompts, p tokens of the longest prompt, t branch tokens of the fullest row, q queries, s = p + t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Ids = Sequence[int]
ALL = 1 << 40  # whatever comes after a prompt's token continues it
LAYERED = {"qwen2", "qwen3", "gemma3_text"}
"""Families that take a mask for each kind of layer."""


@dataclass(frozen=True)
class Row:
    """Tokens side by side, (b, s) each: `ids`; `heirs`, how many tokens right after it in the row continue it, -1 for
    padding, which nothing does; and `place`, where it would stand if its branch were alone."""

    ids: Tensor
    heirs: Tensor
    place: Tensor

    @property
    def real(self) -> Tensor:
        """(b, s), False at padding."""
        return self.heirs >= 0

    @property
    def lengths(self) -> Tensor:
        """(b,) real tokens."""
        return self.real.sum(1)

    def __add__(self, other: Row) -> Row:
        parts = zip((self.ids, self.heirs, self.place), (other.ids, other.heirs, other.place), strict=True)
        return Row(*(torch.cat(pair, 1) for pair in parts))

    def __getitem__(self, rows: Tensor) -> Row:
        return Row(self.ids[rows], self.heirs[rows], self.place[rows])


def prompts_row(prompts: Sequence[Ids], pad: int, device: torch.device) -> Row:
    """Prompts, padded on the left: their ends stand together, and what follows them does not know of the padding."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts])
    heirs = torch.tensor([[-1] * (width - len(p)) + [ALL] * len(p) for p in prompts])
    place = torch.tensor([[0] * (width - len(p)) + list(range(len(p))) for p in prompts])
    return Row(*(part.long().to(device) for part in (ids, heirs, place)))


def branches_row(branches: Sequence[Sequence[Ids]], after: Tensor, pad: int) -> tuple[Row, list[list[list[int]]]]:
    """The branches of each prompt, packed, where the prompts are `after` (b,) tokens long.

    Also where each token went: columns[i][j][d] of branch j's token d in row i.
    """
    trees = [_tree(row) for row in branches]
    width = max(len(cells) for cells, _ in trees)
    padded = [cells + [(pad, -1, 0)] * (width - len(cells)) for cells, _ in trees]
    ids, heirs, depth = (
        torch.tensor(padded, dtype=torch.long, device=after.device).reshape(len(padded), width, 3).unbind(-1)
    )
    return Row(ids, heirs, after[:, None] + depth), [columns for _, columns in trees]


def _tree(branches: Sequence[Ids]) -> tuple[list[tuple[int, int, int]], list[list[int]]]:
    """(token, heirs, depth) of the branches' tree, depth first, and the cells of each branch."""
    tokens: list[int] = []
    depths: list[int] = []
    heirs: list[int] = []
    columns: list[list[int]] = [[] for _ in branches]
    path: list[int] = []  # of cells, from the prompt to where the last branch ended
    for j in sorted(range(len(branches)), key=lambda j: tuple(branches[j])):  # what begins alike is side by side
        branch = branches[j]
        alike = 0
        while alike < min(len(path), len(branch)) and tokens[path[alike]] == branch[alike]:
            alike += 1
        path = [*path[:alike], *range(len(tokens), len(tokens) + len(branch) - alike)]
        tokens += branch[alike:]
        depths += range(alike, len(branch))
        heirs += [0] * (len(branch) - alike)
        for cell in path:
            heirs[cell] = max(heirs[cell], path[-1] - cell)
        columns[j] = path
    return list(zip(tokens, heirs, depths, strict=True)), columns


def asked_of(cells: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Which of `count` cells are named, (count,) bool, and which of those, counted on, each of `cells` (q,) is."""
    asked = torch.zeros(count, dtype=torch.bool, device=cells.device)
    asked[cells] = True
    return asked, asked.cumsum(0)[cells] - 1


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
    gap = index[first:, None] - index  # (q, s)
    seen = ((gap >= 0) & (gap <= row.heirs[:, None])) | (gap == 0)
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
