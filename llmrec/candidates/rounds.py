"""Which training queries belong to which round."""

from __future__ import annotations

import polars as pl

from llmrec.columns import POSITION, USER


def dealt(queries: pl.DataFrame, rounds: int) -> list[pl.DataFrame]:
    """The queries dealt to rounds, each to one: a user's earliest positions to the first round, the latest to the last.

    So an adapter that ranks the next round's queries was never tuned on their targets, nor on anything that the same
    user did after them. A user with fewer positions than rounds is in some of them, which the user's code decides. Rows
    keep their order. Reads user, position.

    >>> queries = pl.DataFrame({"user": [0, 0, 0, 1], "position": [1, 2, 3, 1]})
    >>> [part.rows() for part in dealt(queries, 2)]
    [[(0, 1), (0, 2)], [(0, 3), (1, 1)]]
    """
    place = pl.col(POSITION).rank("ordinal").over(USER).cast(pl.Int64) - 1
    turn = (place * rounds + pl.col(USER).cast(pl.Int64) % rounds) // pl.len().over(USER).cast(pl.Int64)
    turns = queries.select(turn.alias("round"))["round"]
    return [queries.filter(turns == n) for n in range(rounds)]
