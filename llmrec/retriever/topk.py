"""The first items of a whole catalogue for each row, exactly, without the scores of all rows and items at once.

Items go by in blocks. What a row has found so far bounds what it can still want, and a block is looked at in groups of
items: a group whose highest score lies below the bound is passed over, so that most of the time goes into the product.

Letters of shapes: b rows, v items, d width, w scores a row in one block, g items a group, k items wanted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llmrec.errors import ModelFault

CELLS, ROWS = 1 << 20, 64  # scores held at once on a processor (4 MB, read again from its cache), and rows at most
GPU_CELLS, GPU_ROWS = 1 << 26, 1 << 12  # a GPU wants few and large kernels
GROUP = 64  # items that are passed over together, at most
SLACK = 1 << 16  # entries kept before it is looked whether the bound has left them behind
LOWEST = torch.finfo(torch.float32).min

Entries = tuple[Tensor, Tensor, Tensor]  # rows, items and scores of what was found so far


@dataclass(frozen=True)
class Found:
    """Items found for rows, as flat arrays: ordered by row, then score falling, then item code rising.

    `rows` and `items` are int64, `scores` float32, one entry each for every item found.
    """

    rows: np.ndarray
    items: np.ndarray
    scores: np.ndarray


def topk(
    vectors: Tensor,
    items: Tensor,
    k: int,
    *,
    seen: Sequence[np.ndarray] | None = None,
    bias: Tensor | None = None,
    block: int | None = None,
) -> Found:
    """Each row's k items of highest product and whatever ties with the k-th, items that the row has seen left out.

    vectors: (b, d) and items: (v, d), on one device; `bias` (v,) is added to every row's scores; `seen` holds each
    row's item codes in any order, repeated or not. A row with fewer than k unseen items gets them all. `block` items
    are scored at once, by default as many as suit the device; any number finds the same, to the rounding of a product.

    Raises ModelFault on shapes that do not fit, on a seen item that is not in the catalogue, and on scores that are not
    finite, be they of seen items; ValueError when `k` or `block` is below 1.

    >>> catalogue = torch.tensor([[3.0, 9.0], [5.0, 0.0], [3.0, 0.0], [1.0, 1.0]])
    >>> topk(torch.tensor([[1.0, 0.0]]), catalogue, k=2).items
    array([1, 0, 2])
    """
    check(vectors, items, k, seen)
    if block is not None and block < 1:
        raise ValueError(f"block is {block}; at least one item is scored at once")
    if bias is not None and bias.shape != items.shape[:1]:
        raise ModelFault(f"topk: bias is {tuple(bias.shape)}; each of {len(items):,} items needs one number.")
    k = min(k, len(items))
    cells, rows = (CELLS, ROWS) if vectors.device.type == "cpu" else (GPU_CELLS, GPU_ROWS)
    rows = max(1, min(rows, len(vectors), cells // (8 * k + 1)))  # a block of many times k items has few worth a look
    block = min(block or cells // rows, max(1, len(items)))
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    with torch.inference_mode():
        for first in range(0, len(vectors) if len(items) else 0, rows):
            some = slice(first, first + rows)
            forbidden = flat_seen(seen[some], len(items), first=first) if seen is not None else None
            found = _streamed(vectors[some], items, k, forbidden, bias, block, first=first)
            parts.append((found.rows + first, found.items, found.scores))
    return Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def first_and_tied(rows: np.ndarray, items: np.ndarray, scores: np.ndarray, k: int) -> Found:
    """Of entries in any order, those among their row's k highest or tied with the k-th, in order."""
    order = np.lexsort((items, -scores, rows))
    rows, items, scores = rows[order], items[order], scores[order]
    counts = np.bincount(rows)  # of a row without entries the next line reads another's, which is then repeated 0 times
    kth = scores[counts.cumsum() - counts + np.minimum(k, counts) - 1]
    kept = scores >= np.repeat(kth, counts)
    return Found(rows[kept], items[kept], scores[kept])


def check(vectors: Tensor, items: Tensor, k: int, seen: Sequence[np.ndarray] | None) -> None:
    """What every search asks of its arguments: raises as `topk` says."""
    if k < 1:
        raise ValueError(f"k is {k}; at least one item is asked for")
    if vectors.dim() != 2 or items.dim() != 2 or vectors.shape[1] != items.shape[1] or vectors.device != items.device:
        raise ModelFault(
            f"topk: vectors are {tuple(vectors.shape)} on {vectors.device}, items {tuple(items.shape)} on "
            f"{items.device}. One model's are (rows, width) and (items, width), on one device."
        )
    if seen is not None and len(seen) != len(vectors):
        raise ModelFault(f"seen: says what {len(seen)} rows have seen, and there are {len(vectors)}; one array a row.")


