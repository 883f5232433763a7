"""`llmrec publish RUN --to ORG/NAME`: a run's model and dataset to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RUN = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, runs/NAME.", show_default=False)]
TO = Annotated[str, typer.Option("--to", metavar="ORG/NAME", help="The hub repository.", show_default=False)]
DRY = Annotated[bool, typer.Option("--dry-run", help="Show every file, push nothing.")]


def publish(run: RUN, to: TO, dry_run: DRY = False) -> None:
    """Push a run's model and dataset to the hub."""
    from llmrec import publish as room

    room.publish(run, to=to, dry_run=dry_run)


def register(app: typer.Typer) -> None:
    app.command("publish")(publish)
