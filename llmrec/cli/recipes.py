"""`llmrec recipes ls | show | copy | check | protocols | schema`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.stages import OVERRIDES
from llmrec.cli.table import JSON, shown

app = typer.Typer(help="List, show, copy and check recipes.", no_args_is_help=True, add_completion=False)

NAME = Annotated[str, typer.Argument(metavar="NAME", help="A recipe by path or shipped name.", show_default=False)]
TO = Annotated[Path, typer.Argument(metavar="PATH", help="The copy: a file, or a folder.", show_default=False)]
PATHS = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Recipes, or folders of recipes.", show_default=False)
]
FORCE = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]
FILLED = Annotated[bool, typer.Option("--filled", help="With every default filled in.")]


@app.command()
def ls(as_json: JSON = False) -> None:
    """List the recipes that ship, with what they are for."""
    from llmrec.recipe.shelf import catalogue

    found = catalogue()
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        shown(["recipe", "what it does"], [(one["name"], one["about"]) for one in found])


@app.command()
def show(name: NAME, overrides: OVERRIDES = None, filled: FILLED = False) -> None:
    """Print a recipe as it is written, or whole."""
    from llmrec.recipe.loader import dump_recipe, load_recipe

    if filled or overrides:
        typer.echo(dump_recipe(load_recipe(name, overrides or ()).recipe), nl=False)
    else:
        from llmrec.resources import find

        typer.echo(find("recipes", name).read_text(encoding="utf-8"), nl=False)


@app.command()
def copy(name: NAME, path: TO, force: FORCE = False) -> None:
    """Copy a recipe to edit it; paths inside it go on pointing at the same files."""
    from llmrec.recipe.shelf import copied

    typer.echo(f"{copied(name, path, force=force)}")


@app.command()
def check(paths: PATHS) -> None:
    """Check recipes; every fault of every file is printed, and the exit code is 2 if there is one."""
    from llmrec.recipe.shelf import checked

    faults = 0
    for path, found in checked(paths):
        for fault in found:
            typer.echo(fault, err=True)
        if not found:
            typer.echo(f"{path}: holds")
        faults += len(found)
    if faults:
        raise typer.Exit(2)


@app.command()
def protocols(as_json: JSON = False) -> None:
    """List the protocols that a recipe may name: what each asks, and what its numbers hide."""
    from llmrec.recipe.presets import PRESETS

    if as_json:
        typer.echo(json.dumps({name: asdict(preset) for name, preset in PRESETS.items()}, ensure_ascii=False))
    else:
        shown(["protocol", "asks", "hides"], [(name, one.about, one.hides) for name, one in PRESETS.items()])


@app.command()
def schema() -> None:
    """Print the JSON schema, for editors that complete and check YAML."""
    from llmrec.recipe.schema import text

    typer.echo(text(), nl=False)
