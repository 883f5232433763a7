"""`llmrec publish RUN --to ORG/NAME`: a run's adapter, with its card, to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RUN = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, runs/NAME.", show_default=False)]
TO = Annotated[str, typer.Option("--to", metavar="ORG/NAME", help="The hub repository.", show_default=False)]
DRY = Annotated[bool, typer.Option("--dry-run", help="Show every file, push nothing.")]
ARM = Annotated[str | None, typer.Option("--arm", help="A folder under train/; the last tuned one if left out.")]
PAIRS = Annotated[bool, typer.Option("--pairs", help="The preference pairs as well: mind the licence of the data.")]
ONLY = Annotated[bool, typer.Option("--pairs-only", help="Nothing but the pairs, as the dataset ORG/NAME.")]
PUBLIC = Annotated[bool, typer.Option("--public", help="Make new repositories public.")]


def publish(
    run: RUN,
    to: TO,
    dry_run: DRY = False,
    arm: ARM = None,
    pairs: PAIRS = False,
    pairs_only: ONLY = False,
    public: PUBLIC = False,
) -> None:
    """Push a run's adapter, or its pairs, with a card, to the hub."""
    from llmrec import publish as room

    room.publish(run, to, dry_run, arm=arm, pairs="only" if pairs_only else pairs, private=not public)


def register(app: typer.Typer) -> None:
    app.command("publish")(publish)
