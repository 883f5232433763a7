"""How histories lie in a rectangle of positions, and how long after one another their items came.

Letters of shapes: b rows, l positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """What is known of positions beside their items; what is None does not apply.

    `lengths` (b,): how many positions of each row are real, the others padding on the right. `starts` (b, l): True
    where another history begins, of those packed into one row. `gaps` (b, l): log(1 + wait / scale), the wait being
    that since the item before.
    """

    lengths: Tensor | None = None
    starts: Tensor | None = None
    gaps: Tensor | None = None

    def to(self, device: torch.device) -> Layout:
        """The same layout, on a device."""
        return Layout(*(None if part is None else part.to(device) for part in (self.lengths, self.starts, self.gaps)))

    def real(self, length: int) -> Tensor | None:
        """Which of `length` positions are no padding, (b, l) bool; None where none is padding."""
        if self.lengths is None:
            return None
        return torch.arange(length, device=self.lengths.device) < self.lengths[:, None]

    def at_last(self, x: Tensor) -> Tensor:
        """Each row's last real position of x (b, l, ...): (b, ...)."""
        if self.lengths is None:
            return x[:, -1]
        return x[torch.arange(len(x), device=x.device), (self.lengths - 1).clamp(min=0)]


PLAIN = Layout()
