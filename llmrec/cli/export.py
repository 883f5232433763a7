"""`llmrec export PAIRS --format trl|conversational|sft PATH`: pairs for other trainers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Form(StrEnum):
    """The forms that `llmrec.pairs.export` writes."""

    trl = "trl"
    conversational = "conversational"
    sft = "sft"


PAIRS = Annotated[
    Path, typer.Argument(help="A Parquet file of pairs, runs/NAME/pairs/train.parquet.", show_default=False)
]
OUT = Annotated[Path, typer.Argument(metavar="PATH", help="Ends in .parquet or .jsonl.", show_default=False)]
FORM = Annotated[Form, typer.Option("--format", help="What to write.")]


def export(pairs: PAIRS, out: OUT, form: FORM = Form.trl) -> None:
    """Write pairs in the forms that trl reads."""
    from llmrec.pairs.export import export as write

    rows = write(pairs, form.value, out)
    typer.echo(f"{out}: {rows:,} rows")


def register(app: typer.Typer) -> None:
    app.command("export")(export)
