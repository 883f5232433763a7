"""`llmrec recommend RUN --user ID | --history "A; B; C"`: what to show next."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.table import JSON, shown

RUN = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, runs/NAME.", show_default=False)]
USER = Annotated[str | None, typer.Option("--user", help="A user's id, as in the data.", show_default=False)]
HISTORY = Annotated[
    str | None, typer.Option("--history", help="Titles between semicolons, oldest first.", show_default=False)
]
K = Annotated[int, typer.Option("-k", help="How many items.")]
STATE = Annotated[
    Path | None,
    typer.Option("--state", help="A file to remember this user in: gone on from, then replaced.", show_default=False),
]


def recommend(
    run: RUN, user: USER = None, history: HISTORY = None, k: K = 10, state: STATE = None, as_json: JSON = False
) -> None:
    """Recommend items for a user of the run, or after a history typed by hand."""
    from llmrec import recommend as room

    found = room.recommend(run, user=user, history=history, k=k, state=state)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
    else:
        shown(["", "item", "id", "score"], [(one.rank, one.text, one.key, f"{one.score:.3f}") for one in found])


def register(app: typer.Typer) -> None:
    app.command("recommend")(recommend)
