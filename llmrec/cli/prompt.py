"""`llmrec prompt RECIPE --user ID`: what the model will read, with token counts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.stages import OVERRIDES, RECIPE, RUNS

USER = Annotated[str, typer.Option("--user", help="The user's id, as in the data.", show_default=False)]


def prompt(recipe: RECIPE, user: USER, overrides: OVERRIDES = None, runs: RUNS = Path("runs")) -> None:
    """Show what the model will read for one user, with token counts."""
    from llmrec.recipe.loader import load_recipe
    from llmrec.stages import show_prompt

    typer.echo(show_prompt(load_recipe(recipe, overrides or ()), user, runs=runs))


def register(app: typer.Typer) -> None:
    app.command("prompt")(prompt)
