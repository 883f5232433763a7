"""`llmrec datasets ls | show | get | profile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.table import JSON, shown

app = typer.Typer(help="List, show, fetch and profile datasets.", no_args_is_help=True, add_completion=False)

NAME = Annotated[str, typer.Argument(help="A dataset by shipped name, or a manifest's path.", show_default=False)]
FILE = Annotated[Path, typer.Argument(help="CSV, TSV, Parquet or JSON lines.", show_default=False)]
AS_MANIFEST = Annotated[bool, typer.Option("--manifest", help="Print a manifest for the file, and nothing else.")]


@app.command()
def ls(as_json: JSON = False) -> None:
    """List the datasets that llmrec can fetch."""
    from llmrec.data.manifest import find_manifest
    from llmrec.resources import shipped

    found = [find_manifest(name)[0] for name in shipped("data")]
    if as_json:
        typer.echo(json.dumps([{"name": one.name, "about": one.about} for one in found], ensure_ascii=False))
    else:
        shown(["dataset", "what it is"], [(one.name, one.about) for one in found])


@app.command()
def show(name: NAME) -> None:
    """Print a dataset's manifest: sources, checksums, licence, citation, columns."""
    from llmrec.resources import find

    typer.echo(find("data", name).read_text(encoding="utf-8"), nl=False)


@app.command()
def get(name: NAME) -> None:
    """Fetch a dataset, verify it and keep it; print where it lies."""
    from llmrec.data.manifest import find_manifest
    from llmrec.data.sources import account, get

    manifest, folder = find_manifest(name)
    typer.echo(account(manifest, get(manifest, folder)), nl=False)


@app.command()
def profile(file: FILE, manifest: AS_MANIFEST = False) -> None:
    """Say what a file's columns hold, and how a recipe would name them."""
    from llmrec.data.profile import profile

    found = profile(file)
    if not manifest:
        told = [(c.name, c.role or "", f"{c.filled:.1%}", f"{c.distinct:,}", c.example) for c in found.columns]
        shown(["column", "looks like", "filled", "distinct", "for example"], told)
        typer.echo(f"{found.rows:,} rows, {found.unreadable:,} of them unreadable. In a recipe:\n")
    typer.echo(found.manifest() if manifest else found.section(), nl=False)
