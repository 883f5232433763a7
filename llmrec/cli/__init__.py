"""The front door: `llmrec VERB`. Each verb lives in a file of its own, imported when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from llmrec.cli.door import Verbs
from llmrec.cli.machine import settle

app = typer.Typer(
    name="llmrec",
    cls=Verbs,
    help="Language models and state-space retrievers for recommendation, trained and compared on the same histories.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from llmrec import __version__

        typer.echo(f"llmrec {__version__}")
        raise typer.Exit


@app.callback()
def llmrec(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True)
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the code an error came from; any verb takes it.")
    ] = False,
) -> None:
    """See `Verbs`, which reads --traceback wherever it stands."""


def main() -> None:
    """What the `llmrec` command runs."""
    settle()
    app(prog_name="llmrec")
