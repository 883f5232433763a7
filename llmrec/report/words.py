"""How numbers, names and times read in a report."""

from __future__ import annotations

import re
from typing import Any

from llmrec.report.evidence import Evidence

SLICES = {
    "target_popularity": "Popularity of the target",
    "history_length": "Items in the history",
    "title_length": "Characters in the target's title",
    "item_age": "Age of the target",
    "cold_items": "Target never met in training",
    "repeat_or_new": "Met before, or new to the user",
}
LISTS = {
    "coverage": "the share of the catalogue that stands among anybody's first k items",
    "gini": "how unevenly items are offered: 0 if all equally often, towards 1 if a few take every place",
    "novelty": "how rare the offered items are in training; higher is further from the popular ones",
    "diversity": "how unlike one another the items of one list are",
    "calibration": "how far the kinds of items in a list stray from those in the user's own history",
    "repeats": "the share of offered items that the user had already met",
}


def decimal(value: float) -> str:
    """A share with three decimals and no leading zero, as tables of the field have it.

    >>> decimal(0.6123), decimal(1.0), decimal(-0.02)
    ('.612', '1.000', '−.020')
    """
    shown = f"{abs(value):.3f}"
    return ("−" if value < 0 and float(shown) else "") + (shown[1:] if shown.startswith("0") else shown)


def signed(value: float) -> str:
    """A difference with its sign; what rounds to nothing has none.

    >>> signed(0.0312), signed(-0.0312), signed(0.0001)
    ('+.031', '−.031', '.000')
    """
    return ("+" if value > 0 and float(f"{value:.3f}") else "") + decimal(value)


def seconds(value: float) -> str:
    """A duration.

    >>> seconds(0.004), seconds(0.4), seconds(75), seconds(4020)
    ('< 0.1 s', '0.4 s', '1 min 15 s', '1 h 07 min')
    """
    if value < 0.05:
        return "< 0.1 s"
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def per_users(value: float) -> str:
    """Seconds for 1,000 users: two digits that count, and no more than those that are whole.

    >>> per_users(0.018), per_users(0.5386), per_users(31.7), per_users(4020.4)
    ('0.018', '0.54', '32', '4,020')
    """
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def millis(value: float) -> str:
    """Milliseconds, with two digits that count.

    >>> millis(0.423), millis(42.1), millis(1234)
    ('0.42 ms', '42 ms', '1,234 ms')
    """
    return f"{value:.2g} ms" if value < 10 else f"{value:,.0f} ms"


def size(value: float, units: tuple[str, ...] = ("", " k", " M", " G")) -> str:
    """A large number in thousands of thousands: parameters, or bytes with their own units.

    >>> size(1_230_000), size(560), size(7e9), size(5.2e8, (" B", " kB", " MB", " GB"))
    ('1.2 M', '560', '7.0 G', '520.0 MB')
    """
    power = min(len(units) - 1, max(0, (len(f"{abs(value):.0f}") - 1) // 3))
    return f"{value / 1000**power:.1f}{units[power]}" if power else f"{value:.0f}{units[0]}"


def count(value: float) -> str:
    """A count with thousands set apart; small rates keep a digit.

    >>> count(12345), count(2.345)
    ('12,345', '2.3')
    """
    return f"{value:.1f}" if 0 < abs(value) < 10 and value != int(value) else f"{value:,.0f}"


def probability(p: float | None) -> str:
    """A p-value; below what resampling resolves, only that it is below.

    >>> probability(0.0321), probability(0.00001), probability(None)
    ('.032', '< .001', '')
    """
    return "" if p is None else "< .001" if p < 0.001 else decimal(p)


def table_title(evidence: Evidence, table: str) -> str:
    """What a candidate set is, in a heading."""
    facts = evidence.tables[table]
    candidates = facts.get("candidates")
    if candidates is None:
        return f"The full catalogue of {evidence.items:,} items" if evidence.items else "The full catalogue"
    if table == "uniform":
        return f"The target among {candidates - 1} drawn uniformly"
    if table == "two_stage":
        return f"The retriever's top {candidates}"
    if table == "shared":
        return f"The {candidates} candidates that all list"
    return f"{table.replace('_', ' ').capitalize()}: {candidates} candidates"


WHOLE = {
    "masked": "Every item that the user has not yet touched is ranked.",
    "ranked": "Every item is ranked, those that the user has already touched among them.",
    None: "Whether items that the user has already touched were ranked or left out is not known of all rankers.",
}


def table_note(evidence: Evidence, table: str) -> str:
    """What to know before reading numbers of a candidate set."""
    if evidence.tables[table].get("candidates") is None:
        return f"{WHOLE[evidence.seen]} This is the table to judge a system by."
    if table == "two_stage":
        return "The target is not added: where the retriever missed it, every reranker misses it too."
    if table == "shared":
        return "All of these rankings list the same items for each query."
    return (
        "Easier than real use: most drawn items are ones that nobody would confuse with the target, so numbers are "
        "high, and the order of rankers can differ from the full catalogue's. Numbers of different candidate sets do "
        "not compare."
    )


def flat(content: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text) lines, in their order; lists of plain things on one line."""
    lines: list[tuple[str, str]] = []
    for key, value in content.items() if isinstance(content, dict) else []:
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            lines += flat(value, f"{name}.")
        elif isinstance(value, list):
            lines.append((name, ", ".join(str(v) for v in value)))
        elif isinstance(value, bool) or value is None:
            lines.append((name, {True: "yes", False: "no", None: "none"}[value]))
        elif isinstance(value, int) and not re.search(r"seed|year|time|commit", key):
            lines.append((name, f"{value:,}"))
        elif isinstance(value, float):
            lines.append((name, f"{value:.4g}"))
        else:
            lines.append((name, str(value)))
    return lines
