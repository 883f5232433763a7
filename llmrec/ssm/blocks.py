"""Rows that are done together: on a CPU a block at a time, so that what is made of them stays in its cache."""

from __future__ import annotations

from torch import Tensor


def blocks(x: Tensor, numbers: int) -> list[slice]:
    """The rows of x (b, ...) in blocks of even size, each about `numbers` numbers of x; not on a CPU, all at once."""
    count = max(1, round(x.numel() / numbers)) if x.device.type == "cpu" else 1
    rows = max(1, -(-len(x) // count))
    return [slice(row, min(row + rows, len(x))) for row in range(0, len(x), rows)]
