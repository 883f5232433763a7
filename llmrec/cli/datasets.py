"""`llmrec datasets ls | show | get | profile`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.cli.table import JSON, shown

app = typer.Typer(help="List, show, fetch and profile datasets.", no_args_is_help=True, add_completion=False)

NAME = Annotated[str, typer.Argument(help="A dataset by shipped name, or a manifest's path.", show_default=False)]
FILE = Annotated[
    str,
    typer.Argument(help="A file, a folder, a pattern in quotes, or an address.", show_default=False),
]
AS_MANIFEST = Annotated[bool, typer.Option("--manifest", help="Print a manifest for the file, and nothing else.")]

PAGE = Annotated[Path | None, typer.Option("--page", help="Write a page with curves, .html or .svg.")]
QUERY = Annotated[str | None, typer.Option(help="What to ask of a SQLite or DuckDB file: one SELECT.")]
FORMAT = Annotated[str | None, typer.Option(help="Where the ending does not tell: csv, tsv, jsonl, python, ...")]
SEPARATOR = Annotated[str | None, typer.Option(help="Between columns; a tab is \\t.")]
ENCODING = Annotated[str, typer.Option(help="Of the text, as Python names it.")]
NAMES = Annotated[str | None, typer.Option(help="Column names, with commas, for a file without a header.")]
TIME_FORMAT = Annotated[str | None, typer.Option(help="Of dates that are not ISO's, as strftime writes it.")]


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

    typer.echo(find("data", name.partition("?")[0]).read_text(encoding="utf-8"), nl=False)


@app.command()
def get(name: NAME) -> None:
    """Fetch a dataset, verify it and keep it; print where it lies."""
    from llmrec.data.manifest import find_manifest
    from llmrec.data.sources import account, get

    manifest, folder = find_manifest(name)
    typer.echo(account(manifest, get(manifest, folder)), nl=False)


@app.command()
def profile(
    file: FILE,
    manifest: AS_MANIFEST = False,
    page: PAGE = None,
    as_json: JSON = False,
    query: QUERY = None,
    format: FORMAT = None,  # noqa: A002  # the recipe's word
    separator: SEPARATOR = None,
    encoding: ENCODING = "utf-8",
    names: NAMES = None,
    time_format: TIME_FORMAT = None,
) -> None:
    """Say what a log holds: users, items, lengths, popularity, ties, times, and how a recipe would name its columns."""
    from pydantic import ValidationError

    from llmrec.data.profile import profile
    from llmrec.errors import DataFault
    from llmrec.recipe.sections import Reading

    if page is not None and page.suffix not in (".html", ".svg"):
        raise DataFault(f"--page {page}: a page ends in .html or .svg.")
    given = {"query": query, "format": format, "time_format": time_format, "encoding": encoding}
    given["separator"] = separator and separator.replace("\\t", "\t")
    try:
        reading = Reading.model_validate({**given, "names": names.split(",") if names else []})
    except ValidationError as faults:
        raise DataFault("\n".join(f"--{fault['loc'][0]}: {fault['msg']}" for fault in faults.errors())) from None
    found = profile(file, reading)
    if manifest:
        typer.echo(found.manifest(), nl=False)
        return
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False, default=_plain))
    else:
        from llmrec.progress import plain
        from llmrec.report.profiled import lines

        told = [(c.name, c.role or "", f"{c.filled:.1%}", f"{c.distinct:,}", c.example) for c in found.columns]
        shown(["column", "looks like", "filled", "distinct", "for example"], [tuple(map(plain, row)) for row in told])
        typer.echo(f"{found.rows:,} rows, {found.unreadable:,} of them unreadable.")
        typer.echo(plain("\n".join(lines(found)), keep="\n"))
        typer.echo(f"In a recipe:\n\n{found.section()}", nl=False)
    if page is not None:
        from llmrec.progress import note
        from llmrec.report.profiled import write_page

        note(f"wrote {write_page(found, page)}")


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_defaults=True) if hasattr(value, "model_dump") else str(value)
