"""The club, audited: what the tests of every check set out from."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from llmrec.data.larder import Larder
from llmrec.evaluate.audit import audit
from llmrec.evaluate.finding import Finding
from tests.evaluate.club import club, offered, placing

CLUB = club(members=400, books=50)
TABLE = offered(CLUB, 10)
MINE = placing(CLUB, TABLE, 1, ranker="me")


def found(
    larder: Larder = CLUB,
    candidates: pl.DataFrame | None = TABLE,
    *,
    table: str = "uniform",
    method: str = "time",
    depth: int = 10,
    rest: dict[str, Any] | None = None,
    **rankings: pl.DataFrame | list[pl.DataFrame],
) -> list[Finding]:
    if not rankings and candidates is not None:
        rankings = {"me": placing(larder, candidates, 1, ranker="me")}
    lists = {name: r if isinstance(r, list) else [r] for name, r in rankings.items()}
    shown = {table: candidates}
    return audit(larder, larder.queries, {table: lists}, shown, method=method, depth=depth, seed=7, **(rest or {}))


def levels(findings: list[Finding], words: str) -> list[str]:
    return [finding.level for finding in findings if words in finding.what]


def of(findings: list[Finding], check: str) -> list[tuple[str, str]]:
    """level and evidence of what one check found."""
    return [(finding.level, finding.what) for finding in findings if finding.check == check]


def in_slot(slots: np.ndarray) -> pl.DataFrame:
    """The club's candidates with every target moved to a slot of one's choice."""
    rows = []
    for (query, books, _), target, slot in zip(TABLE.iter_rows(), CLUB.queries["target"], slots, strict=True):
        order = [book for book in books if book != target]
        order.insert(int(slot), target)
        rows.append((query, order, ["target" if book == target else "uniform" for book in order]))
    return pl.DataFrame(rows, schema=TABLE.schema, orient="row")
