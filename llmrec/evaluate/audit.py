"""Is the comparison fair? Leaks, favours and coincidences, each with what it does to the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from llmrec.evaluate import favours, leaks
from llmrec.evaluate.finding import LEVELS, Case, Finding

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

CHECKS = (*favours.CHECKS, *leaks.CHECKS)


def audit(
    larder: Larder,
    queries: pl.DataFrame,
    rankings: Mapping[str, dict[str, list[pl.DataFrame]]],
    candidates: Mapping[str, pl.DataFrame | None],
    *,
    method: str,
    depth: int,
    seed: int,
) -> list[Finding]:
    """Every finding about a comparison, the gravest first.

    Arguments as in `llmrec.evaluate.evaluate.evaluate`; `depth` is the deepest k that is measured. The tables must have
    passed `llmrec.evaluate.checks`: what cannot be compared at all is an error there, not a finding here.
    """
    case = Case(larder, queries, rankings, candidates, method, depth, seed)
    found = [finding for check in CHECKS for finding in check(case)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))
