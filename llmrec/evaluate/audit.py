"""Is the comparison fair? Leaks, favours and coincidences, each with what it does to the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

Level = Literal["disqualifies", "warns", "notes"]


@dataclass(frozen=True)
class Finding:
    """One thing the audit found, and where."""

    level: Level
    what: str
    where: str


def audit(
    larder: Larder,
    queries: pl.DataFrame,
    rankings: Mapping[str, dict[str, list[pl.DataFrame]]],
    candidates: Mapping[str, pl.DataFrame | None],
    *,
    method: str,
    seed: int,
) -> list[Finding]:
    """Every finding, the gravest first."""
    return []
