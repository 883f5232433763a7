"""How numbers, names and times read in a report."""

from __future__ import annotations

import re
from typing import Any

from llmrec.report.evidence import Evidence

SLICES = {
    "target_popularity": "Popularity of the target",
    "history_length": "Items in the history",
    "title_length": "Characters in the target's title",
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
    return f"{table.replace('_', ' ').capitalize()}: {candidates} candidates"


def table_note(table: str, facts: dict[str, Any]) -> str:
    """What to know before reading numbers of a candidate set."""
    if facts.get("candidates") is None:
        return "Every item that the user has not yet touched is ranked. This is the table to judge a system by."
    if table == "two_stage":
        return "The target is not added: where the retriever missed it, every reranker misses it too."
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
