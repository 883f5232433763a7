"""Is the comparison fair? Leaks, favours and coincidences, each with what it does to the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from llmrec.evaluate import depths, habits, leaks, offers, sizes, titles
from llmrec.evaluate.case import Case, Mined, parts_of
from llmrec.evaluate.finding import LEVELS, PARTS, Check, Finding

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

CHECKS: tuple[Check, ...] = (
    *offers.CHECKS,
    *habits.CHECKS,
    *depths.CHECKS,
    *leaks.CHECKS,
    *titles.CHECKS,
    *sizes.CHECKS,
)


def audit(
    larder: Larder,
    queries: pl.DataFrame,
    rankings: Mapping[str, dict[str, list[pl.DataFrame]]],
    candidates: Mapping[str, pl.DataFrame | None],
    *,
    method: str,
    depth: int,
    seed: int,
    primary: str = "ndcg@10",
    mined: Mined | None = None,
) -> list[Finding]:
    """Every finding about a comparison within a run, the gravest first.

    Arguments as in `llmrec.evaluate.evaluate.evaluate`; `depth` is the deepest k that is measured. The tables must have
    passed `llmrec.evaluate.checks`: what cannot be compared at all is an error there, not a finding here.
    """
    parts = parts_of(larder, queries)
    return findings(
        Case(
            rankings=rankings,
            candidates=candidates,
            primary=primary,
            depth=depth,
            seed=seed,
            method=method,
            mined=mined,
            **parts,
        )
    )


def findings(case: Case) -> list[Finding]:
    """What every check finds that has all it needs, the gravest first."""
    found = [finding for check in CHECKS if not check.lacks(case) for finding in check(case)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def unchecked(case: Case) -> dict[str, list[str]]:
    """check -> what it would need to see, of the checks that could not be made."""
    return {check.name: [PARTS[part] for part in lacks] for check in CHECKS if (lacks := check.lacks(case))}
