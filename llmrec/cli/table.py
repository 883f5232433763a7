"""Tables for people on stdout: aligned on a terminal, tab-separated in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

JSON = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def shown(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table: with heads on a terminal; else one row a line, tabs between, for cut and grep."""
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(str(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)
