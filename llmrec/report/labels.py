"""Names beside the points of a figure, so that no two overlap and each can be followed to its point."""

from __future__ import annotations

import math
from dataclasses import dataclass

Spot = tuple[float, float]
NEAR = (60.0, 20.0)  # points closer than this across and up cannot be named each beside itself
LINE = 1.3  # height of a line of text, of its size


@dataclass(frozen=True)
class Box:
    """A rectangle, in points (1/72 inch)."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Whether two rectangles overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def holds(self, other: Box) -> bool:
        """Whether the other lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.bottom <= other.bottom and other.top <= self.top


def placed(spots: list[Spot], names: list[str], frame: Box, *, taken: list[Box], size: float = 8.5) -> list[Spot]:
    """The left end and the middle of each name's height, in points, for points at `spots` inside `frame`.

    A point that stands alone has its name beside it, where nothing `taken` is. Points in a crowd have theirs in two
    columns left and right of the crowd, in the order of the points, so that lines from names to points hardly cross.

    >>> placed([(50, 50), (250, 50)], ["a", "b"], Box(0, 0, 300, 100), taken=[])
    [(57.0, 50), (257.0, 50)]
    """
    widths = [0.62 * size * len(name) for name in names]
    found: dict[int, Spot] = {}
    held = [*taken, *(Box(x - 4, y - 4, x + 4, y + 4) for x, y in spots)]
    for crowd in crowds(spots):
        if len(crowd) < 3:
            continue
        left, right = min(spots[i][0] for i in crowd), max(spots[i][0] for i in crowd)
        across = sorted(crowd, key=lambda i: (spots[i][0], spots[i][1]))
        half = len(across) // 2
        for column, is_left in ((across[:half], True), (across[half:], False)):
            for i, middle in _spread(column, spots, frame, LINE * size):
                start = left - 22 - widths[i] if is_left else right + 22
                found[i] = (start, middle)
                held.append(_box(found[i], widths[i], size))
    for i, (x, y) in enumerate(spots):
        if i in found:
            continue
        beside = (x + 7.0, y)
        free = (
            spot
            for spot in _around(x, y, widths[i], size)
            if frame.holds(_box(spot, widths[i], size)) and not any(_box(spot, widths[i], size).meets(o) for o in held)
        )
        found[i] = next(free, beside)
        held.append(_box(found[i], widths[i], size))
    return [found[i] for i in range(len(spots))]


def crowds(spots: list[Spot]) -> list[list[int]]:
    """Points in groups: whoever is NEAR anybody of a group belongs to it.

    >>> crowds([(0, 0), (200, 0), (50, 0), (100, 0), (0, 50)])
    [[0, 2, 3], [1], [4]]
    """

    def near(a: Spot, b: Spot) -> bool:
        return abs(a[0] - b[0]) < NEAR[0] and abs(a[1] - b[1]) < NEAR[1]

    groups: list[list[int]] = []
    for i, spot in enumerate(spots):
        met = [group for group in groups if any(near(spot, spots[j]) for j in group)]
        groups = [group for group in groups if group not in met] + [sorted([i, *(j for group in met for j in group)])]
    return sorted(groups)


def _spread(column: list[int], spots: list[Spot], frame: Box, line: float) -> list[tuple[int, float]]:
    """Names of a column one line apart, around the middle of their points, inside the frame."""
    ordered = sorted(column, key=lambda i: spots[i][1])
    if not ordered:
        return []
    middle = sum(spots[i][1] for i in ordered) / len(ordered)
    first = middle - line * (len(ordered) - 1) / 2
    first = max(frame.bottom + line / 2, min(first, frame.top - line * (len(ordered) - 0.5)))
    return [(i, first + line * place) for place, i in enumerate(ordered)]


def _box(spot: Spot, wide: float, size: float) -> Box:
    return Box(spot[0], spot[1] - 0.6 * size, spot[0] + wide, spot[1] + 0.6 * size)


def _around(x: float, y: float, wide: float, size: float) -> list[Spot]:
    """Places for a name: right, left, above and below its point, then rings further out."""
    up, down = y + 6 + size / 2, y - 6 - size / 2
    near = [(x + 7.0, y), (x - 7 - wide, y), (x - wide / 2, up), (x - wide / 2, down)]
    near += [(x + 3, up), (x + 3, down), (x - 3 - wide, up), (x - 3 - wide, down)]
    for ring in range(1, 12):
        reach = 7 + 9 * ring
        for turn in range(24):
            angle = math.pi * turn / 12
            across, rise = reach * math.cos(angle), reach * math.sin(angle)
            near.append((x + across if across >= 0 else x + across - wide, y + rise))
    return near
