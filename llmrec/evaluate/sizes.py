"""How much a test set can tell: its users, and the rows that they give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from llmrec import metrics
from llmrec.columns import USER
from llmrec.evaluate.case import Case
from llmrec.evaluate.finding import Level, check

ENOUGH = 300
Said = Iterator[tuple[Level, str, str]]


@check(
    "few-users",
    why="Small test sets swallow small differences.",
    remedy="Read the intervals, not the means; ask more users where there are more.",
)
def few_users(case: Case) -> Said:
    users = case.queries[USER].n_unique()
    if users < ENOUGH:
        widest = 1.96 * 0.5 / np.sqrt(max(users, 1))
        yield "notes", "split", f"{users:,} users only: a hit rate near one half is known to ±{widest:.2f}"


@check(
    "rows-per-user",
    why="Queries of one user are not independent: counted as if they were, differences look surer than they are.",
    remedy="Draw users, not rows, for intervals and tests (`llmrec compare` does), or ask each user once.",
)
def rows_per_user(case: Case) -> Said:
    users, rows = np.unique(case.queries[USER].to_numpy(), return_inverse=True)
    each = np.bincount(rows)
    if len(users) == len(rows):
        return
    what = f"{len(rows):,} queries come from {len(users):,} users, at most {each.max():,} from one"
    wider = max((_design_effect(values, rows) for values in _values(case)), default=1.0)
    if wider > 1:
        what += f"; intervals over rows would have to be {wider:.1f} times as wide to be right"
    crowded = len(rows) > 2 * len(users) or wider > 1.5
    yield "warns" if crowded else "notes", "split", what


def _values(case: Case) -> Iterator[npt.NDArray[np.float64]]:
    """The metric that decides, query by query, of every ranking."""
    for table in case.lists.values():
        for seeds in table.values():
            yield from (metrics.measure(case.primary, lists.above, lists.tied) for lists in seeds)


def _design_effect(values: npt.NDArray[np.float64], rows: npt.NDArray[np.intp]) -> float:
    """By how much the standard error of a mean grows when users, not rows, are independent (square root of Kish's)."""
    off = values - values.mean()
    naive = float((off**2).sum())
    clustered = float((np.bincount(rows, weights=off) ** 2).sum())
    return float(np.sqrt(clustered / naive)) if naive > 0 else 1.0


CHECKS = (few_users, rows_per_user)
