"""What fitting minimises: functions of vectors (r, d), items (v, d) and targets (r,), looked up by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from llmrec.cross_entropy import cross_entropy

LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"cross_entropy": cross_entropy}
"""Losses by the names that recipes use."""