def flat_seen(seen: Sequence[np.ndarray], n_items: int, *, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The rows (from 0) and the items of all that was seen, by item code rising.

    Raises ModelFault on an item that is not in the catalogue, naming its row as counted from `first`.
    """
    some = [items for items in seen if len(items)]  # an empty list does not say that it would hold integers
    if not some:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    items = np.concatenate(some, dtype=np.int64, casting="same_kind")
    rows = np.arange(len(seen)).repeat([len(items) for items in seen])
    order = items.argsort()
    rows, items = rows[order], items[order]
    if items[0] < 0 or items[-1] >= n_items:
        bad = 0 if items[0] < 0 else -1
        raise ModelFault(
            f"seen: row {first + rows[bad]} has item {items[bad]}, which is not in the catalogue; its {n_items:,} "
            f"items have codes 0 to {n_items - 1}. Leave it out, or score the catalogue that has it."
        )
    return rows, items


def _streamed(
    vectors: Tensor,
    items: Tensor,
    k: int,
    seen: tuple[np.ndarray, np.ndarray] | None,
    bias: Tensor | None,
    block: int,
    *,
    first: int,
) -> Found:
    """`topk` of rows that share one pass over the items; `first` is the number of the first row, for faults."""
    group = GROUP
    while group > 1 and block < 2 * k * group:  # so that the groups' maxima bound the k-th well
        group //= 2
    across = -(-block // group)
    # A group's items stand `across` apart, so that the maxima of all groups are maxima of whole lines of memory.
    scores = vectors.new_full((len(vectors), group * across), -torch.inf, dtype=torch.float32)  # (b, w)
    groups = scores.view(-1, group, across)  # (b, g, w / g)
    vectors = vectors.float()
    best = scores.new_full((len(vectors), k), -torch.inf)  # maxima of groups: k different items, so never too high
    if seen is not None:
        edges = seen[1].searchsorted(np.arange(0, len(items) + block, block))
        seen_rows, seen_items = (torch.from_numpy(part).to(scores.device) for part in seen)
    kept: list[Entries] = []
    held, limit = 0, SLACK
    for n, start in enumerate(range(0, len(items), block)):
        size = min(block, len(items) - start)
        _score(scores[:, :size], vectors, items, bias, start, first)
        scores[:, size:] = -torch.inf
        if seen is not None:
            here = slice(edges[n], edges[n + 1])
            scores[seen_rows[here], seen_items[here] - start] = -torch.inf
        tops = groups.amax(1)
        best = torch.cat([best, tops], 1).topk(k, sorted=False).values
        bound = best.amin(1).clamp(min=LOWEST)  # what was seen lies below any bound
        row, column = (tops >= bound[:, None]).nonzero(as_tuple=True)
        inside = groups[row, :, column]  # the groups worth a look, g scores each
        entry, line = (inside >= bound[row, None]).nonzero(as_tuple=True)
        kept.append((row[entry], start + line * across + column[entry], inside[entry, line]))
        held += len(entry)
        if held > limit:  # items that come in rising order would otherwise all be kept
            kept = [_above(kept, bound)]
            held = len(kept[0][0])
            limit = 2 * held + SLACK
    rows, codes, found = (part.cpu().numpy() for part in _above(kept, bound))
    return first_and_tied(rows, codes, found, k)


def _score(out: Tensor, vectors: Tensor, items: Tensor, bias: Tensor | None, start: int, first: int) -> None:
    """Writes the scores of the items from `start` on; raises ModelFault where one is not finite."""
    some = items[start : start + out.shape[1]].float()
    torch.mm(vectors, some.T, out=out)
    if bias is not None:
        out += bias[start : start + out.shape[1]]
    if math.isfinite(out.sum()):  # the quickest look: whatever is not finite makes the sum so, and seldom a large one
        return
    for row, item in (~out.isfinite()).nonzero()[:1].tolist():
        raise ModelFault(
            f"topk: row {first + row} scores item {start + item} with {out[row, item]}; an order needs finite scores. "
            "Look for values in the row's vector, or in the item's, that are not finite or far too large."
        )


def _above(kept: list[Entries], bound: Tensor) -> Entries:
    """The entries that the bound, which only rises, has not left behind."""
    if len(kept) == 1:
        return kept[0]
    rows, items, scores = (torch.cat(parts) for parts in zip(*kept, strict=True))
    wanted = scores >= bound[rows]
    return rows[wanted], items[wanted], scores[wanted]
