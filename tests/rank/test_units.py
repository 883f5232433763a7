"""Thirty days are thirty days, whatever unit the data keep their times in."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.columns import TIMES
from llmrec.rank.floors import Recent
from tests.rank.library import DAY, library

YEAR_2023 = 19_358  # days since 1970


@pytest.mark.parametrize("a_second", [1, 1_000, 1_000_000], ids=["seconds", "milliseconds", "microseconds"])
def test_recent_counts_thirty_days_in_any_unit(a_second: int) -> None:
    # Book 0 was lent in January, book 1 in June, twenty days apart; the reader is asked in July.
    days = [[YEAR_2023 + day for day in row] for row in ([1, 170, 200], [2, 190, 200])]
    larder = library([[0, 1, 2], [0, 1, 3]], books=5, days=days)
    times = larder.histories[TIMES].list.eval(pl.element() * a_second)
    scorer = Recent.fit(
        type(larder)(larder.histories.with_columns(times), larder.catalogue, larder.queries, larder.users)
    )
    july = scorer.scores([np.array([4])], [np.array([(YEAR_2023 + 200.0) * DAY])])
    assert np.floor(july).tolist() == [[0, 2, 0, 0, 0]]
