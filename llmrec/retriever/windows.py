"""What a step of fitting is given: windows of histories, side by side or packed, and what each position is asked for.

Letters of shapes: b rows, l positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from llmrec.retriever.batches import padded
from llmrec.retriever.layout import Layout


@dataclass(frozen=True)
class Window:
    """Items `start` to `stop` of one history. Asked for are those from `asked` on, each after what stands before it."""

    history: int
    start: int
    stop: int
    asked: int


@dataclass(frozen=True)
class Batch:
    """Codes (b, l), where they lie, and the item that each position is asked for, (b, l), -1 where none is.

    `later` are the items after those, one (b, l) for each place further, -1 where the window has ended.
    """

    codes: Tensor
    targets: Tensor
    layout: Layout
    later: list[Tensor]


def windows(lengths: Sequence[int], longest: int, rng: np.random.Generator) -> list[Window]:
    """Each history cut into windows of at most `longest` items and the one they predict, at a random phase.

    Every item is asked for exactly once, from what its window holds before it; a history's first from nothing.
    """
    cut = []
    for history, length in enumerate(lengths):
        ends = [length]
        if length > longest + 1:
            ends = [*range(int(rng.integers(2, longest + 2)), length, longest), length]
        for start, stop in zip([0, *(end - 1 for end in ends[:-1])], ends, strict=True):
            cut.append(Window(history, start, stop, start + (start > 0)))
    return [window for window in cut if window.stop]


def prefixes(lengths: Sequence[int], longest: int) -> list[Window]:
    """A window for every item: at most `longest` before it, and the item alone asked for, as published runs train."""
    return [
        Window(history, max(0, at - longest), at + 1, at)
        for history, length in enumerate(lengths)
        for at in range(length)
    ]


def side_by_side(some: list[Window], rng: np.random.Generator) -> list[list[Window]]:
    """Rows of one window each, from short to long, but for a tenth."""
    lengths = np.array([w.stop - w.start for w in some])
    order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(lengths)), kind="stable")
    return [[some[i]] for i in order]


def bucketed(some: list[Window], size: int, rng: np.random.Generator) -> Iterator[list[list[Window]]]:
    """Rows of one window each, `size` to a batch, windows of like length together, so that little is padding."""
    yield from Growing(side_by_side(some, rng), size, rng)


def end_to_end(some: list[Window], longest: int, rng: np.random.Generator) -> list[list[Window]]:
    """Rows of at most `longest` + 1 positions, filled with windows in random order."""
    rows: list[list[Window]] = []
    room = 0
    for i in rng.permutation(len(some)):
        length = some[i].stop - some[i].start
        if length > room:
            rows.append([])
            room = longest + 1
        rows[-1].append(some[i])
        room -= length
    return rows


def packed(some: list[Window], size: int, longest: int, rng: np.random.Generator) -> Iterator[list[list[Window]]]:
    """Such rows, `size` to a batch."""
    rows = end_to_end(some, longest, rng)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


class Growing:
    """Rows dealt into batches of `size`, neighbours together, the batches in random order; `size` may grow in between.

    What is left is then dealt anew: each row comes once, whatever happens. While `size` stays, rows that stand side by
    side come as in `bucketed`.
    """

    def __init__(self, rows: list[list[Window]], size: int, rng: np.random.Generator) -> None:
        self.rows, self.size, self._rng = rows, size, rng

    def __iter__(self) -> Iterator[list[list[Window]]]:
        left = self.rows
        while left:
            size, before = self.size, left
            starts = self._rng.permutation(np.arange(0, len(before), size)).tolist()
            left = []
            for done, start in enumerate(starts, start=1):
                yield before[start : start + size]
                if self.size != size:
                    left = [row for kept in sorted(starts[done:]) for row in before[kept : kept + size]]
                    break


def batch(
    rows: Sequence[Sequence[Window]],
    histories: Sequence[np.ndarray],
    gaps: Sequence[np.ndarray] | None,
    *,
    begin: int | None,
    horizon: int = 1,
) -> Batch:
    """Windows as codes and targets. Each begins with the start vector's code `begin`; None: with its first item."""
    drop = int(begin is None)  # without a start vector nothing predicts a window's first item
    codes, starts, waits = [], [], []
    targets: list[list[np.ndarray]] = [[] for _ in range(horizon)]
    for row in rows:
        cut = [histories[w.history][w.start : w.stop] for w in row]
        known = [items[:-1] if begin is None else np.concatenate([[begin], items[:-1]]) for items in cut]
        asked = [np.arange(w.start, w.stop) >= w.asked for w in row]
        codes.append(np.concatenate(known))
        for d, further in enumerate(targets):
            moved = [np.concatenate([items[d:], np.full(min(d, len(items)), -1)]) for items in cut]
            own = [np.where(here, items, -1)[drop:] for here, items in zip(asked, moved, strict=True)]
            further.append(np.concatenate(own))
        starts.append(np.concatenate([np.arange(len(items)) == 0 for items in known]))
        if gaps is not None:
            waited = [gaps[w.history][w.start : w.stop - 1] for w in row]
            waits.append(np.concatenate([wait if begin is None else np.concatenate([[0], wait]) for wait in waited]))
    # How long rows are need not be said: everything is causal, and padding is asked for nothing.
    layout = Layout(
        starts=padded(starts, dtype=np.bool_)[0] if any(len(row) > 1 for row in rows) else None,
        gaps=padded(waits, dtype=np.float32)[0] if gaps is not None else None,
    )
    first, *later = (padded(some, -1)[0] for some in targets)
    return Batch(padded(codes)[0], first, layout, later)
