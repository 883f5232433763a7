"""A table of a report, as plain values that both pages print: what is shown, and the exact numbers behind it.

The HTML page sorts by the exact numbers and writes them into its CSV files; people read the rounded ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmrec.report.words import decimal


@dataclass(frozen=True)
class Cell:
    """One number as it is shown, or words."""

    text: str
    note: str = ""
    """Small, beneath: the interval."""
    value: float | int | None = None
    """What `text` rounds; None where the text is all there is."""
    low: float | None = None
    high: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """What a row is about (mostly a ranker, with its look and what is worth knowing beside it), and its cells."""

    name: str
    cells: list[Cell]
    look: str = ""
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    """Rows under heads. `name` is unique on the page, and names the CSV file."""

    name: str
    caption: str
    head: str
    """Over the names of the rows."""
    columns: list[str]
    rows: list[Row]
    decides: str = ""
    """The column of the metric that decides."""
    words: tuple[str, ...] = ()
    """Columns that hold words, not numbers."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """(column, what it says)."""

    def only(self, name: str, caption: str, columns: list[str]) -> Table:
        """The same rows with some of the columns."""
        places = [self.columns.index(column) for column in columns]
        rows = [Row(row.name, [row.cells[i] for i in places], row.look, row.tags) for row in self.rows]
        return Table(name, caption, self.head, columns, rows, self.decides, self.words, self.notes)


EMPTY = Cell("")


def number(value: Any, shown: Callable[[float], str], *, best: bool = False) -> Cell:
    """A cell of one number; empty where there is none, since a run may not have measured it.

    >>> number(0.25, str).text, number(None, str).text, number(float("nan"), str).text
    ('0.25', '', '')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return EMPTY
    return Cell(shown(value), value=value, best=best)


def interval(facts: dict[str, float] | None, *, best: bool = False) -> Cell:
    """A cell of a mean and, where it was measured, its interval; empty for None.

    >>> interval({"mean": 0.5, "low": 0.4, "high": 0.6}).note, interval({"mean": 12.5}).text
    ('.400–.600', '12.50')
    """
    if not facts or "mean" not in facts:
        return number(None, decimal)
    shown = decimal if abs(facts["mean"]) < 1.9995 else "{:.2f}".format  # bits, items: no share
    low, high = facts.get("low"), facts.get("high")
    note = f"{shown(low)}–{shown(high)}" if low is not None and high is not None else ""
    return Cell(shown(facts["mean"]), note, facts["mean"], low, high, best)


def filled(table: Table) -> Table | None:
    """The table without columns that nobody has a number for; None where no column is left."""
    kept = [
        column
        for place, column in enumerate(table.columns)
        if any(row.cells[place].text or row.cells[place].value is not None for row in table.rows)
    ]
    if not kept:
        return None
    told = [(column, note) for column, note in table.notes if column in kept]
    found = table.only(table.name, table.caption, kept)
    return Table(found.name, found.caption, found.head, found.columns, found.rows, found.decides, found.words, told)
