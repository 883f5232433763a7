"""`llmrec export PAIRS --format FORM PATH`: pairs for other trainers."""

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
    text = "text"
    listwise = "listwise"
    messages = "messages"
    axolotl = "axolotl"
    axolotl_orpo = "axolotl-orpo"
    llamafactory = "llamafactory"


PAIRS = Annotated[
    Path, typer.Argument(help="A Parquet file of pairs, runs/NAME/pairs/train.parquet.", show_default=False)
]
OUT = Annotated[Path, typer.Argument(metavar="PATH", help="Ends in .parquet or .jsonl.", show_default=False)]
FORM = Annotated[Form, typer.Option("--format", help="What to write.")]
CHAT = Annotated[
    str | None, typer.Option("--chat-template", metavar="MODEL", help="Put the text forms into this model's chat.")
]


def export(pairs: PAIRS, out: OUT, form: FORM = Form.trl, chat_template: CHAT = None) -> None:
    """Write pairs in the forms that TRL, axolotl, LLaMA-Factory and unsloth read."""
    from llmrec.pairs.export import export as write

    chat = None
    if chat_template is not None:
        from llmrec.language.chat import chat_with

        chat = chat_with(chat_template)
    rows = write(pairs, form.value, out, chat=chat)
    typer.echo(f"{out}: {rows:,} rows")


def register(app: typer.Typer) -> None:
    app.command("export")(export)
