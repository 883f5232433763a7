"""What a run found, in a terminal: a table a candidate set, the verdict, and where the page is."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmrec.report.evidence import Evidence, read_evidence
from llmrec.report.report import sentences
from llmrec.report.results import results
from llmrec.report.tables import Table as Numbers

WORDS = {"warning": "warns", "note": "notes"}
WIDTH = 100  # where stdout is no terminal and so has none


def print_tables(run: Path, *, console: Console | None = None) -> None:
    """Prints the tables, the verdict and the report's path to stdout. Raises RunFault where nothing was evaluated."""
    console = console or Console(width=None if sys.stdout.isatty() else WIDTH)
    evidence = read_evidence(run)
    for result in results(evidence):
        console.print(Text(f"\n{result.title} ({result.asked})", style="bold"))
        console.print(_table(result.table))
    console.print()
    for sentence in sentences(evidence):
        console.print(Text(sentence))
    _warnings(evidence, console)
    page = run / "report" / "index.html"
    if page.is_file():
        console.print()
        # Not wrapped and not styled: a path is there to be copied.
        console.print(Text(f"Report: {page.resolve()}"), soft_wrap=True)


def _table(numbers: Numbers) -> Padding:
    """The metric that decides with its interval, HR at 1 and at the deciding depth: what fits into eighty columns."""
    depth = numbers.decides.partition("@")[2]
    shown = [i for i, column in enumerate(numbers.columns) if column in (numbers.decides, "HR@1", f"HR@{depth}")]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("ranker", no_wrap=True)
    for column in (numbers.columns[i] for i in shown):
        table.add_column(f"{column} ★" if column == numbers.decides else column, justify="right", no_wrap=True)
    for row in numbers.rows:
        name = Text(row.name)
        if row.tags:
            name.append(f"  {', '.join(row.tags)}", style="dim")
        cells = []
        for column, cell in ((numbers.columns[i], row.cells[i]) for i in shown):
            text = Text(cell.text, style="bold" if cell.best else "")
            if column == numbers.decides and cell.note:
                text.append(f"  [{cell.note}]", style="dim")
            cells.append(text)
        table.add_row(name, *cells, style="dim" if row.look == "chance" else "")
    return Padding(table, (0, 0, 0, 2))


def _warnings(evidence: Evidence, console: Console) -> None:
    """What the audit refuses in full; of the rest, that there is something to read."""
    levels = [str(finding.get("level", "notes")) for finding in evidence.findings]
    for finding, level in zip(evidence.findings, levels, strict=True):
        if level == "disqualifies":
            console.print(Text(f"Audit, {finding.get('where', '')}: {finding.get('what', '')}", style="bold red"))
    rest = [f"{n} {word}{'' if n == 1 else 's'}" for word in ("warning", "note") if (n := levels.count(WORDS[word]))]
    if rest:
        console.print(Text(f"Audit: {' and '.join(rest)}; the report has them.", style="dim"))
